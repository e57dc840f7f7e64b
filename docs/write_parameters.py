"""Write ``parameters.md`` from the declarations in the code."""

from pathlib import Path

from napari_flex3d.params import ParamInfo
from napari_flex3d.stages import STAGES

PAGE = Path(__file__).with_name("parameters.md")


def text() -> str:
    """Compose the whole page."""
    lines = [
        "# Parameters",
        "",
        "Made from the declarations in the code by `make docs-parameters`; do not edit by hand.",
        "The flag of a parameter is its name with dashes: `latent_dims` is `--latent-dims`. "
        "In a file for `--config`, names are as here.",
    ]
    for stage in STAGES:
        lines += ["", f"## {stage.name}", "", stage.title, ""]
        infos = list(stage.params.describe())
        for title, chosen in (
            ("", [i for i in infos if not i.advanced]),
            ("Advanced:", [i for i in infos if i.advanced]),
        ):
            if chosen:
                lines += [title, ""] if title else []
                lines += ["| name | default | allowed | meaning | CryoSPARC |", "|---|---|---|---|---|"]
                lines += [_row(info) for info in chosen] + [""]
        lines.pop()
    return "\n".join(lines) + "\n"


def _row(info: ParamInfo) -> str:
    if info.required:
        default = "*must be given*"
    elif info.default in (None, (), ""):
        default = "none"
    elif info.kind is bool:
        default = "on" if info.default else "off"
    else:
        default = f"{info.default} {info.unit if info.default != 'auto' else ''}".strip()
    allowed = "on or off" if info.kind is bool else info.allowed()
    if not allowed and info.path:
        allowed = {"job": f"{info.name} job"}.get(info.path, info.path) + (", several" if info.many else "")
    cells = [
        f"`{info.name}`",
        default,
        allowed,
        info.meaning,
        f"`{info.cryosparc}`" if info.cryosparc else "",
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
