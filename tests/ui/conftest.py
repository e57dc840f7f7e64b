"""A viewer's session on toy stages: they drive real jobs and write real files, in fractions of a second."""

import atexit
import gc
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest

# napari's own settings of whoever runs the tests stay as they are
os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp(prefix="flex3d-tests-")) / "settings.yaml")
pytest.importorskip("napari")
pytest.importorskip("pyqtgraph")

import napari
import torch
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QApplication
from scipy.ndimage import gaussian_filter
from superqt.utils import WorkerBase

from napari_flex3d import stages
from napari_flex3d.fit.motions import Motions
from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import read_map, write_map, write_stack
from napari_flex3d.mesh import TetMesh, regular_mesh
from napari_flex3d.model import FlexModel, FlowGenerator, save_model
from napari_flex3d.motions import write_motions
from napari_flex3d.params import REQUIRED, AutoFloat, Params, param
from napari_flex3d.progress import Progress
from napari_flex3d.ui.canvas_context import CanvasContext
from napari_flex3d.ui.session import Session

atexit.register(shutil.rmtree, Path(os.environ["NAPARI_CONFIG"]).parent, ignore_errors=True)

BOX, PIXEL_SIZE = 32, 4.0
ORIGIN = (10.0, -20.0, 30.0)

Steps = Generator[Progress, None, dict[str, Any]]


