"""Monitors of a training: what is measured after every epoch, and what a person should know of it, in words."""

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_flex3d.fit.levels import RESOLUTION_LIMIT, Level, early_epochs
from napari_flex3d.fit.state import Fit, FitParams, Setup, latent_scale
from napari_flex3d.model import LATENT_BORDER
from napari_flex3d.ops.elasticity import deformation_gradient, inverted_cells

SMALLEST_MOTION = 0.2
"""Pixels rms below which displacements are none."""

COLLAPSED = 0.02
"""Pixels rms below which all particles have the same shape. Latents are standardised after every epoch, so that their
collapse shows as a flow that dies."""

PILED_UP = 0.012
"""Share of the latents at the border of the latent space that is too large; it is 0.005 for a Gaussian."""

RISEN = 1.0
"""Rise of the held-out loss (log-likelihood per particle) over its best that is too large."""

EFFECT = 4
"""Factor by which another strength is proposed: less makes no difference that could be seen."""

History = Sequence[dict[str, float]]


class Sums:
    """Sums over the training particles of an epoch. They stay on the device until asked for: a GPU need not wait."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []
        self._count = self._compared = 0

    def add(self, numbers: Tensor, count: int, compared: int) -> None:
        """Take the sums of a batch of so many particles (`Found`)."""
        self._parts.append(numbers.clone())
        self._count += count
        self._compared += compared

    def measured(self) -> dict[str, float]:
        """Mean losses of the two models and mean energy."""
        flexible, gain, energy = torch.stack(self._parts).cpu().double().sum(0).tolist()
        loss = flexible / self._count
        rigid_loss = loss + gain / self._compared
        return {"loss": loss, "rigid_loss": rigid_loss, "rigidity_energy": energy / self._count}


class HeldOut:
    """Losses of the held-out particles, one after the other.

    Notes
    -----
    Latents are fitted to held-out images, so the flexible model explains them better than the rigid one by chance
    alone. For ``J^T J = H`` (the information of an image on its latent) and a unit Gaussian prior, noise gives on
    average ``tr(S) - tr(S^2) / 2`` with ``S = H (H + 1)^-1``, one minus the posterior covariance over the prior's.
    """

    def __init__(self) -> None:
        self._flexible: list[Tensor] = []
        self._rigid: list[Tensor] = []
        self._chance: list[Tensor] = []

    def add(self, flexible: Tensor, rigid: Tensor, covariance: Tensor | None, curvature: Tensor) -> None:
        """Take losses (B), the posterior covariance (B, K, K) if latents were fitted, the prior's curvature (B, K)."""
        self._flexible.append(flexible.cpu().double())
        self._rigid.append(rigid.cpu().double())
        if covariance is None:
            self._chance.append(torch.zeros(len(flexible), dtype=torch.float64))
            return
        root = curvature.sqrt()
        known = 1 - torch.linalg.eigvalsh(root[:, :, None] * covariance * root[:, None]).clamp(0, 1)
        self._chance.append((known - known.square() / 2).sum(-1).cpu().double())

    def measured(self) -> dict[str, float]:
        """Mean losses, the gain, its standard error, and what chance gives."""
        if not self._flexible:
            return dict.fromkeys(
                ("loss_held_out", "rigid_loss_held_out", "gain_error", "gain_by_chance"), 0.0
            )
        flexible, rigid, chance = map(torch.cat, (self._flexible, self._rigid, self._chance))
        error = float((rigid - flexible).std() / len(flexible) ** 0.5) if len(flexible) > 1 else float("inf")
        return {
            "loss_held_out": float(flexible.mean()),
            "rigid_loss_held_out": float(rigid.mean()),
            "gain_error": error,
            "gain_by_chance": float(chance.mean()),
        }


@torch.no_grad()
def measured(setup: Setup, state: Fit, level: Level, sums: Sums, held: HeldOut) -> dict[str, float]:
    """What is reported of an epoch."""
    latents = state.latents[setup.train]
    sample = latents[torch.linspace(0, len(latents) - 1, min(200, len(latents))).long()]
    moved = state.average(sample)
    carrying = state.average.mass > 0.25 * state.average.mass.mean()  # not the empty corners of the mesh
    elastic = setup.elastic
    border = (latents * latent_scale(latents)).abs() > LATENT_BORDER - 0.05
    farthest = moved[moved.square().sum((-2, -1)).argsort(descending=True)[:20]]
    turned = deformation_gradient(elastic.rest + farthest, elastic.cells, elastic.inverse)
    return {
        "epoch": state.epoch,
        **sums.measured(),
        **held.measured(),
        "displacement_rms": float(state.average.rms(moved)),
        "displacement_max": float(moved[:, carrying].norm(dim=-1).max()),
        "latent_spread": float(latents.std(0).mean()),
        "border_share": float(border.float().mean()),
        "inverted_cells": float(inverted_cells(turned).sum()),
        **level.facts(),
    }


