"""Sliders for quantities whose size is not known beforehand."""

import numpy as np
from qtpy.QtCore import Qt
from superqt import QLabeledDoubleSlider

from napari_flex3d.ui.reasons import name_whole

STEPS = 1000


def new_slider(name: str) -> QLabeledDoubleSlider:
    """Make a horizontal slider with its number; the name is for screen readers."""
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setDecimals(3)
    name_whole(slider, name)
    return slider


def set_range(slider: QLabeledDoubleSlider, low: float, high: float) -> None:
    """Set the ends, with as many decimals as the range needs, and tell nobody."""
    slider.blockSignals(True)
    slider.setRange(float(low), float(high))
    slider.setSingleStep((float(high) - float(low)) / STEPS)  # type: ignore[arg-type]
    decimals = int(np.clip(2 - np.floor(np.log10(max(float(high) - float(low), 1e-9))), 0, 6))
    slider.setDecimals(decimals)
    slider.blockSignals(False)


def contour_range(volume: np.ndarray) -> tuple[float, float]:
    """From just above the solvent to just below the highest density; of a large map, a part of the voxels tells."""
    step = max(1, len(volume) // 64)
    top = float(np.percentile(volume[::step, ::step, ::step], 99.98))
    return 0.02 * top, 0.98 * top
