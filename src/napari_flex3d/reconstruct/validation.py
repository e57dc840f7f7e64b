"""What the half-maps say of themselves: correlations of the whole and of its parts, and what may be wrong, in words."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt
from torch import Tensor

from napari_flex3d.io.files import atomic
from napari_flex3d.io.mrc import read_map
from napari_flex3d.model import FlexModel
from napari_flex3d.ops.fourier import low_pass, soft_edge
from napari_flex3d.ops.fsc import corrected_fsc, resolution
from napari_flex3d.ops.projection import Body
from napari_flex3d.resolutions import KINDS

Curves = dict[str, Tensor]
"""Correlation in shells 0 .. n // 2: ``unmasked``, ``masked``, ``corrected``, and ``part NAME`` of each part."""

WHOLE = ("unmasked", "masked", "corrected")
_COLOURS = {"flex": "C2", "rigid": "C7"}
_EDGE = 6.0
"""Width of the soft edge of a part's mask, voxels."""


def moving_parts(model: FlexModel, body: Body, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Voxels that move much and those that move little (n, n, n); nothing when none moves by 0.2 voxels.

    The border is half of the 95th percentile of the voxels' root mean square displacement over the particles.
    """
    some = np.linspace(0, len(model.latents) - 1, min(500, len(model.latents))).astype(int)
    vertex = np.sqrt(np.square(model.displacements(model.latents[some])).sum(-1).mean(0))
    counts = np.diff(body.offsets.numpy())
    corners = body.cells.numpy()[np.repeat(np.arange(len(counts)), counts)]
    voxels = np.empty(len(corners), dtype=np.float32)
    voxels[body.order.numpy()] = (body.weights.numpy() * vertex[corners]).sum(-1)
    most = float(np.percentile(voxels, 95))
    if most < 0.2 * model.pixel_size:
        return {}
    moving = np.zeros(mask.shape, dtype=bool)
    moving[mask] = voxels > most / 2
    return {"moving": moving, "still": mask & ~moving}


def segment_parts(path: Path) -> dict[str, NDArray[np.bool_]]:
    """Voxels of each segment of a mesh job's ``segments.mrc``; nothing when there is only one."""
    labels = np.rint(read_map(path).data).astype(int)
    found = [int(s) for s in np.unique(labels) if s >= 0]
    return {f"segment {s}": labels == s for s in found} if len(found) > 1 else {}


def curves_of(pair: Sequence[Tensor], soft: Tensor, parts: Mapping[str, NDArray[np.bool_]]) -> Curves:
    """Correlate two half-maps: as they are, in the mask, less what the mask brings; the last in each part."""
    curves = dict(zip(WHOLE, corrected_fsc(pair[0], pair[1], soft), strict=True))
    for name, voxels in parts.items():
        distance = torch.from_numpy(distance_transform_edt(~voxels)).float()
        curves[f"part {name}"] = corrected_fsc(
            pair[0], pair[1], soft_edge(distance, _EDGE / 2, _EDGE) * (soft > 0)
        )[2]
    return curves


def resolutions(curves: Mapping[str, Curves], box: int, pixel_size: float) -> dict[str, dict[str, object]]:
    """Resolutions in Å at 0.143 and 0.5, of flex and rigid: corrected for the mask, without and in it, and of parts."""

    def both(curve: Tensor) -> dict[str, float]:
        return {
            "fsc143_A": resolution(curve, box, pixel_size, 0.143),
            "fsc05_A": resolution(curve, box, pixel_size, 0.5),
        }

    found: dict[str, dict[str, object]] = {}
    for kind, named in curves.items():
        parts = {
            name.removeprefix("part "): both(curve) for name, curve in named.items() if name not in WHOLE
        }
        plain = {name: both(named[name]) for name in ("unmasked", "masked")}
        found[kind] = both(named["corrected"]) | plain | ({"parts": parts} if parts else {})
    return found


def density_cut(volume: Tensor, soft: Tensor) -> float:
    """Mean density just outside the mask as a share of the mean inside; near 0 when the mask cuts nothing.

    The map is filtered to a tenth of its sampling, so that noise counts for little.
    """
    smooth = low_pass(volume, 0.1)
    inside = (soft > 0.5).numpy()
    rim = binary_dilation(inside, iterations=3) & ~binary_dilation(inside)
    if not rim.any():
        return 0.0
    return float(smooth[torch.from_numpy(rim)].mean() / smooth[torch.from_numpy(inside)].mean())


def sentences(
    curves: Mapping[str, Curves],
    box: int,
    pixel_size: float,
    *,
    unfinished: Sequence[str],
    particles: int,
    cut: float,
) -> list[str]:
    """What a person should know of a reconstruction, in words, with what to do.

    Parameters
    ----------
    curves
        Of "flex" and, if there is one, "rigid".
    unfinished
        Half-maps whose solver came to its last iteration before it came to rest.
    particles
        In the smaller half-set.
    cut
        From `density_cut`.
    """
    said = []
    end = slice(max(1, round(0.44 * box)), box // 2 - 1)
    high = [kind for kind, named in curves.items() if float(named["corrected"][end].mean()) > 0.143]
    if high:
        words = " and the ".join(KINDS[kind] for kind in high)
        said.append(
            f"The FSC of the {words} half-maps does not fall to zero. Either the images hold detail up to the end of "
            "their sampling (use images with smaller pixels), or the mask is too tight (give a wider one: --mask or "
            "--mask-dilate of prep), or images of one particle are in both half-sets."
        )
    if "rigid" in curves:
        flex, rigid = (curves[kind]["corrected"] for kind in ("flex", "rigid"))
        shells = [box * pixel_size / resolution(c, box, pixel_size, 0.143) for c in (flex, rigid)]
        if shells[0] < shells[1] - 1:
            found = [box * pixel_size / s for s in shells]
            said.append(
                f"The flexible map ({found[0]:.2f} Å) is worse than the rigid one ({found[1]:.2f} Å): the motion does "
                "not describe these particles. Look at the training's curves; raise its rigidity."
            )
    if unfinished:
        said.append(
            f"{', '.join(unfinished)}: still improving at the last iteration. Raise --max-iterations."
        )
    needed = round(np.pi * box / 2)  # Crowther, DeRosier & Klug 1970: evenly spread views, without any noise
    if particles < needed:
        said.append(
            f"The smaller half-set has {particles} particles. Even without noise a box of {box} px needs {needed} "
            "views before all its frequencies are seen. Use more particles, or a smaller crop box."
        )
    if cut > 0.25:
        said.append(
            f"Just outside the mask the density is {cut:.0%} of that inside: the mask cuts into the particle. Give "
            "a wider one (--mask or --mask-dilate of prep)."
        )
    return said


def write_curves(path: Path, curves: Mapping[str, Curves], box: int, pixel_size: float) -> None:
    """Write all curves as a table, one row a shell."""
    names = [(kind, name) for kind, curve in curves.items() for name in curve]
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file)
        header = [f"{kind}_{name.replace(' ', '_')}" for kind, name in names]
        table.writerow(["shell", "frequency", "resolution", *header])
        for shell in range(1, box // 2):
            frequency = shell / (box * pixel_size)
            values = (f"{float(curves[kind][name][shell]):.5f}" for kind, name in names)
            table.writerow([shell, f"{frequency:.6f}", f"{1 / frequency:.4f}", *values])


def draw_curves(path: Path, curves: Mapping[str, Curves], box: int, pixel_size: float, limit: float) -> None:
    """Plot the FSC of flex and rigid, whole and in each part, with the limit up to which training saw the images."""
    parts = [name for name in next(iter(curves.values())) if name not in WHOLE]
    figure = Figure(figsize=(7 + 4 * min(len(parts), 4), 4.2), layout="constrained")
    first, *others = np.atleast_1d(figure.subplots(1, 1 + min(len(parts), 4), sharey=True))
    _plot(first, curves, "corrected", box, pixel_size, limit)
    shell = np.arange(1, box // 2)
    for kind, named in curves.items():
        first.plot(
            shell / (box * pixel_size),
            named["unmasked"][shell],
            color=_COLOURS[kind],
            linewidth=0.8,
            linestyle=":",
        )
    first.set(ylabel="FSC of half-maps", title="whole, dotted: without the mask")
    for plot, name in zip(others, parts, strict=False):
        _plot(plot, curves, name, box, pixel_size, limit)
        plot.set(title=name.removeprefix("part "))
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def _plot(
    plot: Axes, curves: Mapping[str, Curves], name: str, box: int, pixel_size: float, limit: float
) -> None:
    shell = np.arange(1, box // 2)
    for kind, named in curves.items():
        found = resolution(named[name], box, pixel_size, 0.143)
        plot.plot(
            shell / (box * pixel_size),
            named[name][shell],
            color=_COLOURS[kind],
            label=f"{kind}, {found:.2f} Å",
        )
    for level in (0.143, 0.5):
        plot.axhline(level, color="gray", linewidth=0.7)
    plot.axvline(1 / limit, color="C1", linewidth=1, linestyle="--", label=f"training saw to {limit:.1f} Å")
    plot.set(xlabel="spatial frequency (1/Å)", ylim=(-0.05, 1.02), xlim=(0, None))
    plot.legend(fontsize=8)
