"""What was measured, as JSON (all runs), a Markdown table (medians and ratios) and an SVG picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import chart, machine
from benchmarks.measure import Row
from benchmarks.targets import verdicts


def as_json(where: dict[str, Any], rows: dict[str, Row], skipped: dict[str, str], versions: dict[str, str]) -> str:
    """Everything, to be read by a program."""
    said = {
        "machine": where,
        "versions": versions,
        "skipped": skipped,
        "rows": [
            {
                "workload": row.workload.name,
                "title": row.workload.title,
                "load": round(row.load, 2),
                "contenders": {
                    name: {
                        "kind": row.kinds[name],
                        "size": row.sizes[name],
                        "right": row.right(name),
                        "medians": {f.key: row.median(name, f.key) for f in row.workload.figures},
                        "memory MiB": row.memory.get(name),
                        "runs": runs,
                    }
                    for name, runs in row.runs.items()
                },
            }
            for row in rows.values()
        ],
        "targets": [
            {
                "what": it.goal.what,
                "figure": it.figure,
                "must": it.goal.must,
                "aim": it.goal.aim,
                "ratio to by hand": it.ratio,
                "ratio must": it.must_be,
                "verdict": it.word,
            }
            for it in verdicts(rows)
        ],
    }
    return json.dumps(said, indent=1)


def as_markdown(where: dict[str, Any], rows: dict[str, Row], skipped: dict[str, str], versions: dict[str, str]) -> str:
    """A table a workload, best first, and what was and was not reached."""
    lines = [f"Measured {machine.text(where)}.", ""]
    lines += ["Versions: " + ", ".join(f"{n} {v}" for n, v in versions.items() if v) + ".", ""]
    for row in rows.values():
        lines += _table(row)
    found = verdicts(rows)
    if found:
        head = ["goal", "figure", "must reach", "aim for", "× by hand", "must be", " "]
        lines += ["#### Goals", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        for it in found:
            numbers = [it.figure, it.goal.must, it.goal.aim, it.ratio, it.must_be]
            cells = ["" if number is None else _number(number) for number in numbers]
            lines.append("| " + " | ".join([it.goal.what, *cells, it.word]) + " |")
        lines.append("")
    lines += [f"Not here: {name} ({why})." for name, why in skipped.items()]
    return "\n".join(lines).rstrip() + "\n"


def _table(row: Row) -> list[str]:
    figures = row.workload.figures
    first = figures[0]
    head = [" ", *(f.head for f in figures), "range", "× dagflow", "tasks"]
    if row.memory:
        head.append("peak MiB")
    lines = [f"#### {row.workload.name}: {row.workload.title}", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    ours = row.median("dagflow", first.key) if "dagflow" in row.runs else None
    for name in ordered(row):
        cells = [f"**{name}**" if row.kinds[name] == "dagflow" else name]
        median = row.median(name, first.key)
        if median is None:
            cells += [row.trouble(name), *[""] * (len(head) - 2)]
            lines.append("| " + " | ".join(cells) + " |")
            continue
        cells += [_figure(row.median(name, f.key), f.decimals) for f in figures]
        spread = row.spread(name, first.key)
        assert spread is not None
        cells.append(" – ".join(_figure(s, first.decimals) for s in spread))
        cells.append(f"{median / ours:.2f}" if ours else "")
        cells.append(f"{row.sizes[name]:,}")
        if row.memory:
            cells.append(_figure(row.memory.get(name), 0))
        if not row.right(name):
            cells[0] += " (not always right)"
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def ordered(row: Row) -> list[str]:
    """Names of contenders, the best first, those without a figure last."""
    first = row.workload.figures[0]

    def key(name: str) -> tuple[bool, float]:
        median = row.median(name, first.key)
        return (median is None, 0.0 if median is None else -median if first.more else median)

    return sorted(row.runs, key=key)


def _figure(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:,.{decimals}f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def write(
    folder: Path, where: dict[str, Any], rows: dict[str, Row], skipped: dict[str, str], versions: dict[str, str]
) -> list[Path]:
    """Write report.json, report.md and report.svg into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"report.{suffix}" for suffix in ("json", "md", "svg")]
    paths[0].write_text(as_json(where, rows, skipped, versions), encoding="utf-8")
    paths[1].write_text(as_markdown(where, rows, skipped, versions), encoding="utf-8")
    bars = [(row, ordered(row)) for row in rows.values()]
    paths[2].write_text(chart.svg(bars, machine.text(where)), encoding="utf-8")
    return paths
