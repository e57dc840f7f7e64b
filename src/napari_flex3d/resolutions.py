"""What a reconstruction's summary and table of correlations say of the whole particle and of each of its parts."""

from collections.abc import Iterable, Mapping
from typing import Any

WHOLE = "whole"
KINDS = {"flex": "flexible", "rigid": "rigid"}
"""Maps by their name in files, and in words."""
PLAIN = {"masked": "whole, in the mask", "unmasked": "whole, no mask"}
"""Curves of the whole that are not corrected for the mask, by their name in files, and in words."""
CRITERIA = {"fsc143_A": "FSC 0.143", "fsc05_A": "FSC 0.5"}


def by_part(summary: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, float]]]:
    """Resolutions by part, the whole first, then by kind of map: ``by_part(s)["moving"]["flex"]["fsc143_A"]``."""
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for kind in KINDS:
        of_kind = summary.get(kind) or {}
        if of_kind:
            plain = {words: of_kind[name] for name, words in PLAIN.items() if name in of_kind}
            for part, values in {WHOLE: of_kind, **of_kind.get("parts", {}), **plain}.items():
                found.setdefault(part, {})[kind] = values
    return found


def curve_names(columns: Iterable[str]) -> dict[str, str]:
    """Parts whose correlation a table holds, in words, and the ends of their columns' names."""
    ends = [c.removeprefix("flex_") for c in columns if c.startswith("flex_part_")]
    return {WHOLE: "corrected"} | {end.removeprefix("part_").replace("_", " "): end for end in ends}
