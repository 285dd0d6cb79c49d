"""Draws terminal output as an SVG picture: text on standard input, the picture on standard output.

What a carriage return wrote over is left out, and so are colours. docs/run.svg was made so:

    { echo "$ make demo"; script -qc "make demo" /dev/null; } | python scripts/terminal_svg.py >docs/run.svg
"""

import re
import sys
from html import escape

CHARACTER_WIDTH, LINE_HEIGHT, FONT_SIZE = 8, 18, 13
MARGIN, BAR = 16, 28
STYLE = f"font: {FONT_SIZE}px 'DejaVu Sans Mono', Menlo, Consolas, monospace; white-space: pre"


def visible_lines(text: str) -> list[str]:
    """The lines as they stand on the screen at the end."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")
    # A live line is written over until something other than itself follows it.
    lines = [re.split(r"\r", line.rstrip("\r"))[-1].rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def picture(lines: list[str]) -> str:
    width = round(2 * MARGIN + CHARACTER_WIDTH * max(map(len, lines), default=0))
    height = BAR + 2 * MARGIN + LINE_HEIGHT * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="what a run looks like">',
        f'<rect width="{width}" height="{height}" rx="8" fill="#1c2128"/>',
    ]
    for index, colour in enumerate(("#f47067", "#d4a72c", "#57ab5a")):
        parts.append(f'<circle cx="{MARGIN + 4 + 18 * index}" cy="{BAR // 2 + 2}" r="5" fill="{colour}"/>')
    parts.append(f'<g style="{STYLE}" fill="#cdd9e5">')
    for number, line in enumerate(lines):
        y = BAR + MARGIN + LINE_HEIGHT * number + FONT_SIZE
        colour = ' fill="#7ee787"' if line.startswith("$ ") else ""
        # The length is fixed, so that columns stand under each other in any font.
        length = (
            f' textLength="{CHARACTER_WIDTH * len(line):.0f}" lengthAdjust="spacingAndGlyphs"' if line else ""
        )
        parts.append(f'<text x="{MARGIN}" y="{y}"{colour}{length} xml:space="preserve">{escape(line)}</text>')
    return "\n".join([*parts, "</g>", "</svg>", ""])


if __name__ == "__main__":
    sys.stdout.write(picture(visible_lines(sys.stdin.read())))
