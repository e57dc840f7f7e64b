"""The picture of the self-check: particles above what the map predicts for them, and the table."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_flex3d.io.files import atomic
from napari_flex3d.selfcheck import SelfCheck, Views, model_images


def draw_check(path: Path, views: Views, check: SelfCheck) -> None:
    """Draw some particles above what the map predicts for them, and the table."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    some = slice(0, 8)
    few = replace(views, images=views.images[some], table=views.table.take(np.arange(len(views.table))[some]))
    images, models = model_images(few, max(25.0, 1.3 * check.resolution), check.scale * check.sign)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=[3, 2])
    upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    axes = upper.subplots(2, 1)
    for row, pictures in zip(axes, (images, models), strict=True):
        scaled = (pictures - pictures.mean((-2, -1), keepdim=True)) / pictures.std((-2, -1), keepdim=True)
        row.imshow(np.hstack(list(scaled.numpy())), cmap="gray", vmin=-4, vmax=4)
        row.set_axis_off()
    upper.suptitle("Particles, low-passed (top), and CTF × projection of the map (bottom)", fontsize=10)
    lower.text(0.02, 0.95, "\n".join(check.lines()), family="monospace", fontsize=9, va="top")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)
