"""The stage "reconstruct": half-maps at full resolution with the motion undone."""

import json
import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from napari_flex3d.devices import DeviceName, choose_device, in_words, room_on
from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import Volume, read_map, write_map
from napari_flex3d.jobs import input_of
from napari_flex3d.mesh import voxel_positions
from napari_flex3d.model import FlexModel, load_model
from napari_flex3d.ops.fsc import local_resolution
from napari_flex3d.ops.projection import rigid_body
from napari_flex3d.ops.sharpening import guinier_bfactor, sharpen
from napari_flex3d.ops.symmetry import symmetrised, symmetry_rotations
from napari_flex3d.params import REQUIRED, AutoFloat, Params, param
from napari_flex3d.particles import POSES, Particles
from napari_flex3d.progress import Progress
from napari_flex3d.reconstruct.inversion import agreement, inverted
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.solvers import Descent, Method, Report, method_named, solve
from napari_flex3d.reconstruct.validation import (
    Curves,
    curves_of,
    density_cut,
    draw_curves,
    moving_parts,
    resolutions,
    segment_parts,
    sentences,
    write_curves,
)
from napari_flex3d.room import check, of_reconstruction, sizes_of

FEWEST = 10
"""Particles of a half-set at least."""


@dataclass(frozen=True, kw_only=True)
class ReconstructParams(Params):
    """Parameters of the stage "reconstruct"."""

    train: Path = param(REQUIRED, "The training job.", positional=True, path="job")
    solver: Literal["cg", "lbfgs"] = param(
        "cg", "Preconditioned conjugate gradients, or L-BFGS as 3DFlex was published with, which is slower."
    )
    device: DeviceName = param("auto", "Where to compute; auto is a CUDA GPU if there is one.")
    max_iterations: int = param(
        20, "Iterations at most for a half-map.", low=1, high=500, cryosparc="flex_bfgs_num_iters"
    )
    share_tolerance: float = param(
        0.5,
        "Particles whose deformations differ by less share one where the solver chooses its directions; its "
        "steps are those of each particle's own.",
        unit="Å",
        low=0,
        high=100,
        step=0.01,
        advanced=True,
    )
    rigid_twin: bool = param(
        True,
        "Also reconstruct without motion, by the same solver, to compare with.",
        cryosparc="flex_do_noflex_recon",
    )
    inversion: bool = param(
        False,
        "Also make the rigid half-maps by Fourier inversion, to check the rigid twin by another way.",
        advanced=True,
    )
    symmetry: str = param(
        "C1", "Average each map over this point group, Cn or Dn, half-maps apart.", advanced=True
    )
    sharpened: bool = param(False, "Also write sharpened maps.", advanced=True)
    bfactor: AutoFloat = param(
        "auto",
        "B-factor of the sharpened maps, negative; auto fits it to the map.",
        unit="Å²",
        low=-2000,
        high=0,
        step=1,
        advanced=True,
    )

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        symmetry_rotations(self.symmetry)


@dataclass(frozen=True)
class _Case:
    """What both maps and all half-maps share; the flow of each half-set is its own if halves were trained alone."""

    particles: Particles
    model: FlexModel
    flows: tuple[FlexModel, FlexModel]
    mask: NDArray[np.bool_]
    soft: Tensor
    like: Volume

    def volume(self, values: Tensor, order: Tensor) -> Tensor:
        """Map (n, n, n) of free voxels in a body's order, in the consensus map's units."""
        volume, inside = torch.zeros(self.mask.shape), torch.zeros(len(values))
        inside[order] = values / self.particles.map_scale
        volume[torch.from_numpy(self.mask)] = inside
        return volume


