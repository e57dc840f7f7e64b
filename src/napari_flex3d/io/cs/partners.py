"""The passthrough files that belong to a CryoSPARC particle file: what its job left unchanged."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

_NEEDED = ("blob/path", "ctf/df1_A", "alignments3D/pose")
_METAFILE = re.compile(r"""^\s*metafile:\s*['"]?>?([^'"\n]+?)['"]?\s*$""", re.MULTILINE)


def find_partners(path: Path, names: Collection[str]) -> list[Path]:
    """Files with the columns that a particle file lacks; none when it lacks nothing, or nobody tells.

    The job's ``job.json`` is asked first, then the ``.csg`` of an export, then the names of the files beside.

    Parameters
    ----------
    path
        The particle file.
    names
        Names of its columns.
    """
    if all(name in names for name in _NEEDED) or "passthrough" in path.name:
        return []
    return _of_job(path) or _of_export(path) or _by_name(path)


def particle_file_of(description: Path) -> str:
    """Name of the particle file that the ``.csg`` of an export describes; empty where it names none."""
    named = [Path(name).name for name in _METAFILE.findall(description.read_text(errors="replace"))]
    return next((name for name in named if "passthrough" not in name), "")


def job_name(path: Path) -> str:
    """Job that a file is of: ``cryosparc_P12_J24`` of ``cryosparc_P12_J24_001_particles.cs``."""
    name = re.match(r".*?J\d+(?=_)", path.name.lstrip(">"))
    return name[0] if name else re.sub(r"_?particles.*", "", path.stem) or path.stem


def _of_job(path: Path) -> list[Path]:
    """Newest passthrough files of the output group that the file is of, by the job's own record."""
    results = [r for r in _outputs(path.parent / "job.json") if isinstance(r, dict)]
    groups = [r.get("group_name") for r in results if not r.get("passthrough") and path.name in _files(r)]
    passed = [_files(r) for r in results if r.get("passthrough") and r.get("group_name") in groups]
    return _there(path, [files[-1] for files in passed if files])


def _outputs(path: Path) -> list[Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []  # no job folder, or another program's: the names are left
    outputs = record.get("output_results") if isinstance(record, dict) else None
    return outputs if isinstance(outputs, list) else []


def _files(result: dict[str, Any]) -> list[str]:
    """Names of the files of one result, the final one last; they lie beside the particle file."""
    files = result.get("metafiles")
    return [Path(f.lstrip(">")).name for f in files if isinstance(f, str)] if isinstance(files, list) else []


def _of_export(path: Path) -> list[Path]:
    for description in sorted(path.parent.glob("*.csg")):
        named = [Path(name).name for name in _METAFILE.findall(description.read_text(errors="replace"))]
        if path.name in named:
            return _there(path, named)
    return []


def _there(path: Path, names: list[str]) -> list[Path]:
    places = [path.with_name(name) for name in dict.fromkeys(names) if name and name != path.name]
    return [place for place in places if place.is_file()]


def _by_name(path: Path) -> list[Path]:
    start, mark, end = path.name.rpartition("_particles")
    for stem in (start, re.sub(r"_\d+$", "", start)) if mark else ():  # without the number of an iteration
        place = path.with_name(f"{stem}_passthrough_particles{end}")
        if place.is_file():
            return [place]
    of_job = job_name(path) + "_"
    beside = [p for p in path.parent.iterdir() if p.name.startswith(of_job) and p.suffix == ".cs"]
    found = [p for p in beside if "_passthrough_particles" in p.name]
    return found if len(found) == 1 else []
