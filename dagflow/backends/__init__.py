"""Floor 4: who works. `serial` and `thread` in this process, `local` in worker processes of this machine.

Each implements `dagflow.protocols.Backend`; none knows another, but that `thread` hosts process nodes in `local`.
"""
