"""The stage "train": canonical map, flow generator and latents from the particles of a mesh job."""

import copy
import warnings
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flex3d.agreement import write_agreement
from napari_flex3d.devices import choose_device, in_words, room_on
from napari_flex3d.fit import (
    RESOLUTION_LIMIT,
    Fit,
    Setup,
    at_rest,
    begin,
    errors_of_poses,
    fit,
    latent_scale,
    polish,
    set_up,
)
from napari_flex3d.fit.halves import Agreement, compare, half_of
from napari_flex3d.fit.monitors import diagnose, motion_found
from napari_flex3d.fit.poses import PosePrior
from napari_flex3d.fit.start import DECIDED, Start, start
from napari_flex3d.io.errors import InputError, InputWarning
from napari_flex3d.io.files import atomic
from napari_flex3d.io.latents import read_latents
from napari_flex3d.io.motion import NAME as MOTION
from napari_flex3d.io.motion import Motion, write_motion
from napari_flex3d.io.mrc import write_map
from napari_flex3d.jobs import input_of, read_job
from napari_flex3d.latent_tables import write_latents, write_polished
from napari_flex3d.mesh import TetMesh
from napari_flex3d.model import (
    FlexModel,
    checkpoint_folder,
    load_model,
    load_state,
    save_model,
)
from napari_flex3d.motions import FEWEST, in_image_units, open_particles, write_motions, write_trials
from napari_flex3d.particles import POSES, Particles
from napari_flex3d.progress import Progress
from napari_flex3d.room import check as check_room
from napari_flex3d.room import of_training, remedy, sizes_of
from napari_flex3d.train.params import TrainParams
from napari_flex3d.train.picture import draw_latents, draw_losses

__all__ = ["TrainParams", "train"]

MOTION_STATES = 64
"""Particles whose displacements are kept for other stages."""


def train(params: TrainParams, out: Path) -> Generator[Progress, None, dict[str, Any]]:
    """Train a flexible model; after a stop, from the newest checkpoint in ``out``.

    Writes a checkpoint after every epoch, and at the end ``latents.csv``, ``latents.star``, ``latents.cs``,
    ``canonical.mrc``, ``motion.npz``, ``loss.png`` and ``latents.png``; for independent halves also the checkpoints
    of each in ``half1`` and ``half2``, and their agreement.

    Raises
    ------
    InputError
        If the device is not there, there are too few particles, or memory or disk are too small.
    """
    device = choose_device(params.device)
    prep = input_of(params.mesh, "prep")
    sizes = sizes_of(params.mesh, 2 if params.latent_dims == "auto" else params.latent_dims)
    if params.polish_poses and params.independent_halves:
        raise InputError(
            "--polish-poses and --independent-halves cannot be had in one job: polish first, then run "
            "flex3d prep again."
        )
    epochs = params.epochs + params.extra_epochs
    check_room("train", of_training(sizes, epochs * (1 + params.independent_halves)), sizes, out)
    particles, density, mask = open_particles(params.mesh)
    yield Progress(0, 0, f"{len(particles)} particles, {int(mask.sum())} voxels: tying voxels to the mesh")
    yield Progress(0, 0, in_words(device))
    mesh = TetMesh.load(params.mesh / "mesh.npz")
    setup = set_up(particles, mesh, mask, params.held_out / 100, params, device)
    scaled = in_image_units(density, mask, particles)
    given = params.initial_latents
    first = read_latents(given, particles.table, params.latent_dims) if given else None
    before = out if (out / "latest").is_file() else _to_continue(params, setup)
    less = f"{remedy('train', sizes)}, or use device = cpu."
    with room_on(device, less):
        setup, state, history = yield from _begun(setup, scaled, first, before, out)
        yield from _fitted(setup, state, history, out)
    for sentence in diagnose(history, setup.params, particles.pixel_size):
        warnings.warn(sentence, InputWarning, stacklevel=2)
    agreement = None
    if params.independent_halves:
        with room_on(device, less):
            agreement = yield from _halves(setup, scaled, first, out)
        write_agreement(out, agreement, setup.mask.numpy(), density)
        yield Progress(1, 1, agreement.in_words())
    if params.polish_poses:
        particles = yield from _polished(setup, state, out)
        _checkpoint(out, _model(setup, state, history), state)
    model = _model(setup, state, history)
    if not (params.polish_poses or params.freeze_latents):
        model = _model(setup, (yield from _with_open_poses(setup, state)), history)
        _checkpoint(out, model, state)  # the state stays what a training goes on from
    if params.polish_poses:
        write_polished(out, particles.table, model)
    write_latents(out, prep, particles.table, model, polished=params.polish_poses)
    write_motion(out / MOTION, _motion(model))
    write_map(out / "canonical.mrc", model.canonical, like=density)
    draw_losses(out / "loss.png", history)
    draw_latents(out / "latents.png", model)
    last = history[-1]
    return {
        "particles": len(particles),
        "held_out": int(setup.held_out.sum()),
        "latent_dims": model.latent_dims,
        "rigidity": setup.params.rigidity,
        "epochs": state.epoch,
        "displacement_rms_A": last["displacement_rms"],
        "displacement_max_A": last["displacement_max"],
        "gain_held_out": last["rigid_loss_held_out"] - last["loss_held_out"],
        "training_limit_A": model.facts["training_limit_A"],
        "motion_found": motion_found(last, particles.pixel_size),
    } | ({} if agreement is None else {"halves": agreement.facts()})


