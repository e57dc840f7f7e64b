"""Pictures of a training: its curves, and where the particles lie."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from napari_flex3d.io.files import atomic
from napari_flex3d.model import LATENT_BORDER, FlexModel


def draw_losses(path: Path, history: list[dict[str, float]]) -> None:
    """Curves of the gain over the rigid model and of the displacement."""
    epoch = [row["epoch"] for row in history]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for label, flexible, rigid in (
        ("training", "loss", "rigid_loss"),
        ("held out", "loss_held_out", "rigid_loss_held_out"),
    ):
        left.plot(epoch, [row[rigid] - row[flexible] for row in history], marker=".", label=label)
    left.axhline(0, color="gray", linewidth=0.8)
    left.set(xlabel="epoch", ylabel="gain over the rigid model\n(log-likelihood per particle)")
    left.legend()
    right.plot(epoch, [row["displacement_rms"] for row in history], marker=".", color="C2")
    right.set(xlabel="epoch", ylabel="displacement, rms (Å)", ylim=(0, None))
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def draw_latents(path: Path, model: FlexModel) -> None:
    """Density of the particles along the latents."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    plot = figure.subplots()
    if model.latent_dims == 1:
        plot.hist(model.latents[:, 0], bins=60, range=(-LATENT_BORDER, LATENT_BORDER), color="C2")
        plot.set(xlabel="z1", ylabel="particles")
    else:
        box = [[-LATENT_BORDER, LATENT_BORDER]] * 2
        counts, *_ = np.histogram2d(model.latents[:, 0], model.latents[:, 1], bins=60, range=box)
        plot.imshow(counts.T, origin="lower", extent=(-LATENT_BORDER, LATENT_BORDER) * 2, cmap="viridis")
        plot.set(xlabel="z1", ylabel="z2")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
