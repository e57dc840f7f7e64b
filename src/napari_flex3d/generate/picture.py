"""Shaded isosurfaces without a display: three views of a map side by side, for movies and reports."""

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from napari_flex3d.ops.fourier import resample3

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]

PANEL = 256
"""Pixels of one view."""

CAPTION = 34
GRID = 80
"""Samples along a ray; the map is brought to this grid by Fourier interpolation when it is coarser."""

BACKGROUND = (0.075, 0.08, 0.09)
SURFACE = (0.44, 0.62, 0.85)
UNSUPPORTED = (0.62, 0.60, 0.58)

# For each view the axes of [z, y, x] that become depth, up and right, and whether the viewer is at the
# positive end of depth: right, up and to the viewer are right-handed, so that no view is a mirror image.
_VIEWS = (("along z", (0, 1, 2), True), ("along y", (1, 0, 2), False), ("along x", (2, 0, 1), True))


def frame_region(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Cube around the mask with some room, inside the box: what a movie shows."""
    n = len(mask)
    where = np.argwhere(mask)
    low, high = (where.min(0), where.max(0) + 1) if len(where) else (np.zeros(3, int), np.full(3, n))
    side = min(n, int((high - low).max() * 1.12) + 4)
    start = np.clip((low + high - side) // 2, 0, n - side)
    z, y, x = (slice(int(s), int(s) + side) for s in start)
    return z, y, x


def surface_level(density: Floats, mask: NDArray[np.bool_]) -> float:
    """Contour level that shows the molecule: 30 % of the dense end of the map inside the mask."""
    inside = density[mask] if mask.any() else density.ravel()
    return float(0.3 * np.percentile(inside, 98))


def draw_frame(density: Floats, level: float, caption: str, supported: bool = True) -> Picture:
    """Three views of the surface of a map at a level, with a line of text below.

    Parameters
    ----------
    density
        Cube ``[z, y, x]``, cut to what is to be seen.
    level
        Contour level.
    caption
        Text below.
    supported
        Whether particles stand behind this frame; it is drawn grey otherwise.
    """
    grid = np.ascontiguousarray(density)
    if len(grid) < GRID:
        grid = resample3(torch.from_numpy(grid), GRID).numpy()
    colour = SURFACE if supported else UNSUPPORTED
    turned = [grid.transpose(axes)[:: -1 if positive else 1] for _, axes, positive in _VIEWS]
    views = [_draw_view(volume, level, colour) for volume in turned]
    picture = Image.new("RGB", (PANEL * len(views), PANEL + CAPTION), tuple(int(255 * c) for c in BACKGROUND))
    pen = ImageDraw.Draw(picture)
    for number, (view, (name, *_)) in enumerate(zip(views, _VIEWS, strict=True)):
        picture.paste(Image.fromarray(view), (number * PANEL, 0))
        pen.text((number * PANEL + 8, 6), name, fill=(150, 155, 160), font=_font(12))
    pen.text((8, PANEL + 8), caption, fill=(235, 235, 235) if supported else (240, 190, 120), font=_font(15))
    return np.asarray(picture)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def _draw_view(volume: Floats, level: float, colour: tuple[float, float, float]) -> Picture:
    """Shade the first surface that parallel rays meet, looking along the first axis from its beginning."""
    depth, densest, normal = _cast_rays(np.ascontiguousarray(volume.transpose(1, 2, 0)), level, PANEL)
    light = np.array([-0.6, 0.5, -0.62])  # depth, up, right: over the viewer's left shoulder
    half = np.array([-1.6, 0.5, -0.62])  # between light and viewer
    diffuse = np.clip(normal @ light / np.linalg.norm(light), 0, None)
    glint = np.clip(normal @ half / np.linalg.norm(half), 0, None) ** 24
    nearness = 1 - 0.45 * depth / len(volume)  # what lies deeper is darker
    body = ((0.28 + 0.72 * diffuse) * nearness)[..., None] * np.array(colour) + (0.18 * glint * nearness)[
        ..., None
    ]
    cover = np.clip((densest - level) / (0.12 * abs(level) + 1e-12), 0, 1)[..., None]  # soft outline
    pixels = np.clip(body * cover + np.array(BACKGROUND) * (1 - cover), 0, 1)
    return np.rint(pixels[::-1] * 255).astype(np.uint8)  # rows of a picture run downwards


def _kernel(function: Any) -> Any:
    return numba.njit(cache=True, nogil=True, fastmath=True)(function)


@_kernel
def _cast_rays(volume, level, panel):  # type: ignore[no-untyped-def]
    """Depth at which the ray of each pixel meets the level, the ray's densest point, the outward normal there.

    The volume is [up, right, depth], so that a ray lies in memory in one piece.
    """
    size = len(volume)
    depth = np.full((panel, panel), np.float32(size))
    densest = np.empty((panel, panel), np.float32)
    normal = np.zeros((panel, panel, 3), np.float32)
    rays = np.empty((5, size), np.float32)  # the ray, then its neighbours below, above, left, right
    for row in range(panel):
        up = min(max((row + 0.5) * size / panel - 0.5, 1.0), size - 2.001)
        for column in range(panel):
            right = min(max((column + 0.5) * size / panel - 0.5, 1.0), size - 2.001)
            _sample(volume, up, right, rays[0])
            densest[row, column] = rays[0].max()
            if densest[row, column] <= level:
                continue
            plane = 0
            while rays[0, plane] <= level:
                plane += 1
            if plane > 0:
                depth[row, column] = plane - (rays[0, plane] - level) / (rays[0, plane] - rays[0, plane - 1])
            else:
                depth[row, column] = 0
            _sample(volume, up - 1, right, rays[1])
            _sample(volume, up + 1, right, rays[2])
            _sample(volume, up, right - 1, rays[3])
            _sample(volume, up, right + 1, rays[4])
            at = min(max(int(depth[row, column] + 0.5), 1), size - 2)
            out = rays[0, at - 1] - rays[0, at + 1]
            upward = rays[1, at] - rays[2, at]
            sideways = rays[3, at] - rays[4, at]
            length = max(np.sqrt(out * out + upward * upward + sideways * sideways), np.float32(1e-12))
            normal[row, column, 0] = out / length
            normal[row, column, 1] = upward / length
            normal[row, column, 2] = sideways / length
    return depth, densest, normal


@_kernel
def _sample(volume, up, right, ray):  # type: ignore[no-untyped-def]
    """Ray between the four that lie about it in the grid; the place must be inside."""
    row, column = int(up), int(right)
    fy, fx = np.float32(up - row), np.float32(right - column)
    one = np.float32(1)
    a, b = (one - fy) * (one - fx), (one - fy) * fx
    c, d = fy * (one - fx), fy * fx
    for plane in range(len(ray)):
        ray[plane] = (
            a * volume[row, column, plane]
            + b * volume[row, column + 1, plane]
            + c * volume[row + 1, column, plane]
            + d * volume[row + 1, column + 1, plane]
        )
