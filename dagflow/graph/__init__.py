"""Floor 1: values. Nodes, the ``>>`` algebra that joins them, the checks, and the plan of a run.

Nothing here runs, opens or counts anything; nothing here imports upwards. Reading order: `node`, the four
kinds (`task_manager`, `splitter`, `router`, `merger`), `algebra` (Graph), `scopes` (what a Merger closes),
`compile` (Graph -> Plan), `plan` (what the core is given: numbers and names, no functions); `hints` is what the
annotations of joined functions say of each other.
"""
