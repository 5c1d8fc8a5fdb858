"""Bars as SVG, in the page's own colours: a bar for each contestant, a dot for each round. The
classes are styled by `page`."""

import html

WIDTH, ROW, LABEL, VALUE, TOP = 460, 22, 104, 74, 22


def nice_maximum(value):
    """The least of 1, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten that is not below it."""
    if value <= 0:
        return 1
    power = 10 ** (len(str(int(value))) - 1) if value >= 1 else 0.1
    while power > value:
        power /= 10
    return next(step * power for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
                if step * power >= value * 0.9999)


def bar_chart(title, rows, better):
    """@rows [(contestant, median, [value of a round], text, kind)]; @better says which end is."""
    top = nice_maximum(max((max([median, *values]) for _, median, values, _, _ in rows), default=0))
    width = WIDTH - LABEL - VALUE
    height = TOP + ROW * len(rows) + 4
    parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" '
             f'aria-label="{html.escape(title)}">',
             f'<text class="title" x="0" y="13">{html.escape(title)}</text>',
             f'<text class="hint" x="{WIDTH}" y="13" text-anchor="end">{better}</text>',
             f'<line class="axis" x1="{LABEL}" y1="{TOP}" x2="{LABEL}" y2="{height - 4}"/>']
    for i, row in enumerate(rows):
        parts += bar(row, TOP + ROW * i, width / top)
    return "\n".join([*parts, "</svg>"])


def bar(row, y, scale):
    contestant, median, values, text, kind = row
    middle = y + ROW / 2
    yield (f'<text class="name {kind}" x="{LABEL - 6}" y="{middle + 4}" text-anchor="end">'
           f'{html.escape(contestant)}</text>')
    yield (f'<rect class="bar {kind}" x="{LABEL}" y="{y + 4}" width="{max(median * scale, 0):.1f}" '
           f'height="{ROW - 8}" rx="2"/>')
    for value in values:
        yield f'<circle class="dot" cx="{LABEL + value * scale:.1f}" cy="{middle}" r="2"/>'
    yield (f'<text class="value" x="{WIDTH}" y="{middle + 4}" text-anchor="end">'
           f'{html.escape(text)}</text>')
