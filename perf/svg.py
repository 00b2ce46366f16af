"""What pictures are drawn with: SVG that reads in light and dark. For perf/picture and perf/soak."""

import html
import math

# Of colours that can be told apart by all, darker on white and lighter on black.
COLOURS = (("#0b6fa4", "#5bb8e8"), ("#c2550a", "#f39a4a"), ("#2c7a3f", "#6fc883"), ("#8a3f97", "#cf8fdb"))


def opening(width, height, left, title, said):
    """The beginning of a picture; `said` is for those who do not see it. `</svg>` ends it."""
    box = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(said)}">'
    return [box, f"<title>{html.escape(title)}</title>", style(), text(left, 26, title, "title")]


def milliseconds(value):
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def text(x, y, words, kind, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def apart(places, least):
    """The same places, moved down as far as needed for that much room between two."""
    moved, last = {}, -math.inf
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        last = moved[name] = max(place, last + least)
    return moved


def style():
    rules = ["text{font:12px system-ui,sans-serif;fill:#24292f}", ".title{font-size:15px;font-weight:600}", ".faint{fill:#57606a}",
             ".grid{stroke:#d0d7de;stroke-width:1}", ".line{fill:none;stroke-width:2;stroke-linejoin:round}"]
    dark = ["text{fill:#e6edf3}", ".faint{fill:#9198a1}", ".grid{stroke:#3d444d}"]
    for number, (light, on_black) in enumerate(COLOURS):
        for target, colour in ((rules, light), (dark, on_black)):
            target.append(f".line.c{number}{{stroke:{colour}}}")
            target.append(f".dot.c{number},text.c{number}{{fill:{colour}}}")
    return "<style>" + "".join(rules) + "@media (prefers-color-scheme:dark){" + "".join(dark) + "}</style>"
