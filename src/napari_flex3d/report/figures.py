"""Curves and densities of a job as SVG that takes its text colour from the page, light or dark."""

import base64
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from napari_flex3d.io.files import atomic
from napari_flex3d.resolutions import KINDS, WHOLE, curve_names

FLEXIBLE, RIGID, HELD_OUT, INK = "#2f81d6", "#8b929c", "#e07b39", "#010203"
"""Colours of the flexible model, the rigid one and held-out particles; the ink turns into the page's own."""

COLOURS = {"flex": FLEXIBLE, "rigid": RIGID}

DENSITY = LinearSegmentedColormap.from_list("density", ["#2f81d600", "#2f81d688", "#2f81d6", "#0d2f57"])

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "path",
}


def draw(paint: Callable[..., None], count: int = 1, *, width: float = 4.2, height: float = 2.7) -> str:
    """Draw ``count`` axes side by side, painted by ``paint(*axes)``, as an inline SVG."""
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"flex3d-{next(_numbers)}"}):
        figure = Figure(figsize=(width * count, height), layout="constrained")
        FigureCanvasSVG(figure)
        paint(*np.atleast_1d(figure.subplots(1, count)))
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r' id="[a-zA-Z0-9]+_\d+"', "", svg)  # figure_1 and the like: the same in every figure
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)


def save(path: Path, *paints: Callable[[Axes], None], width: float = 3.6, height: float = 3.0) -> None:
    """Write axes side by side, each painted by one of ``paints``, as SVG, PDF or PNG, black on white."""
    style = {**STYLE, "pdf.fonttype": 42, "savefig.dpi": 300}
    with mpl.rc_context(style), atomic(path) as temporary:
        figure = Figure(figsize=(width * len(paints), height), layout="constrained")
        for paint, axes in zip(paints, np.atleast_1d(figure.subplots(1, len(paints))), strict=True):
            paint(axes)
        figure.savefig(temporary, format=path.suffix[1:].lower(), facecolor="white")


