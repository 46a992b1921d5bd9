"""The command: which rows, which contenders, how often; what is printed while it runs and where the report goes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import machine, report
from benchmarks.contender import Contender, contenders
from benchmarks.measure import Row, measure
from benchmarks.targets import verdicts
from benchmarks.workloads import WORKLOADS


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 where an answer of dagflow's or of a limit's was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["micro"]:
        from benchmarks import micro

        return micro.main(arguments[1:])
    given = _parser().parse_args(arguments)
    names = given.workloads or list(WORKLOADS)
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown:
        print(f"no workload {', '.join(unknown)}; there are: micro, {', '.join(WORKLOADS)}", file=sys.stderr)
        return 2
    everybody, skipped = _present(given.peers)
    where = machine.describe()
    print(machine.text(where))
    for name, why in skipped.items():
        print(f"without {name}: {why}")
    rows: dict[str, Row] = {}
    versions: dict[str, str] = {}
    for name in names:
        workload = WORKLOADS[name]
        taking = {n: c for n, c in everybody.items() if c.takes_part(name, workload.method)}
        versions |= {c.package: c.version() for c in taking.values() if c.package}
        load = machine.load()
        print(f"\n{name}: {workload.title}. Load {load:.2f} a core", flush=True)
        if load > machine.QUIET:
            print("  WARNING: the machine is not quiet; only ratios within this row mean something", flush=True)
        rows[name] = measure(workload, taking, given.runs, quick=given.quick, say=lambda s: print(s, flush=True))
        rows[name].load = load
        report.write(given.out, where, rows, skipped, versions)  # after each row: a long run may be stopped
    print()
    print((given.out / "report.md").read_text(encoding="utf-8"))
    print(f"written: {', '.join(str(given.out / f'report.{s}') for s in ('json', 'md', 'svg'))}")
    for it in verdicts(rows):
        if it.word == "MISSED":
            print(f"missed: {it.goal.what}: {it.figure:.3g}, must reach {it.goal.must:g}")
    own = [(row, n) for row in rows.values() for n, kind in row.kinds.items() if kind != "peer"]
    wrong = [(row.workload.name, n, row.trouble(n)) for row, n in own if not row.right(n)]
    for workload_name, name, trouble in wrong:
        print(f"WRONG: {workload_name}, {name}: {trouble}", file=sys.stderr)
    return 1 if wrong else 0


def _present(peers: str) -> tuple[dict[str, type[Contender]], dict[str, str]]:
    """Who can take part, and why others cannot."""
    found: dict[str, type[Contender]] = {}
    skipped: dict[str, str] = {}
    wanted = [w.strip().lower() for w in peers.split(",")]
    for name, made in contenders().items():
        named = any(w in name.lower() for w in wanted if w and w != "none")
        if made.kind == "peer" and "all" not in wanted and not named:
            continue
        try:
            made.version()
        except ImportError as error:
            skipped[name] = str(error)
            continue
        found[name] = made
    return found, skipped


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Benchmarks of dagflow beside what can be written by hand and beside its peers.",
        epilog="'micro' instead of workloads: micro-benchmarks of the core, see 'micro --help'.",
    )
    parser.add_argument("workloads", nargs="*", help=f"rows: {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--peers", default="all", help="all, none, or parts of names with commas (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="alternating runs of each (default: 3)")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that all works, not how fast")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-report"), help="folder for report.json, .md and .svg"
    )
    return parser
