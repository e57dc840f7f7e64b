"""Find how a protein moves from cryo-EM particles, and explore the motion by hand in napari."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_flex3d import stages
    from napari_flex3d.generate import GenerateParams
    from napari_flex3d.jobs import Job, read_job
    from napari_flex3d.mesh import MeshParams
    from napari_flex3d.model import FlexModel, load_model
    from napari_flex3d.planning import plan
    from napari_flex3d.prep import PrepParams
    from napari_flex3d.progress import Progress
    from napari_flex3d.reconstruct import ReconstructParams
    from napari_flex3d.stages import build_mesh, generate_series, prepare, reconstruct_maps, train_model
    from napari_flex3d.train import TrainParams

if "OMP_WAIT_POLICY" not in os.environ:
    # Before torch is loaded: how long its threads wait at work for more of it. By themselves they do so for
    # milliseconds, on the cores that the kernels and the window want (docs/decisions.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__version__ = "0.1.0"

__all__ = [
    "FlexModel",
    "GenerateParams",
    "Job",
    "MeshParams",
    "MotionsParams",
    "PrepParams",
    "Progress",
    "ReconstructParams",
    "TrainParams",
    "build_mesh",
    "generate_series",
    "load_model",
    "look_for_motions",
    "plan",
    "prepare",
    "read_job",
    "reconstruct_maps",
    "stages",
    "train_model",
]

_HOMES = {
    "prep": ["PrepParams"],
    "mesh": ["MeshParams"],
    "motions": ["MotionsParams"],
    "train": ["TrainParams"],
    "generate": ["GenerateParams"],
    "reconstruct": ["ReconstructParams"],
    "model": ["FlexModel", "load_model"],
    "jobs": ["Job", "read_job"],
    "planning": ["plan"],
    "progress": ["Progress"],
    "stages": [
        "prepare",
        "build_mesh",
        "look_for_motions",
        "train_model",
        "generate_series",
        "reconstruct_maps",
    ],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the package alone loads neither torch nor Qt."""
    if name == "stages":
        return importlib.import_module("napari_flex3d.stages")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"napari_flex3d.{home}"), name)
    raise AttributeError(f"module 'napari_flex3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