def losses(metrics: Mapping[str, Sequence[float]]) -> str:
    """Draw training and held-out losses of the flexible and the rigid model over the epochs."""
    curves = [
        ("loss", "flexible, training", FLEXIBLE, "-"),
        ("loss_held_out", "flexible, held out", FLEXIBLE, "--"),
        ("rigid_loss", "rigid, training", RIGID, "-"),
        ("rigid_loss_held_out", "rigid, held out", RIGID, "--"),
    ]

    def paint(axes: Axes) -> None:
        for name, label, colour, line in curves:
            if name in metrics:
                axes.plot(metrics["epoch"], metrics[name], line, color=colour, label=label, **_dots(metrics))
        axes.set(xlabel="epoch", ylabel="loss per particle (noise units)", title="Loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)

    return draw(paint)


def gains(metrics: Mapping[str, Sequence[float]]) -> str:
    """Draw what the flexible model gains over the rigid one, and what chance gives to held-out particles."""
    table = {name: np.asarray(values) for name, values in metrics.items()}
    trained = table["rigid_loss"] - table["loss"]
    held = table["rigid_loss_held_out"] - table["loss_held_out"]

    def paint(axes: Axes) -> None:
        axes.plot(table["epoch"], trained, color=FLEXIBLE, label="training", **_dots(metrics))
        axes.errorbar(table["epoch"], held, table["gain_error"], color=HELD_OUT, label="held out", capsize=2)
        axes.plot(table["epoch"], table["gain_by_chance"], "--", color=RIGID, label="held out, by chance")
        axes.set(xlabel="epoch", ylabel="log-likelihood per particle", title="Gain over the rigid model")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(fontsize=8)

    return draw(paint)


def over_epochs(metrics: Mapping[str, Sequence[float]], names: Sequence[str], title: str, label: str) -> str:
    """Draw some columns of the metrics over the epochs."""

    def paint(axes: Axes) -> None:
        for name, colour in zip(names, (FLEXIBLE, HELD_OUT, RIGID), strict=False):
            shown = name.rpartition("_")[2] if len(names) > 1 else None
            axes.plot(metrics["epoch"], metrics[name], color=colour, label=shown, **_dots(metrics))
        axes.set(xlabel="epoch", ylabel=label, title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        if len(names) > 1:
            axes.legend(fontsize=8)

    return draw(paint)


def objectives(metrics: Mapping[str, Sequence[float]]) -> str:
    """Draw how the reconstructions of both halves, flexible and rigid, converge."""
    table = {name: np.asarray(values) for name, values in metrics.items()}

    def paint(axes: Axes) -> None:
        for half in (0, 1):
            for rigid in (0, 1):
                rows = (table["half"] == half) & (table["rigid"] == rigid)
                if rows.any():
                    label = f"{'rigid' if rigid else 'flexible'}, half {half + 1}"
                    line, colour = ("--" if half else "-"), (RIGID if rigid else FLEXIBLE)
                    axes.plot(
                        table["iteration"][rows], table["objective"][rows], line, color=colour, label=label
                    )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="iteration", ylabel="objective", title="Convergence of the half-maps")
        axes.legend(fontsize=8)

    return draw(paint)


def fourier_shell_correlation(
    table: Mapping[str, Sequence[float]], limit: float | None, part: str = WHOLE
) -> str:
    """Draw the FSC of the flexible and the rigid half-maps in a part; ``limit`` is the training limit in Å."""
    return draw(shell_correlation(table, limit, part))


def shell_correlation(
    table: Mapping[str, Sequence[float]], limit: float | None, part: str = WHOLE
) -> Callable[[Axes], None]:
    """Give what paints the curves of `fourier_shell_correlation`."""
    ends = (
        {"unmasked": "--", "masked": ":", "corrected": "-"}
        if part == WHOLE
        else {curve_names(table)[part]: "-"}
    )
    curves = [
        (f"{kind}_{end}", COLOURS[kind], line, f"{KINDS[kind]}, {end}" if part == WHOLE else KINDS[kind])
        for end, line in ends.items()
        for kind in ("rigid", "flex")
    ]

    def paint(axes: Axes) -> None:
        frequency = np.asarray(table["frequency"])
        for name, colour, line, label in curves:
            if name in table:
                axes.plot(frequency, table[name], line, color=colour, label=label)
        for level in (0.143, 0.5):
            axes.axhline(level, color=INK, linewidth=0.6, dashes=(4, 3))
            axes.text(frequency[-1], level + 0.012, f"{level:g}", ha="right", fontsize=8)
        if limit:
            axes.axvline(1 / limit, color=HELD_OUT, linewidth=1)
            axes.text(1 / limit, 0.55, "training limit", color=HELD_OUT, fontsize=8, rotation=90, ha="right")
        ticks = [f for f in axes.get_xticks() if 0 < f <= frequency[-1]]
        axes.set_xticks(ticks, [f"{1 / f:.3g}" for f in ticks])
        title = "Fourier shell correlation" + ("" if part == WHOLE else f", {part}")
        axes.set(xlabel="resolution (Å)", ylabel="FSC", title=title)
        axes.set(ylim=(-0.05, 1.05), xlim=(0, frequency[-1]))
        axes.legend(fontsize=8)

    return paint


def particle_plane(
    points: NDArray[Any],
    names: Sequence[str],
    low: NDArray[Any],
    high: NDArray[Any],
    path: NDArray[Any],
    outline: NDArray[Any] | None,
) -> Callable[[Axes], None]:
    """Give what paints particles (N, 1 or 2) between two corners, with a path and the outline of a selection."""

    def paint(axes: Axes) -> None:
        if points.shape[1] == 1:
            axes.hist(points[:, 0], 60, range=(float(low[0]), float(high[0])), color=FLEXIBLE)
            axes.set(xlabel=names[0], ylabel="particles")
            return
        seen = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
        bins = 60 if len(points) < 20_000 else 160
        axes.hist2d(points[:, 0], points[:, 1], bins, range=seen, cmap=DENSITY, rasterized=True)
        if len(path):
            axes.plot(path[:, 0], path[:, 1], color=HELD_OUT, marker="o", markersize=2.5, linewidth=1.2)
        if outline is not None:
            axes.fill(outline[:, 0], outline[:, 1], fill=False, edgecolor=INK, linewidth=1, linestyle="--")
        axes.set(xlabel=names[0], ylabel=names[1], xlim=seen[0], ylim=seen[1])

    return paint


def latents(table: Mapping[str, Sequence[float]]) -> str:
    """Draw where the particles lie in latent space: a histogram each, and the density of the first two."""
    names = [name for name in table if re.fullmatch(r"z\d+", name)]
    columns = np.array([table[name] for name in names])
    pair = len(names) > 1

    def paint(*axes: Axes) -> None:
        for name, values, one in zip(names, columns, axes, strict=False):
            one.hist(values[np.isfinite(values)], 60, color=FLEXIBLE)
            one.set(xlabel=name, ylabel="particles", title=f"Particles along {name}")
        if pair:
            last = axes[-1]
            good = np.isfinite(columns[:2]).all(0)
            bins = 40 if good.sum() < 20_000 else 100
            last.hist2d(columns[0, good], columns[1, good], bins, cmap=DENSITY, rasterized=True)
            last.set(xlabel=names[0], ylabel=names[1], title="Particles in latent space")

    return draw(paint, min(len(names), 3) + pair, width=3.4 if pair else 4.2)


def columns_of(path: Path) -> dict[str, list[float]]:
    """Columns of a table of numbers; empty when the file is not there."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return {name: [_number(row[i]) for row in rows] for i, name in enumerate(header)}


def embedded(path: Path, kind: str) -> str:
    """File as a data address."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _dots(metrics: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {"marker": "o", "markersize": 3} if len(metrics["epoch"]) < 40 else {}


def _count() -> Any:
    number = 0
    while True:
        yield number
        number += 1


_numbers = _count()