def reconstruct(params: ReconstructParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Reconstruct both half-sets with the motion, and again without it; after a stop, from the last iteration.

    Writes ``flex_half1.mrc``, ``flex_half2.mrc``, their mean ``flex.mrc`` weighted by the FSC (`sharpen`), the same for
    ``rigid``, ``fsc.csv``, ``fsc.png``, maps of the local resolution and ``summary.json``; ``inverted_half1.mrc``,
    ``inverted_half2.mrc`` when asked for.

    Raises
    ------
    InputError
        If the device is not there, or a half-set has fewer than 10 particles.
    """
    device = choose_device(params.device)
    mesh_job = input_of(params.train, "mesh")
    prep = input_of(mesh_job, "prep")
    sizes = sizes_of(mesh_job)
    check("reconstruct", of_reconstruction(sizes, rigid_twin=params.rigid_twin), sizes, out)
    case = _case(params.train, mesh_job, prep)
    rows = [np.flatnonzero(case.particles.half == half) for half in (0, 1)]
    for half in (0, 1):
        if len(rows[half]) < FEWEST:
            raise InputError(
                f"{prep}: half-set {half + 1} has {len(rows[half])} particles; at least {FEWEST} are needed."
            )
    points = voxel_positions(np.argwhere(case.mask), len(case.mask), case.particles.pixel_size)
    yield Progress(0, 0, in_words(device))
    yield Progress(0, 0, f"Tying {len(points)} voxels to the mesh")
    bodies = {"flex": case.model.mesh.bind(points)}
    if params.rigid_twin:
        bodies["rigid"] = rigid_body(torch.from_numpy(points).float())
    maps: dict[str, list[Tensor]] = {kind: [] for kind in bodies}
    reached: dict[str, list[int]] = {kind: [] for kind in bodies}
    inversions: list[Tensor] = []
    unfinished = []
    weight = noise_weight(case.particles)
    for number, (kind, half) in enumerate((kind, half) for kind in bodies for half in (0, 1)):
        model = case.flows[half] if kind == "flex" else None
        problem = Problem(case.particles, rows[half], bodies[kind], model, weight, device)
        share = (number / (2 * len(bodies)), 1 / (2 * len(bodies)))
        with room_on(device, "Prepare a smaller box, or use device = cpu."):
            end = yield from _half_map(params, problem, out, kind, half, share)
        volume = symmetrised(case.volume(end.values, bodies[kind].order), params.symmetry)
        write_map(out / f"{kind}_half{half + 1}.mrc", volume.numpy(), like=case.like)
        maps[kind].append(volume)
        if kind == "rigid" and params.inversion:
            yield Progress(round(1000 * sum(share)), 1000, f"Fourier inversion of half-set {half + 1}")
            values = inverted(problem, torch.from_numpy(case.mask))
            other = symmetrised(case.volume(values, bodies[kind].order), params.symmetry)
            write_map(out / f"inverted_half{half + 1}.mrc", other.numpy(), like=case.like)
            inversions.append(other)
        reached[kind].append(end.iteration)
        unfinished += [] if end.is_done else [f"{kind} half-map {half + 1}"]
    yield Progress(99, 100, "Fourier shell correlation and local resolution")
    parts = segment_parts(mesh_job / "segments.mrc") or moving_parts(case.model, bodies["flex"], case.mask)
    curves = {kind: curves_of(pair, case.soft, parts) for kind, pair in maps.items()}
    summary = _validate(params, out, case, maps, curves)
    cut = density_cut(torch.from_numpy(case.like.data.copy()), case.soft)
    fewest = min(map(len, rows))
    for sentence in sentences(
        curves, len(case.mask), case.particles.pixel_size, unfinished=unfinished, particles=fewest, cut=cut
    ):
        warnings.warn(sentence, InputWarning, stacklevel=2)
    summary["iterations"] = reached
    if inversions:
        box, pixel = len(case.mask), case.particles.pixel_size
        last = min(int(box * pixel / summary["rigid"]["fsc143_A"]), box // 2 - 3)  # there the images fall off
        pairs = zip(maps["rigid"], inversions, strict=True)
        summary["rigid"]["least_fsc_with_inversion"] = min(agreement(*pair, last) for pair in pairs)
    with atomic(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=1))
    for file in out.glob("descent-*.safetensors"):
        file.unlink()
    return summary


def _case(train: Path, mesh_job: Path, prep: Path) -> _Case:
    with np.load(mesh_job / "mesh.npz", allow_pickle=False) as file:
        mask, soft = file["mask"], torch.from_numpy(file["mask_soft"]).float()
    model = load_model(train)
    first, second = (_flow_of(train, model, half) for half in (0, 1))
    particles = Particles.open(prep, "full")
    if (train / POSES).is_file():
        with np.load(train / POSES, allow_pickle=False) as off:
            particles = particles.posed(off["turn"], off["shift"])
    return _Case(particles, model, (first, second), mask, soft, read_map(prep / "map.mrc"))


def _flow_of(train: Path, model: FlexModel, half: int) -> FlexModel:
    """Model that a half-map is made with: that of its half-set alone, if there is one; with a row a particle."""
    folder = train / f"half{half + 1}"
    if not (folder / "latest").is_file():
        return model
    own = load_model(folder)
    standard = np.zeros_like(model.standard)
    standard[model.half == half] = own.standard
    return replace(own, standard=standard)


def _half_map(
    params: ReconstructParams,
    problem: Problem,
    out: Path,
    kind: str,
    half: int,
    share: tuple[float, float],
) -> Generator[Progress, None, Descent]:
    """Solve for one half-map; its state is kept after every iteration."""
    store = out / f"descent-{kind}-{half + 1}.safetensors"
    tensors = load_file(store) if store.is_file() else {}
    descent = Descent.restored(tensors) if tensors else None
    name = f"{kind} half-map {half + 1}"
    if descent is not None and (descent.is_done or descent.iteration >= params.max_iterations):
        return descent
    method = method_named(params.solver, problem, params.share_tolerance)
    if descent is not None:
        method.restore({k.removeprefix("method."): v for k, v in tensors.items() if k.startswith("method.")})
        yield Progress(round(1000 * share[0]), 1000, f"{name}: going on after iteration {descent.iteration}")
    total = (params.max_iterations + 1) * len(problem.rows)
    solver = solve(problem, method, params.max_iterations, descent)
    while True:
        try:
            report = next(solver)
        except StopIteration:
            break
        done = (report.iteration * len(problem.rows) + report.seen) / total
        place = round(1000 * (share[0] + share[1] * min(done, 1.0)))
        if report.descent is None:
            yield Progress(place, 1000)
            continue
        descent = report.descent
        _keep(store, descent, method)
        yield _told(place, name, half, kind, report)
    assert descent is not None
    return descent


def _keep(store: Path, descent: Descent, method: Method) -> None:
    remembered = {f"method.{name}": tensor for name, tensor in method.tensors().items()}
    with atomic(store) as temporary:
        save_file({**descent.tensors(), **remembered}, temporary)


def _told(place: int, name: str, half: int, kind: str, report: Report) -> Progress:
    assert report.descent is not None
    objective = report.descent.objective
    metrics = {
        "half": half + 1,
        "rigid": int(kind == "rigid"),
        "iteration": report.iteration,
        "objective": objective,
    }
    return Progress(place, 1000, f"{name}, iteration {report.iteration}: objective {objective:.1f}", metrics)


def _validate(
    params: ReconstructParams,
    out: Path,
    case: _Case,
    maps: dict[str, list[Tensor]],
    curves: dict[str, Curves],
) -> dict[str, Any]:
    """Write the mean maps and all that the half-maps say of them; return the resolutions."""
    box, pixel = len(case.mask), case.particles.pixel_size
    limit = float(case.model.facts["training_limit_A"])
    write_curves(out / "fsc.csv", curves, box, pixel)
    draw_curves(out / "fsc.png", curves, box, pixel, limit)
    found: dict[str, Any] = resolutions(curves, box, pixel)
    local = {}
    for kind, pair in maps.items():
        mean, curve = (pair[0] + pair[1]) / 2, curves[kind]["corrected"]
        weighted = sharpen(mean, pixel, 0.0, curve, 2 * pixel)
        write_map(out / f"{kind}.mrc", (weighted * case.soft).numpy(), like=case.like)
        finest = found[kind]["fsc143_A"]
        found[kind]["bfactor_A2"] = guinier_bfactor(mean * case.soft, pixel, finest=finest)
        if params.sharpened:
            bfactor = found[kind]["bfactor_A2"] if params.bfactor == "auto" else params.bfactor
            sharp = sharpen(mean, pixel, bfactor, curve, finest)
            write_map(out / f"{kind}_sharpened.mrc", (sharp * case.soft).numpy(), like=case.like)
        local[kind] = local_resolution(pair[0], pair[1], case.soft, pixel)
    write_map(out / "local_resolution.mrc", local["flex"].numpy(), like=case.like)
    if "rigid" in local:
        write_map(out / "local_resolution_rigid.mrc", local["rigid"].numpy(), like=case.like)
        gain = (local["rigid"] - local["flex"]).numpy()
        write_map(out / "local_resolution_gain.mrc", gain, like=case.like)
    return found | {
        "training_limit_A": limit,
        "own_motion_of_each_half": case.flows[0] is not case.model,
        "particles": len(case.particles),
        "solver": params.solver,
        "iterations_at_most": params.max_iterations,
    }
