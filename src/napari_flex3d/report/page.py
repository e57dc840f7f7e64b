"""Pieces of the page: text, tables and pictures as HTML, readable in light and dark and on paper."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")

UNITS = {
    "_A": "Å",
    "_A2": "Å²",
    "_A3": "Å³",
    "_px": "px",
    "_deg": "°",
    "_s": "s",
    "_GB": "GB",
    "_percent": "%",
}


def document(title: str, body: Iterable[str]) -> str:
    """Whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], classes: Iterable[str] = ()) -> str:
    """Table; cells that are numbers stand at the right."""
    rows = [list(row) for row in rows]
    marks = [*classes, *[""] * len(rows)]
    numeric = [
        bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))
    ]

    def cells(values: Sequence[Any], tag: str) -> str:
        kinds = [' class="number"' if n else "" for n in numeric]
        return "".join(f"<{tag}{k}>{value(v)}</{tag}>" for v, k in zip(values, kinds, strict=True))

    lines = [f'<tr class="{m}">{cells(row, "td")}</tr>' for row, m in zip(rows, marks, strict=False)]
    return f'<div class="wide"><table><tr>{cells(header, "th")}</tr>{"".join(lines)}</table></div>'


def tiles(facts: Mapping[str, Any], *, key: bool = False) -> str:
    """Numbers with their names, set large."""
    one = f'<div class="tile{" key" if key else ""}">'
    found = [f"{one}<b>{quantity(k, v)}</b><span>{escape(words(k))}</span></div>" for k, v in facts.items()]
    return f'<div class="tiles">{"".join(found)}</div>' if found else ""


def figure(content: str, caption: str = "", *, broad: bool = False) -> str:
    """Picture with its caption."""
    text = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure{' class=broad' if broad else ''}>{content}{text}</figure>"


def value(thing: Any) -> str:
    """Value as people write it."""
    if thing is None or thing == "" or thing == []:
        return '<span class="soft">none</span>'
    if isinstance(thing, bool):
        return "on" if thing else "off"
    if isinstance(thing, float):
        return f"{thing:.4g}"
    if isinstance(thing, int):
        return f"{thing:,}".replace(",", "\u202f") if abs(thing) >= 10_000 else str(thing)
    if isinstance(thing, list | tuple):
        return ", ".join(value(t) for t in thing)
    return escape(str(thing))


def quantity(name: str, thing: Any) -> str:
    """Value with the unit that its name ends in."""
    unit = next((u for end, u in UNITS.items() if name.endswith(end)), "")
    shown = ("yes" if thing else "no") if isinstance(thing, bool) else value(thing)
    return f"{shown} {unit}".rstrip()


def words(name: str) -> str:
    """Name of a fact in words, without its unit."""
    for end in UNITS:
        name = name.removesuffix(end)
    return name.replace("_", " ").replace("fsc143", "FSC 0.143").replace("fsc05", "FSC 0.5").strip()


def flat(facts: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Numbers and short texts of nested facts, one level."""
    found: dict[str, Any] = {}
    for name, thing in facts.items():
        if isinstance(thing, Mapping):
            unit = next((end for end in UNITS if name.endswith(end)), "")  # stays at the end of the name
            inner = flat(thing, f"{before}{name.removesuffix(unit)}_")
            found |= {f"{n}{unit}": v for n, v in inner.items()}
        elif isinstance(thing, int | float | str) and 0 < len(str(thing)) <= 40:
            found[before + name] = thing
    return found
