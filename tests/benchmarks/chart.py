"""The picture: a bar chart a workload, logarithmic, as SVG by hand; nothing outside is needed to make or show it."""

from __future__ import annotations

import math
from html import escape

from benchmarks.measure import Row

WIDTH, LEFT, RIGHT = 860, 190, 110
BAR, GAP = 17, 4
COLOURS = {"dagflow": "#d1495b", "limit": "#8d99ae", "peer": "#00798c"}


def svg(rows: list[tuple[Row, list[str]]], caption: str) -> str:
    """All rows, one below the other; contenders in the order given."""
    body: list[str] = []
    y = 30.0
    for row, names in rows:
        known = [n for n in names if (row.median(n, row.workload.figures[0].key) or 0) > 0]
        if known:
            part, height = _row(row, known, y)
            body += part
            y += height + 18
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 14:.0f}" '
        f'viewBox="0 0 {WIDTH} {y + 14:.0f}" font-family="sans-serif" font-size="12">'
    )
    legend = "".join(
        f'<rect x="{LEFT + 150 * i}" y="8" width="12" height="12" fill="{colour}"/>'
        f'<text x="{LEFT + 150 * i + 17}" y="18">{text}</text>'
        for i, (colour, text) in enumerate(zip(COLOURS.values(), ("dagflow", "written by hand", "peers"), strict=True))
    )
    foot = f'<text x="8" y="{y + 6:.0f}" font-size="10" fill="#666">{escape(caption)}</text>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', legend, *body, foot, "</svg>"]) + "\n"


def _row(row: Row, names: list[str], y: float) -> tuple[list[str], float]:
    figure = row.workload.figures[0]
    values = {name: row.median(name, figure.key) or 0.0 for name in names}
    low, high = min(values.values()), max(values.values())
    bottom = math.log10(low) - 0.15 * max(1.0, math.log10(high / low))
    span = max(0.3, math.log10(high) - bottom)
    better = "more is better" if figure.more else "less is better"
    lines = [
        f'<text x="8" y="{y + 12:.0f}" font-weight="bold">{escape(row.workload.name)}: {escape(row.workload.title)}</text>',
        f'<text x="8" y="{y + 27:.0f}" font-size="10" fill="#666">{escape(figure.head)}, logarithmic, {better}</text>',
    ]
    at = y + 34
    for name in names:
        width = (WIDTH - LEFT - RIGHT) * max(0.02, (math.log10(values[name]) - bottom) / span)
        colour = COLOURS[row.kinds[name]]
        lines.append(f'<text x="{LEFT - 6}" y="{at + 13:.0f}" text-anchor="end">{escape(name)}</text>')
        lines.append(f'<rect x="{LEFT}" y="{at:.0f}" width="{width:.1f}" height="{BAR}" fill="{colour}"/>')
        number = f"{values[name]:,.{figure.decimals}f}"
        lines.append(f'<text x="{LEFT + width + 5:.1f}" y="{at + 13:.0f}">{number}</text>')
        at += BAR + GAP
    return lines, at - y
