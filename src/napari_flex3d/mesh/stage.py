"""The stage "mesh": files and parameters around the building of a mesh."""

import json
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.meshfile import write_vtu
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.mesh.build import Build, suggested
from napari_flex3d.mesh.connections import write_connections
from napari_flex3d.mesh.draft import Ground, draft
from napari_flex3d.mesh.export import voxel_segments, write_for_chimerax, write_for_cryosparc
from napari_flex3d.mesh.labels import comovement_in_words, segments_of
from napari_flex3d.mesh.params import MeshParams
from napari_flex3d.mesh.picture import draw_mesh
from napari_flex3d.mesh.quality import describe, news
from napari_flex3d.mesh.tetmesh import Floats
from napari_flex3d.progress import Progress


def mesh(params: MeshParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Build the mesh over the map of a prep job.

    Writes ``mesh.npz``, ``segments.mrc``, ``mesh.vtu``, ``mesh.png``, ``summary.json``, ``cryosparc_mesh.pkl``, and
    ``mesh.cxc`` with ``mesh.bild`` and ``chimerax_segments.mrc``; with segments also ``labels.mrc``, as they were
    before the lattice, and ``cryosparc_segments.mrc``.

    Raises
    ------
    InputError
        If the mask does not fit the map or is empty, or segments, connections, weights or mesh cannot be used.
    """
    _refuse_both(params)
    density = read_map(params.prep / "map.mrc")
    soft = _mask(params, density)
    yield Progress(0, 4, "Building the mesh")
    ground = Ground(density, soft)
    given, told = (None, {}) if params.mesh else segments_of(params, ground)
    if "comovement" in told:
        yield Progress(1, 4, comovement_in_words(told["comovement"]))
    if given:
        yield Progress(1, 4, f"Splitting it into {len(given.ids)} segments")
    made = draft(ground, params, given)
    built, facts = made.built, made.facts
    _write(out, built, ground)
    write_for_chimerax(out, built, ground, params.prep / "map.mrc")
    for_cryosparc = write_for_cryosparc(out, built, ground)
    yield Progress(2, 4, f"{len(built.mesh.vertices)} vertices, {len(built.mesh.cells)} cells")
    draw_mesh(out / "mesh.png", built.mesh, built.cell_index, density)
    summary = describe(built, facts) | {"mass_contour": ground.contour} | told
    summary |= {"mask_share": float(ground.mask.mean())}
    if not params.mesh:
        summary["cell_size_A"] = len(soft) * density.pixel_size / params.cells
    if len(facts) > 1:
        pairs = built.connections
        summary |= {
            "connections": "all that touch" if pairs is None else write_connections(pairs),
            "suggested_connections": write_connections(suggested(built)),
            "cryosparc_connections": for_cryosparc,
        }
    for text in made.warnings:
        warnings.warn(text, InputWarning, stacklevel=2)
    for text in news(built, facts):
        yield Progress(3, 4, text)
    if len(facts) > 1 and built.connections is None and not params.mesh:
        tree = summary["suggested_connections"]
        yield Progress(3, 4, f"All segments that touch are joined. A tree that joins them: {tree}")
    with atomic(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    return summary


def _refuse_both(params: MeshParams) -> None:
    """Refuse what says the same thing twice, or says something of nothing."""
    sources = [n for n in ("mesh", "segments") if getattr(params, n)]
    sources += ["propose"] if params.propose != "none" else []
    if len(sources) > 1:
        flags = " and ".join(f"--{n}" for n in sources)
        raise InputError(f"{flags} both say what the segments are. Give one of them.")
    if params.connections and sources in ([], ["mesh"]):
        raise InputError(
            "--connections joins segments, "
            + (
                "and a mesh from a file is used as it is."
                if sources
                else "and there are none: give --segments."
            )
        )


def _write(out: Path, built: Build, ground: Ground) -> None:
    made, density = built.mesh, ground.density
    made.save(
        out / "mesh.npz",
        mask=ground.mask,
        mask_soft=ground.soft,
        N=len(ground.soft),
        psize_A=density.pixel_size,
        tm_tetraidx_map=built.cell_index,
        version=1,
    )
    write_map(out / "segments.mrc", voxel_segments(built), like=density)
    if built.whole.segment.any():
        write_map(out / "labels.mrc", built.labels, like=density)
    write_vtu(
        out / "mesh.vtu", made.vertices, made.cells, {"rigidity": made.rigidity, "segment": made.segment}
    )


def _mask(params: MeshParams, density: Volume) -> Floats:
    path = params.mask or params.prep / "mask.mrc"
    mask = read_map(path)
    if mask.data.shape != density.data.shape:
        raise InputError(
            f"Mask {path} has {len(mask.data)} voxels along an axis, the map of {params.prep} has "
            f"{len(density.data)}. Give a mask at the crop box of the prep job."
        )
    share = float((mask.data > 0.5).mean())
    if not 0 < share < 1 or mask.data.min() < -1e-3 or mask.data.max() > 1 + 1e-3:
        raise InputError(
            f"Mask {path}: range {mask.data.min():g}..{mask.data.max():g}, {share:.1%} of the box. "
            "Values from 0 to 1 are needed, above 0.5 inside the particle only."
        )
    return mask.data