def _begun(
    setup: Setup,
    scaled: NDArray[np.float32],
    latents: NDArray[np.float32] | None,
    before: Path | None,
    out: Path,
) -> Generator[Progress, None, tuple[Setup, Fit, list[dict[str, float]]]]:
    """Go on from an earlier training, or begin anew and write down what was found before the first epoch."""
    params: Any = setup.params
    if before is not None:
        previous, tensors = load_state(checkpoint_folder(before))
        chosen = previous.facts["chosen"]
        setup = setup.decided(**{name: chosen[name] for name in DECIDED if getattr(params, name) == "auto"})
        setup = replace(setup, held_out=previous.held_out)
        state = begin(setup, at_rest(setup, scaled), params.layers, params.hidden_units)
        state.restore(tensors)
        if before != out:  # what a finished training gave, poses left open
            state.latents = torch.from_numpy(previous.standard).to(setup.device)
            state.covariance = torch.from_numpy(previous.covariance).to(setup.device)
        epochs = params.epochs + params.extra_epochs
        yield Progress(state.epoch, epochs, f"Going on after epoch {state.epoch}")
        return setup, state, previous.facts["history"]
    steps = start(setup, scaled, latents)
    while True:
        try:
            done, total, said = next(steps)
        except StopIteration as end:
            begun: Start = end.value
            break
        yield Progress(done, total, said)
    out.mkdir(exist_ok=True)
    if begun.motions is not None:
        write_motions(out, begun.motions, setup)
    if begun.trials:
        write_trials(out, begun.trials)
    return begun.setup, begun.state, []


def _fitted(
    setup: Setup,
    state: Fit,
    history: list[dict[str, float]],
    out: Path,
) -> Generator[Progress, None, None]:
    """Fit to the end, with a checkpoint and the monitors' sentences after every epoch."""
    params = setup.params
    for done, total, metrics in fit(setup, state):
        if not metrics:
            yield Progress(done, total)
            continue
        history.append(metrics)
        model = _model(setup, state, history)
        _checkpoint(out, model, state)
        said = diagnose(history, params, setup.particles.pixel_size)
        with atomic(out / "warnings.txt") as temporary:  # for whoever looks while the training goes on
            temporary.write_text("".join(f"{sentence}\n" for sentence in said), encoding="utf-8")
        preview = _preview(model) | {"warnings": said}
        words = _in_words(metrics, params.epochs + params.extra_epochs)
        yield Progress(done, total, words, metrics, preview)


def _with_open_poses(setup: Setup, state: Fit) -> Generator[Progress, None, Fit]:
    """The same fit with latents, and their covariance, that allow for what poses are off by; the poses stay."""
    errors = errors_of_poses(setup, state)
    said = f"Poses seem off by {np.degrees(errors.rotation):.1f} degrees and {errors.shift:.2f} Å about each axis"
    yield Progress(0, 0, f"{said}: latents with poses left open")
    opened = replace(state, latents=state.latents.clone(), covariance=state.covariance.clone())
    for done in polish(setup, opened, errors):
        yield Progress(done, len(setup.particles))
    return opened


def _polished(setup: Setup, state: Fit, out: Path) -> Generator[Progress, None, Particles]:
    """Improve all poses under the finished fit, keep what they were off by in ``poses.npz``, and apply it."""
    params: Any = setup.params
    yield Progress(0, 0, "Polishing poses")
    steps = polish(setup, state, PosePrior(float(np.radians(params.pose_turn)), params.pose_shift))
    while True:
        try:
            done = next(steps)
        except StopIteration as end:
            turn, shift = end.value[:, :3].numpy(), end.value[:, 3:].numpy()
            break
        yield Progress(done, len(setup.particles))
    with atomic(out / POSES) as temporary, temporary.open("wb") as file:
        np.savez(file, turn=turn, shift=shift)
    rms = np.degrees(np.sqrt((turn**2).sum(1).mean())), np.sqrt((shift**2).sum(1).mean())
    yield Progress(1, 1, f"Poses moved by {rms[0]:.2f} degrees and {rms[1]:.2f} Å rms")
    return setup.particles.posed(turn, shift)


