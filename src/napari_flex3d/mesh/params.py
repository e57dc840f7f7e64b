"""Parameters of the stage "mesh"."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_flex3d.params import REQUIRED, AutoFloat, AutoInt, Params, param

Proposal = Literal["none", "watershed", "parts", "comovement"]


@dataclass(frozen=True, kw_only=True)
class MeshParams(Params):
    """Parameters of the stage "mesh"."""

    prep: Path = param(REQUIRED, "The prep job.", positional=True, path="job")
    mask: Path | None = param(
        None,
        "Solvent mask at the crop box of the prep job; its own mask when none is given.",
        path="file",
        suffixes=(".mrc", ".map"),
    )
    cells: int = param(20, "Cells of the mesh across the box.", low=4, high=80, cryosparc="tetra_num_cells")
    segments: Path | None = param(
        None,
        "Parts of the particle: a segmentation (.seg, .mrc), or an atomic model in the map, each chain a part.",
        path="file",
        suffixes=(".seg", ".mrc", ".map", ".pdb", ".cif"),
        cryosparc="tetra_segments_path",
    )
    connections: str = param(
        "",
        "Which segments are joined, a tree from its root: 0>1, 0>2, 2>3. Others may slide. All that touch when not "
        'given, "none" for nothing.',
        cryosparc="tetra_segments_fuse_list",
    )
    rigid_segments: str = param("", "Segments that stay rigid, such as 0, 2.", cryosparc="tetra_rigid_list")
    propose: Proposal = param(
        "none",
        "Segments from the map itself: regions of a watershed, or its connected parts; or comovement: what moves "
        "together in a training.",
    )
    propose_size: float = param(
        40.0, "About how wide a region of the watershed is.", unit="Å", low=4, high=1000, step=1
    )
    propose_contour: AutoFloat = param(
        "auto", "Density above which connected parts are looked for.", step=1e-4, advanced=True
    )
    train: Path | None = param(None, "The training job whose motion tells the parts.", path="job")
    propose_count: AutoInt = param(
        "auto", "How many parts that move together; auto takes what is stable.", low=2, high=12, advanced=True
    )
    segment_names: str = param("", "Names of segments, such as 1: ring; 2: left arm.", advanced=True)
    segment_level: Literal["groups", "leaves"] = param(
        "groups", "Which regions of a .seg are segments: its top groups, or all leaves.", advanced=True
    )
    model_parts: str = param(
        "",
        "Segments of an atomic model, by chains and residues: A, B:1-120; B:121-300. Each chain when not given.",
        advanced=True,
    )
    min_rigidity_weight: float = param(
        0.5,
        "Rigidity weight of an empty cell; cells in dense parts of the map have 1.",
        low=0,
        high=100,
        step=0.01,
        advanced=True,
        cryosparc="rigidity_penalty_min",
    )
    stiffen_low_density: bool = param(
        False,
        "Make the periphery of the density stiffer than its core.",
        advanced=True,
        cryosparc="rigidity_penalty_stiffen_low_density",
    )
    weights: Path | None = param(
        None,
        "Rigidity weights of your own: .npy or .npz with one number per cell, or .csv with columns segment, weight.",
        path="file",
        suffixes=(".csv", ".npy", ".npz"),
        advanced=True,
    )
    mesh: Path | None = param(
        None,
        "A mesh made elsewhere, used as it is: mesh.npz of a mesh job, or CryoSPARC's pickle.",
        path="file",
        suffixes=(".npz", ".pkl"),
        advanced=True,
    )
