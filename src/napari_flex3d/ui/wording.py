"""What a stage says, in the words of the window: fields and docks where it names flags and commands."""

import re
from collections.abc import Mapping

from napari_flex3d.params import ParamInfo, Params

DOCK_OF = {
    "prep": "Data",
    "mesh": "Mesh",
    "motions": "Train",
    "train": "Train",
    "generate": "Explore",
    "reconstruct": "Reconstruct",
}
"""Dock that runs a stage."""

UNFOLDED = {"mesh": ("prep", "mask", "cells")}
"""Parameters that the form of a stage does not fold away, where these are not all but the advanced ones."""

Forms = Mapping[str, type[Params]]

_STAGE = "|".join(DOCK_OF)
_OF = rf"(?: of (?P<{{}}>{_STAGE})\b)?"
_NAMED = re.compile(
    # --mask, --sign dark, --mask of prep, flex3d train --resume
    rf"(?:flex3d (?P<command>{_STAGE}) )?--(?P<flag>[a-z]+(?:-[a-z]+)*)(?P<next> (?!of )[\w.]*\w)?{_OF.format('of')}"
    # flex3d prep
    rf"|flex3d (?P<stage>{_STAGE})\b"
    # what a person has typed stays as it is, such as a condition on columns
    r'|"[^"]*"'
    # a folder is given to a command, and a project to the window
    r"|\(-o\)"
    # rigidity = 2
    r'|(?<![\w/.-])(?P<given>[a-z]+(?:_[a-z]+)*) = (?P<value>"[^"]*"|\S*[^\s:,;.)])'
    # crop_box, crop_box of prep, but not crop_box.mrc
    rf"|(?<![\w/.-])(?P<name>[a-z]+(?:_[a-z]+)+)(?![\w/-]|\.\w){_OF.format('whose')}"
)


def title_of(name: str) -> str:
    """Name of a parameter as a person reads it: ``latent_dims`` is "Latent dims"."""
    words = name.replace("_", " ")
    return words[0].upper() + words[1:]


def is_folded(stage: str, info: ParamInfo) -> bool:
    """Whether the form of a stage folds a parameter away under "Advanced"."""
    return info.name not in UNFOLDED[stage] if stage in UNFOLDED else info.advanced


def in_window(text: str, forms: Forms, own: str = "") -> str:
    """Name fields and docks where a sentence is written for the command line.

    Parameters
    ----------
    text
        What a stage says.
    forms
        Parameters of the stages; without them a flag becomes words, but nothing says where its field is.
    own
        The stage in whose dock it is said: fields that it has are meant, and need no name of the dock.
    """

    def name_it(match: re.Match[str]) -> str:
        if match["stage"]:
            return f"“{DOCK_OF[match['stage']]}”"
        if match[0] == "(-o)":
            return "(“Project…” in Jobs)"
        name = (match["flag"] or match["given"] or match["name"] or "").replace("-", "_")
        stage, info = _find(forms, name, own, match["command"] or match["of"] or match["whose"])
        if info is None:
            place = f" in {DOCK_OF[match['command']]}" if match["command"] else ""
            return f"“{title_of(name)}”{place}{match['next'] or ''}" if match["flag"] else match[0]
        value, rest = match["value"], match["next"] or ""
        if rest and (rest[1:] in info.choices or rest[1].isdigit()):
            value, rest = rest[1:], ""
        words = f"“{title_of(name)}{f': {value}' if value else ''}”"
        dock = DOCK_OF.get(stage, stage)
        is_here = dock == DOCK_OF.get(own, own)
        if is_folded(stage, info):
            return f"{words} in Advanced{'' if is_here else f' of {dock}'}{rest}"
        return f"{words}{'' if is_here else f' in {dock}'}{rest}"

    return _NAMED.sub(name_it, text)


def _find(forms: Forms, name: str, own: str, whose: str | None) -> tuple[str, ParamInfo | None]:
    """Find a parameter and the stage that has it: the one that is named, else the own one, its dock's, the first."""
    order = [whose] if whose else sorted(forms, key=lambda s: (s != own, DOCK_OF.get(s) != DOCK_OF.get(own)))
    for stage in order:
        for info in forms[stage].describe() if stage in forms else ():
            if info.name == name:
                return stage, info
    return "", None