def hinge_map() -> np.ndarray:
    """Two lobes joined by a neck."""
    z, y, x = np.mgrid[:BOX, :BOX, :BOX] - BOX // 2
    lobes = [(-5, 0, 0, 4.0, 1.0), (6, 2, -2, 3.4, 0.9), (0, 1, -1, 2.2, 0.8), (8, 6, 2, 2.0, 0.6)]
    blobs = [
        h * np.exp(-((x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2) / (2 * s**2)) for a, b, c, s, h in lobes
    ]
    return np.sum(blobs, axis=0).astype(np.float32)


def smeared_map() -> np.ndarray:
    """What a rigid reconstruction makes of the right lobe, which moves; in half the units."""
    volume, right = hinge_map(), np.arange(BOX) > BOX // 2
    return np.where(right, gaussian_filter(volume, (0.5, 2.5, 0.5)), volume).astype(np.float32) / 2


def hinge_model(dims: int = 2, particles: int = 400, bend: float = 0.35) -> FlexModel:
    """A model that bends the right lobe about z with the first latent and about y with the second."""
    canonical = hinge_map()
    mask = canonical > 0.08
    mesh, _ = regular_mesh(mask, PIXEL_SIZE, 8)
    rigid = 0.5 + 0.5 * (mesh.vertices[mesh.cells].mean(1)[:, 0] < 0)
    mesh = TetMesh(mesh.vertices, mesh.cells, rigid.astype(np.float32), mesh.segment)
    x, y, _ = mesh.vertices.T
    arm = np.clip(x, 0, None)
    fields = [np.stack([-bend * y * (x > 0), bend * arm, 0 * x], 1), np.stack([0 * x, 0 * x, bend * arm], 1)]
    modes = torch.from_numpy(np.stack([field.ravel() for field in fields]).astype(np.float32))
    generator = FlowGenerator(dims, modes, torch.ones(len(mesh.vertices)), layers=1, hidden_units=4)
    with torch.no_grad():
        for k in range(dims):
            generator.weight[k, k % 2] = 1.0
    random = np.random.default_rng(1)
    standard = random.normal(size=(particles, dims)).astype(np.float32)
    standard[:, 0] += np.where(random.random(particles) < 0.5, -1.2, 1.2)
    return FlexModel(
        mesh=mesh,
        generator=generator,
        canonical=canonical,
        mask=mask,
        pixel_size=PIXEL_SIZE,
        standard=standard,
        covariance=np.tile(np.eye(dims, dtype=np.float32) * 0.01, (particles, 1, 1)),
        held_out=np.zeros(particles, bool),
        half=(np.arange(particles) % 2).astype(np.uint8),
        latent_scale=np.full(dims, 0.45, np.float32),
        facts={"epoch": 1},
    )


@dataclass(frozen=True, kw_only=True)
class ToyPrepParams(Params):
    particles: Path = param(REQUIRED, "Particles.", positional=True, path="file", suffixes=(".star", ".cs"))
    map: Path = param(REQUIRED, "Consensus map.", path="file", suffixes=(".mrc", ".map"))
    mask: Path | None = param(None, "Mask.", path="file")
    train_box: int = param(32, "Training box.", unit="px", low=16, high=512, step=2)
    sign: Literal["auto", "bright", "dark"] = param("auto", "Sign of the images.", advanced=True)


def toy_prep(params: ToyPrepParams, out: Path) -> Steps:
    volume = read_map(params.map)
    with write_stack(out / "particles_train.mrcs", BOX, PIXEL_SIZE) as stack:
        for step in range(3):
            stack.append(np.random.default_rng(step).normal(size=(8, BOX, BOX)))
            yield Progress(step + 1, 3, "Reading particles")
    write_map(out / "map.mrc", volume.data, like=volume)
    write_map(out / "map_train.mrc", volume.data, like=volume)
    write_map(out / "mask.mrc", (volume.data > 0.05).astype(np.float32), like=volume)
    return {"particles": 24, "pixel_size": PIXEL_SIZE, "sign": "bright", "hand": "as given"}


@dataclass(frozen=True, kw_only=True)
class ToyMeshParams(Params):
    prep: Path = param(REQUIRED, "Prep job.", positional=True, path="job")
    cells: int = param(20, "Cells across the box.", low=4, high=40)
    connections: str | None = param(None, "Connections, such as 0>1.")


def toy_mesh(params: ToyMeshParams, out: Path) -> Steps:
    yield Progress(0, 1, "Cutting the lattice")
    hinge_model().mesh.save(out / "mesh.npz")
    return {"vertices": 99, "cells": 300, "components": 1}


@dataclass(frozen=True, kw_only=True)
class ToyTrainParams(Params):
    mesh: Path = param(REQUIRED, "Mesh job.", positional=True, path="job")
    latent_dims: int = param(2, "Latent coordinates.", low=1, high=16, cryosparc="Number of latent dims")
    epochs: int = param(4, "Epochs.", low=1, high=1000)
    rigidity: AutoFloat = param(2.0, "Rigidity.", low=0, high=1000)
    start: Literal["motions", "random"] = param("motions", "Start of the flow.", advanced=True)
    motions: tuple[int, ...] = param((), "Motions to start along.", low=1, high=8, advanced=True)
    learning_rate: float = param(1e-4, "Step.", low=0, high=1, advanced=True)
    seed: int = param(0, "Seed.", low=0, advanced=True)
    seconds: float = param(0.0, "Seconds per epoch.", low=0, high=100, advanced=True)
    fail: str | None = param(None, "Message to fail with.", advanced=True)


@dataclass(frozen=True, kw_only=True)
class ToyMotionsParams(Params):
    mesh: Path = param(REQUIRED, "Mesh job.", positional=True, path="job")
    seed: int = param(0, "Seed.", low=0, advanced=True)


def toy_motions(params: ToyMotionsParams, out: Path) -> Steps:
    """Three motions of the hinge's mesh: its two bends, which are supported, and one that is noise."""
    yield Progress(0, 1, "Looking for motions")
    model = hinge_model()
    fields = 0.45 * torch.from_numpy(model.displacements(np.eye(2, dtype=np.float32)))
    size = torch.tensor([2.0, 1.0, 0.2])
    setup = SimpleNamespace(mesh=model.mesh, particles=SimpleNamespace(source_row=np.arange(24)))
    found = Motions(
        size=size,
        internal=0.8 * size,
        null=0.3,
        gain=10 * size,
        error=0.5 * torch.ones(3),
        supported=2,
        fields=torch.cat([fields, fields[:1] / 10]),
        rows=torch.arange(24),
        latents=torch.randn(24, 3, generator=torch.Generator().manual_seed(params.seed)),
    )
    write_motions(out, found, setup)  # type: ignore[arg-type]
    return {"supported": 2}


def toy_train(params: ToyTrainParams, out: Path) -> Steps:
    for epoch in range(1, params.epochs + 1):
        end = time.monotonic() + params.seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            yield Progress(epoch - 1, params.epochs, f"epoch {epoch} of {params.epochs}")
        if params.fail and epoch == 2:
            raise RuntimeError(params.fail)
        model = hinge_model(params.latent_dims, bend=0.35 * epoch / params.epochs)
        save_model(out / f"checkpoint-{epoch:03d}", model)
        with atomic(out / "latest") as path:
            path.write_text(f"checkpoint-{epoch:03d}")
        loss = 1 + 0.3 * np.exp(-epoch / 3)
        metrics = {
            "epoch": epoch,
            "loss": loss,
            "loss_held_out": loss + 0.02,
            "rigid_loss": 1.31,
            "rigid_loss_held_out": 1.32,
            "displacement_rms": 3.0 * epoch / params.epochs,
            "displacement_max": 11.0 * epoch / params.epochs,
        }
        preview = {"latents": model.latents, "displacements": model.displacements(model.latents[:5])}
        yield Progress(epoch, params.epochs, f"epoch {epoch} of {params.epochs}", metrics, preview)
    write_map(out / "canonical.mrc", model.canonical, pixel_size=PIXEL_SIZE, origin=ORIGIN)
    return {"epochs": params.epochs, "loss_held_out": 1.04, "rigid_loss_held_out": 1.32}


@dataclass(frozen=True, kw_only=True)
class ToyGenerateParams(Params):
    train: Path = param(REQUIRED, "Train job.", positional=True, path="job")
    axis: tuple[int, ...] = param((), "Axes.")
    frames: int = param(41, "Frames.", low=2, high=1000)


def toy_generate(params: ToyGenerateParams, out: Path) -> Steps:
    yield Progress(1, 1, "Writing frames")
    return {"frames": params.frames}


@dataclass(frozen=True, kw_only=True)
class ToyReconstructParams(Params):
    train: Path = param(REQUIRED, "Train job.", positional=True, path="job")
    max_iterations: int = param(20, "Iterations.", low=1, high=1000)
    rigid_twin: bool = param(True, "Also reconstruct without motion.")
    seconds: float = param(0.0, "Seconds per iteration.", low=0, high=100, advanced=True)


def toy_reconstruct(params: ToyReconstructParams, out: Path) -> Steps:
    for iteration in range(3):
        end = time.monotonic() + params.seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            yield Progress(iteration, 3, f"iteration {iteration}")
        for half in (0, 1):
            metrics = {"half": half, "rigid": 0, "iteration": iteration, "objective": 1 / (1 + iteration)}
            yield Progress(iteration, 3, "Solving", metrics)
    kinds = {"flex": (hinge_map(), 0.08), "rigid": (smeared_map(), 0.06)}
    kinds = kinds if params.rigid_twin else {"flex": kinds["flex"]}
    for number, (kind, (volume, _)) in enumerate(kinds.items()):
        noise = 0.02 * np.random.default_rng(number).normal(size=volume.shape).astype(np.float32)
        for name, data in (
            (kind, volume),
            (f"{kind}_half1", volume + noise),
            (f"{kind}_half2", volume - noise),
        ):
            write_map(out / f"{name}.mrc", data, pixel_size=PIXEL_SIZE, origin=ORIGIN)
    if params.rigid_twin:
        right = np.broadcast_to(np.arange(BOX) > BOX // 2, (BOX, BOX, BOX))
        gain = np.where(hinge_map() > 0.02, np.where(right, 4.0, -0.2), 0.0).astype(np.float32)
        write_map(out / "local_resolution_gain.mrc", gain, pixel_size=PIXEL_SIZE, origin=ORIGIN)
    ends = {"corrected": 1.0, "part_moving": 0.7, "part_still": 1.1}
    header = ["shell", "frequency", "resolution", *(f"{kind}_{end}" for kind in kinds for end in ends)]
    lines = [",".join(header)]
    for shell in range(1, BOX // 2):
        f = shell / (BOX * PIXEL_SIZE)
        values = [np.exp(-((f / (end * limit)) ** 4)) for _, limit in kinds.values() for end in ends.values()]
        lines.append(",".join(map(str, [shell, f, 1 / f, *values])))
    with atomic(out / "fsc.csv") as path:
        path.write_text("\n".join(lines) + "\n")
    summary: dict[str, Any] = {
        "flex": {
            "fsc143_A": 10.6,
            "fsc05_A": 13.7,
            "parts": {
                "moving": {"fsc143_A": 15.1, "fsc05_A": 19.6},
                "still": {"fsc143_A": 9.6, "fsc05_A": 12.5},
            },
        },
        "rigid": {
            "fsc143_A": 14.1,
            "fsc05_A": 18.3,
            "parts": {
                "moving": {"fsc143_A": 20.2, "fsc05_A": 26.1},
                "still": {"fsc143_A": 12.8, "fsc05_A": 16.6},
            },
        },
        "training_limit_A": 12.0,
    }
    return summary if params.rigid_twin else {k: v for k, v in summary.items() if k != "rigid"}


def toy_stages() -> dict[str, Any]:
    """The stages by name, as `stages.run` takes them."""
    parts = {
        "prep": (ToyPrepParams, toy_prep),
        "mesh": (ToyMeshParams, toy_mesh),
        "motions": (ToyMotionsParams, toy_motions),
        "train": (ToyTrainParams, toy_train),
        "generate": (ToyGenerateParams, toy_generate),
        "reconstruct": (ToyReconstructParams, toy_reconstruct),
    }
    return {
        name: SimpleNamespace(
            name=name,
            title=name,
            resumable=name in ("train", "reconstruct"),
            params=params,
            function=function,
        )
        for name, (params, function) in parts.items()
    }


def _run_toys(
    project: Path, last: str = "reconstruct", *, reconstruct: dict[str, Any] | None = None, **train: Any
) -> dict[str, Path]:
    """Run the toy stages one after the other; the job folders by stage."""
    project.mkdir(parents=True, exist_ok=True)
    write_map(project / "consensus.mrc", hinge_map(), pixel_size=PIXEL_SIZE, origin=ORIGIN)
    (project / "particles.star").write_text("data_particles\n")
    toys, jobs = toy_stages(), {}
    given: dict[str, dict[str, Any]] = {
        "prep": {"particles": project / "particles.star", "map": project / "consensus.mrc"},
        "mesh": {"prep": project / "J1-prep"},
        "train": {"mesh": project / "J2-mesh", **train},
        "reconstruct": {"train": project / "J3-train", **(reconstruct or {})},
    }
    for number, (name, values) in enumerate(given.items(), 1):
        jobs[name] = project / f"J{number}-{name}"
        for _ in stages.run(toys[name], toys[name].params(**values), jobs[name]):
            pass
        if name == last:
            break
    return jobs


@pytest.fixture(scope="session")
def toy_jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Finished jobs of all toy stages. Read only."""
    return _run_toys(tmp_path_factory.mktemp("project"))


@pytest.fixture(autouse=True)
def _nothing_leaks(qapp: QApplication) -> Iterator[None]:
    """No test leaves a thread, a worker or a window behind."""
    torch.zeros(2).sum()  # torch's own pool, if any, comes before the count
    threads, windows = set(threading.enumerate()), set(map(id, QApplication.topLevelWidgets()))
    yield
    QThreadPool.globalInstance().waitForDone(5000)
    found = _left(threads, windows)
    if found:  # a collection takes a second with napari loaded, so only when it may help
        gc.collect()
        found = _left(threads, windows)
    assert not found


def _left(threads: set[threading.Thread], windows: set[int]) -> list[Any]:
    """Find threads of ours, workers and visible windows that were not there before."""
    QApplication.processEvents()
    ours = [t for t in set(threading.enumerate()) - threads if t.is_alive() and "flex3d" in t.name]
    shown = [w for w in QApplication.topLevelWidgets() if id(w) not in windows and w.isVisible()]
    return [*ours, *shown, *WorkerBase._worker_set, *[0] * QThreadPool.globalInstance().activeThreadCount()]


@pytest.fixture(scope="session")
def one_viewer(qapp: QApplication) -> Iterator[Any]:
    """One shown window for all tests: making and closing one takes seconds."""
    viewer = napari.Viewer(show=True)
    CanvasContext.keep(viewer, viewer.window._qt_window)  # docks see to it, but not every test opens one
    yield viewer
    viewer.close()


@pytest.fixture
def viewer(one_viewer: Any) -> Iterator[Any]:
    """The window, empty and in 3-D."""
    one_viewer.dims.ndisplay = 3
    one_viewer.reset_view()
    yield one_viewer
    one_viewer.window.remove_dock_widget("all")
    one_viewer.layers.clear()
    getattr(one_viewer, "scene", one_viewer).camera.angles = (0, 0, 90)  # napari 0.8 has no scene


@pytest.fixture
def session(viewer: Any, tmp_path: Path) -> Iterator[Session]:
    """A session on toy stages."""
    session = Session(viewer, toy_stages(), tmp_path / "project")
    yield session
    session.end()


@pytest.fixture(scope="session")
def toy_model() -> FlexModel:
    """A model that bends. Read only."""
    return hinge_model()


@pytest.fixture
def toy_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make every new session, also those that `view` and the Plugins menu make, one on toy stages."""
    original = Session.__init__

    def init(self: Session, viewer: Any, stages: Any = None, project: Path | None = None) -> None:
        original(self, viewer, toy_stages(), tmp_path / "project")

    monkeypatch.setattr(Session, "__init__", init)


@pytest.fixture(scope="session")
def run_toys() -> Any:
    """Run the toy stages one after the other, up to the last one wanted; the job folders by stage."""
    return _run_toys


@pytest.fixture
def toys() -> dict[str, Any]:
    """The toy stages by name."""
    return toy_stages()
