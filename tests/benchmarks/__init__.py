"""Benchmarks W1 to W10: dagflow, what can be written by hand, and the peers, side by side.

    python -m tests.benchmarks                       # everything that is installed, three alternating runs
    python -m tests.benchmarks W1 W4 --peers none    # two rows: dagflow and the limits only
    python -m tests.benchmarks micro                 # microseconds per event, hop and counted task of the core

Reading order: `tasks` (the functions that every contender runs), `workloads` (what is run, how often, what is
measured, which answer is right), `contender` (what a contender has to offer), `dagflow_`, `limits/` (by hand),
`peers/`, then how it is measured: `child` (one contender, one workload, one fresh process), `measure` (starts
children in turns, watches their memory), `report` (JSON, Markdown table, SVG picture), `cli`.
"""
