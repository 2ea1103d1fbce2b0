#!/usr/bin/env python3
"""Draws compared.svg, the chart of README.md, into its own directory.

The figures are those of runs in turns on two cores, the server pinned to one with one worker, the load generators
memtier_benchmark and mc-crusher on the other, beside memcached 1.6.45: 1 million keys of 20 bytes, values of 100 bytes,
50 connections. Processor time is what the server's threads ran, by /proc/PID/schedstat, for an operation. Misses are
those of `make hitratio`, items those that fit in `-m 1024`. `make bench` and `make hitratio` print them again.
"""

import pathlib

# Title, whether less is better, and rows of a label and oxcached's figure where memcached's is 1.
PANELS = [
    ("processor time per operation", [
        ("get, one a packet", 0.78),
        ("set, one a packet", 0.86),
        ("16 gets in a pipeline", 0.50),
        ("64 gets in a pipeline", 0.38),
        ("get of 50 keys", 0.32),
        ("get over TLS", 0.76),
        ("get of 10 KB", 0.83),
        ("connect, get, close", 0.90),
    ]),
    ("misses with the same memory", [
        ("Zipf 0.9", 0.86),
        ("sizes that change", 0.76),
    ]),
    ("memory per item", [
        ("values of 10 bytes", 1 / 1.936),
        ("values of 100 bytes", 1 / 1.441),
        ("values of 1000 bytes", 1 / 1.139),
    ]),
]

LABELS, BAR, WIDTH, ROW, TITLE, TOP = 190, 440, 720, 22, 34, 30

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.note { fill: #59636e }
.bar { fill: #b7410e }
.whole { fill: #d1d9e0 }
.line { stroke: #59636e; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc }
  .note { fill: #9198a1 }
  .bar { fill: #e2703a }
  .whole { fill: #3d444d }
  .line { stroke: #9198a1 }
}"""


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{words}</text>'


def main():
    parts, y = [], TOP
    for title, rows in PANELS:
        parts.append(text(0, y + 16, title, "title"))
        y += TITLE - 8
        for label, figure in rows:
            parts.append(text(LABELS - 8, y + 15, label, anchor="end"))
            parts.append(f'<rect x="{LABELS}" y="{y + 3}" width="{BAR}" height="{ROW - 6}" class="whole"/>')
            parts.append(f'<rect x="{LABELS}" y="{y + 3}" width="{BAR * figure:.0f}" height="{ROW - 6}" class="bar"/>')
            parts.append(text(LABELS + BAR + 8, y + 15, f"{figure:.2f}"))
            y += ROW
        y += TITLE - ROW
    line = f'<line x1="{LABELS + BAR}" x2="{LABELS + BAR}" y1="{TOP - 6}" y2="{y}" class="line"/>'
    head = text(LABELS + BAR, 16, "memcached 1.6.45 = 1; less is better", "note", "end")
    words = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 8}" width="{WIDTH}" role="img">'
    body = "\n".join([words, "<title>oxcached compared with memcached</title>", f"<style>{STYLE}\n</style>", head, *parts, line])
    pathlib.Path(__file__).with_name("compared.svg").write_text(body + "\n</svg>\n")


main()