def _halves(
    setup: Setup,
    scaled: NDArray[np.float32],
    latents: NDArray[np.float32] | None,
    out: Path,
) -> Generator[Progress, None, Agreement]:
    """Train on each half-set alone, in ``half1`` and ``half2``, and compare the two motions."""
    both = []
    for half in (0, 1):
        own, folder, name = half_of(setup, half), out / f"half{half + 1}", f"half-set {half + 1}"
        given = None if latents is None else latents[setup.particles.half == half]
        if len(own.train) < FEWEST:
            raise InputError(
                f"{name} has {len(own.train)} particles to train on; at least {FEWEST} are needed."
            )
        yield Progress(0, 0, f"Training on {name} alone: {len(own.particles)} particles")
        before = folder if (folder / "latest").is_file() else None
        own, state, history = yield from _begun(own, scaled, given, before, folder)
        for report in _fitted(own, state, history, folder):
            message = f"{name}, {report.message}" if report.message else ""
            yield Progress(report.step, report.total, message)  # curves and views are those of all particles
        both.append((own, state))
    comparison = compare(setup, both)
    while True:
        try:
            done, total = next(comparison)
        except StopIteration as end:
            return end.value
        yield Progress(done, total)


def _to_continue(params: TrainParams, setup: Setup) -> Path | None:
    """The training to go on from, if it fits."""
    job = params.continue_from
    if job is None:
        return None
    read_job(job, "train", wanted_by="--continue-from")
    model, last = load_model(job), params.epochs + params.extra_epochs
    if params.initial_latents is not None:
        raise InputError("--continue-from takes the latents of that training: leave --initial-latents out.")
    found = (model.latent_dims, len(model.generator.layers), model.generator.linears[0].out_features)
    wanted = (params.latent_dims, params.layers, params.hidden_units)
    names = ("latent_dims", "layers", "hidden_units")
    for name, one, other in zip(names, found, wanted, strict=True):
        if other not in ("auto", one):
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{job} has {name} = {one}, not {other}: give {flag} {one}.")
    same = (
        np.array_equal(model.mesh.vertices, setup.mesh.vertices)
        and np.array_equal(model.mask, setup.mask.numpy())
        and np.array_equal(model.half, setup.particles.half)
    )
    if not same:
        raise InputError(f"{job} was trained on other particles or another mesh: give its own mesh job.")
    if model.facts["epoch"] >= last:
        raise InputError(
            f"{job} has done {model.facts['epoch']} epochs, all that are asked for: give --extra-epochs."
        )
    return job


def _model(setup: Setup, state: Fit, history: list[dict[str, float]]) -> FlexModel:
    """The model as it stands, in the units of the consensus map."""
    n = len(setup.mask)
    voxels = torch.zeros(int(setup.mask.sum()))
    voxels[setup.body.order.cpu()] = state.values.cpu() / setup.particles.map_scale
    canonical = torch.zeros(n, n, n)
    canonical[setup.mask] = voxels
    return FlexModel(
        mesh=setup.mesh,
        generator=copy.deepcopy(state.average).cpu(),
        canonical=canonical.numpy(),
        mask=setup.mask.numpy(),
        pixel_size=setup.particles.pixel_size,
        standard=state.latents.cpu().numpy().copy(),
        covariance=state.covariance.cpu().numpy().copy(),
        held_out=setup.held_out,
        half=setup.particles.half,
        latent_scale=latent_scale(state.latents[setup.train]).cpu().numpy(),
        facts={
            "epoch": state.epoch,
            "training_limit_A": setup.particles.pixel_size / RESOLUTION_LIMIT,
            "chosen": {name: getattr(setup.params, name) for name in DECIDED},
            "history": list(history),
        },
    )


def _checkpoint(out: Path, model: FlexModel, state: Fit) -> None:
    name = f"checkpoint-{state.epoch:03d}"
    save_model(out / name, model, state.tensors())
    with atomic(out / "latest") as temporary:
        temporary.write_text(name + "\n")


def _preview(model: FlexModel) -> dict[str, Any]:
    path = np.zeros((9, model.latent_dims), dtype=np.float32)
    low, high = (float(v) for v in np.percentile(model.latents[:, 0], [1, 99]))
    path[:, 0] = np.linspace(low, high, 9)
    return {"latents": model.latents, "displacements": model.displacements(path)}


def _motion(model: FlexModel) -> Motion:
    """How the mesh moves at the latents of some particles, evenly drawn."""
    few = np.linspace(0, len(model.latents) - 1, min(MOTION_STATES, len(model.latents))).astype(int)
    return Motion(model.mesh.vertices, model.mesh.cells, model.displacements(model.latents[few]))


def _in_words(metrics: dict[str, float], epochs: int) -> str:
    return (
        f"epoch {metrics['epoch']:.0f} of {epochs}: flexible {metrics['loss']:.2f}, rigid {metrics['rigid_loss']:.2f}, "
        f"held out {metrics['loss_held_out']:.2f} and {metrics['rigid_loss_held_out']:.2f}; "
        f"motion {metrics['displacement_rms']:.2f} Å rms, {metrics['displacement_max']:.1f} Å at most"
        + (
            f"; {metrics['voxels']:.0f} voxels at box {metrics['box']:.0f}, the empty ones left out change an image by "
            f"{metrics['left_out_error']:.1%} at most"
            if metrics["left_out_error"]
            else ""
        )
    )