def motion_found(metrics: dict[str, float], pixel_size: float) -> bool:
    """Whether the particles support a motion.

    It is larger than 0.2 pixels, and held-out particles gain by it two standard errors more than chance gives them.
    """
    gain = metrics["rigid_loss_held_out"] - metrics["loss_held_out"]
    beyond_chance = gain - metrics["gain_by_chance"] > 2 * metrics["gain_error"]
    return metrics["displacement_rms"] > SMALLEST_MOTION * pixel_size and beyond_chance


def diagnose(history: History, params: FitParams, pixel_size: float) -> list[str]:
    """What a person should know about a training, in words, with what to do.

    Parameters
    ----------
    history
        Metrics of each epoch so far.
    params
        Parameters of training.
    pixel_size
        Of the training box, Å.
    """
    last, rigidity = history[-1], params.rigidity
    ended = last["epoch"] >= params.epochs + params.extra_epochs
    said = []
    if ended and not motion_found(last, pixel_size):
        said.append(_no_motion(last, rigidity, pixel_size))
    has_collapsed = last["displacement_rms"] < COLLAPSED * pixel_size
    if has_collapsed:
        said.append(_collapsed(last, params))
    comparable = [row for row in history if row["epoch"] > early_epochs(params.epochs)]  # others saw less
    if comparable:
        said += _risen(comparable, params)
    is_still = ended and not params.freeze_latents and not motion_found(last, pixel_size)
    if last["border_share"] > PILED_UP and not has_collapsed and not is_still:
        said.append(
            f"{last['border_share']:.1%} of the latents pile up at the border of the latent space. "
            + (
                "The given latents have outliers: leave those particles out, or freeze_latents off."
                if params.freeze_latents
                else f"Use centering = auto (now {params.centering}), or more latent dimensions."
            )
        )
    if last["inverted_cells"] > 0:
        said.append(
            f"{last['inverted_cells']:.0f} mesh cells are turned inside out. Raise rigidity (now {rigidity:g}) to "
            f"{_more(rigidity):g}, or use fewer cells."
        )
    return said


def _no_motion(last: dict[str, float], rigidity: float, pixel_size: float) -> str:
    gain = last["rigid_loss_held_out"] - last["loss_held_out"]
    found = (
        f"displacements are {last['displacement_rms']:.2f} Å rms, and held-out particles fit the flexible model "
        f"better than the rigid one by {gain:.2f} ± {last['gain_error']:.2f} each, where chance gives "
        f"{last['gain_by_chance']:.2f}."
    )
    if (
        last["displacement_rms"] > SMALLEST_MOTION * pixel_size
        and gain > last["gain_by_chance"] + last["gain_error"]
    ):
        return (
            f"Whether there is a motion cannot be told from so few held-out particles: {found} Use more particles, or "
            "a larger share of them (held_out)."
        )
    limit = f"{pixel_size / RESOLUTION_LIMIT:.1f} Å"
    if rigidity == 0:
        return (
            f"No motion was found: {found} There is none at {limit}, or the images are too noisy to show it."
        )
    return (
        f"No motion was found: {found} Either there is none at {limit}, or rigidity = {rigidity:g} is too high: try "
        f"{rigidity / EFFECT:g}."
    )


def _collapsed(last: dict[str, float], params: FitParams) -> str:
    do = (
        "Either nothing moves, or try a lower rigidity."
        if params.centering == "auto"
        else f"Use centering = auto (now {params.centering:g})."
    )
    return (
        "The latents collapsed to 0: all particles have the same shape, to "
        f"{last['displacement_rms']:.2g} Å rms. {do}"
    )


def _risen(history: History, params: FitParams) -> list[str]:
    """Whether held-out particles fit worse than before, and whether the map or the motion is to blame."""
    rise, rigid_rise = (
        history[-1][name] - min(row[name] for row in history)
        for name in ("loss_held_out", "rigid_loss_held_out")
    )
    of_map = rigid_rise > rise / 2  # the rigid model has the same trouble
    if rise <= RISEN + (history[-1]["map_by_chance"] if of_map else 0.0):
        return []
    said = f"The loss of held-out particles rose by {rise:.1f} after its best epoch: "
    if of_map:
        said += f"the map fits noise. Use more particles, a lower density_lr (now {params.density_lr:g})"
        return [f"{said}, or hold the map (freeze_density)."]
    said += f"the motion fits noise. Raise rigidity (now {params.rigidity:g}) to {_more(params.rigidity):g}"
    return [f"{said}, or train for fewer epochs."]


def _more(rigidity: float) -> float:
    return EFFECT * rigidity if rigidity > 0 else 1.0
