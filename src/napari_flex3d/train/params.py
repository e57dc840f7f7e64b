"""Parameters of train."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from napari_flex3d.devices import DeviceName
from napari_flex3d.params import REQUIRED, AutoFloat, AutoInt, Params, param


@dataclass(frozen=True, kw_only=True)
class TrainParams(Params):
    """Parameters of the stage "train"."""

    mesh: Path = param(REQUIRED, "The mesh job.", positional=True, path="job")
    latent_dims: AutoInt = param(
        "auto",
        "Latent coordinates of a particle; auto is as many as the motions that the particles support.",
        low=1,
        high=16,
        cryosparc="flex_K",
    )
    epochs: int = param(16, "Passes over all particles.", low=1, high=1000)
    extra_epochs: int = param(
        0,
        "Further passes at full resolution and the final learning rate.",
        low=0,
        high=1000,
        cryosparc="flex_extra_epochs",
    )
    rigidity: AutoFloat = param(
        "auto",
        "Strength of the rigidity prior; auto tries some and lets particles that were not trained on choose. Higher "
        "is stiffer; lower it when the motion looks too small, raise it when the density wobbles.",
        low=0,
        high=1e6,
        step=0.01,
        cryosparc="flex_sv_lam",
    )
    centering: AutoFloat = param(
        "auto",
        "Pull of the latents to the centre: auto for a unit prior on standardised latents, or CryoSPARC's number.",
        low=0,
        high=1e6,
        step=0.1,
        cryosparc="flex_latent_prior_lam",
    )
    device: DeviceName = param("auto", "Where to compute; auto is a CUDA GPU if there is one.")
    held_out: float = param(
        5.0,
        "Share of the particles kept out of the fit of motion and map, to judge it.",
        unit="%",
        low=0,
        high=50,
    )
    start: Literal["motions", "random"] = param(
        "motions",
        "Start of the flow: along the motions found before any training, or at random.",
        advanced=True,
    )
    motions: tuple[int, ...] = param(
        (),
        "Motions to start along, by their numbers in motions.csv; those that the particles support unless given.",
        low=1,
        high=8,
        advanced=True,
    )
    centering_power: float = param(
        4.0,
        "Power of the latents in a centering given as a number.",
        low=2,
        high=16,
        step=0.1,
        advanced=True,
        cryosparc="flex_latent_prior_pow",
    )
    latent_noise: AutoFloat = param(
        0.15,
        "Standard deviation of the noise added to latents, as displayed, while motion and map are fitted; auto draws "
        "it from each particle's posterior.",
        low=0,
        high=2,
        step=0.01,
        advanced=True,
        cryosparc="flex_latent_samp_std",
    )
    layers: int = param(
        6, "Layers of the flow generator.", low=1, high=32, advanced=True, cryosparc="flex_num_layers"
    )
    hidden_units: int = param(
        64, "Units of a layer.", low=4, high=1024, advanced=True, cryosparc="flex_hidden_units"
    )
    flow_lr: AutoFloat = param(
        "auto",
        "Learning rate of the flow generator at the start; auto is 1e-4 along motions that were found, 1.5e-3 from a "
        "random flow.",
        low=0,
        high=1,
        step=1e-6,
        advanced=True,
        cryosparc="flex_lr_flex_init",
    )
    flow_lr_final: AutoFloat = param(
        "auto",
        "Learning rate of the flow generator at the end; auto is a tenth of that at the start.",
        low=0,
        high=1,
        step=1e-6,
        advanced=True,
        cryosparc="flex_lr_flex_final",
    )
    density_lr: float = param(
        0.3,
        "Newton steps of the canonical map in an epoch.",
        low=0,
        high=10,
        step=0.01,
        advanced=True,
        cryosparc="flex_lr_density",
    )
    freeze_density: bool = param(False, "Keep the consensus map as canonical map.", advanced=True)
    initial_latents: Path | None = param(
        None,
        "Latents to start from: a latents.csv or latents.star, or a .cs file of 3DVA or 3DFlex.",
        path="file",
        suffixes=(".csv", ".star", ".cs"),
        advanced=True,
    )
    continue_from: Path | None = param(
        None,
        "A training of the same mesh job to go on from, with these parameters: its motion, map and latents are taken "
        "over after the epochs that it did. Give extra_epochs.",
        path="folder",
        advanced=True,
    )
    independent_halves: bool = param(
        False,
        "Also train on each half-set alone and say how well the two motions agree; half-maps are then made with the "
        "motion of their own half. Takes twice as long.",
    )
    polish_poses: bool = param(
        False,
        "Improve rotation and shift of every particle at the end, together with its latents; polished.star and "
        "the tables of latents then have the new poses, and reconstruct uses them.",
        advanced=True,
    )
    pose_turn: float = param(
        2.0,
        "By how much rotations are expected to be off about each axis, when poses are polished.",
        unit="°",
        low=0.001,
        high=30,
        step=0.001,
        advanced=True,
    )
    pose_shift: float = param(
        1.0,
        "By how much shifts are expected to be off in each direction, when poses are polished.",
        unit="Å",
        low=0.001,
        high=100,
        step=0.001,
        advanced=True,
    )
    freeze_latents: bool = param(False, "Keep the first latents.", advanced=True)
    seed: int = param(0, "Seed of everything random.", low=0, high=2**31 - 1, advanced=True)
