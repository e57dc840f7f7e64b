"""Files and jobs as napari layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils import Colormap, DirectLabelColormap

from napari_flex3d.io.mrc import Volume, open_stack, read_layout, read_map
from napari_flex3d.io.particle_files import read_any_particles
from napari_flex3d.io.seg import read_seg
from napari_flex3d.io.stacks import find_stacks
from napari_flex3d.ui.grid import UNITS, Grid
from napari_flex3d.ui.isosurface import cut, default_contour

LayerData = tuple[Any, dict[str, Any], str]

RIGIDITY_COLORS = Colormap(["#f5a742", "#e6dfd2", "#3f8fd2"], name="rigidity", display_name="rigidity")
"""From soft to stiff."""
MASK_COLORS = Colormap(["#000000", "#6fb7dd"], name="mask", display_name="mask")
MESH_EDGES = "Mesh edges"

JOB_KEY, FILE_KEY = "flex3d_job", "flex3d_file"
"""Keys in a layer's metadata: the job folder or the particle file that it was read from."""


class ImageList:
    """Particle images of several stacks as one array (N, y, x); an image is read when it is looked at.

    Parameters
    ----------
    stacks
        Memory-mapped stacks.
    stack, image
        Which image of which stack every row is.
    """

    ndim = 3

    def __init__(self, stacks: Sequence[np.ndarray], stack: np.ndarray, image: np.ndarray) -> None:
        self._stacks, self._stack, self._image = stacks, stack, image
        self.shape = (len(image), *stacks[0].shape[1:])
        self.dtype = np.dtype(np.float32)
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        """Count the images."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        """Read images."""
        rows, *rest = key if isinstance(key, tuple) else (key,)
        wanted = np.arange(len(self))[rows]
        images = np.stack([self._one(row) for row in np.atleast_1d(wanted)])
        images = images[0] if np.ndim(wanted) == 0 else images
        return images[(*([slice(None)] * np.ndim(wanted)), *rest)] if rest else images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Read all images."""
        return np.asarray(self[:], dtype=dtype)

    def _one(self, row: int) -> np.ndarray:
        image = np.asarray(self._stacks[self._stack[row]][self._image[row]], np.float32)
        return image if image.shape == self.shape[1:] else _on_box(image, self.shape[-1])


def _on_box(image: np.ndarray, box: int) -> np.ndarray:
    """Cut or pad an image about its centre pixel, for stacks of several optics groups."""
    n = len(image)
    if n > box:
        first = n // 2 - box // 2
        return image[first : first + box, first : first + box]
    before = box // 2 - n // 2
    return np.pad(image, (before, box - n - before), mode="mean")


def grid_of(volume: Volume) -> Grid:
    """Box of a map that was read; a file without a voxel size counts as 1 Å."""
    return Grid(len(volume.data), volume.pixel_size or 1.0, volume.origin)


def map_layer(path: Path) -> LayerData:
    """Give a map as an Image layer."""
    volume = read_map(path)
    top = float(np.percentile(volume.data, 99.95))
    look = {
        "name": path.name.removesuffix(".gz").removesuffix(".bz2").rsplit(".", 1)[0],
        "contrast_limits": (0.0, top) if top > 0 else None,
        "iso_threshold": default_contour(volume.data),
        "rendering": "attenuated_mip",
        "metadata": {FILE_KEY: str(path)},
    }
    return (
        volume.data,
        {**{k: v for k, v in look.items() if v is not None}, **grid_of(volume).placement},
        "image",
    )


def segments_layer(path: Path) -> LayerData:
    """Give the segments of a .seg file as a Labels layer, in the file's colours, where the file says that they lie."""
    seg = read_seg(path)
    labels = np.maximum(seg.labels(), 0)  # Segger counts from 1; napari's 0 is nothing
    clear = np.zeros(4)
    colors = {None: np.array([0.6, 0.6, 0.6, 1.0]), 0: clear} | {
        number: np.array(color) for number, color in seg.colors.items()
    }
    matrix = np.eye(3, 4) if seg.to_xyz is None else seg.to_xyz
    look = {
        "name": path.stem,
        "scale": tuple(np.linalg.norm(matrix[:, :3], axis=0)[::-1]),
        "translate": tuple(matrix[::-1, 3]),
        "units": UNITS,
        "colormap": DirectLabelColormap(color_dict=colors),
        "metadata": {FILE_KEY: str(path), "names": dict(seg.names)},
    }
    return labels, look, "labels"


def stack_layer(path: Path) -> LayerData:
    """Give a particle stack as an Image layer, read image by image."""
    header = read_layout(path).header
    pixel_size = float(header.cella.x) / max(int(header.mx), 1)
    return _particle_layer(open_stack(path), pixel_size, path)


def particles_layer(path: Path) -> LayerData:
    """Give the images of a particle star file or of a CryoSPARC dataset as an Image layer, in its order."""
    table = read_any_particles(path, check=False)  # images can be looked at whatever else is wrong
    places = find_stacks(path, [str(stack) for stack in table.stacks], None)
    stacks = [open_stack(stack) for stack in places]
    return _particle_layer(ImageList(stacks, table.stack, table.image), table.pixel_size, path)


def _particle_layer(images: Any, pixel_size: float, path: Path) -> LayerData:
    few = np.asarray(images[:32], np.float32)
    low, high = np.percentile(few, [0.5, 99.5])
    look = {
        "name": path.stem,
        "contrast_limits": (float(low), float(max(high, low + 1e-6))),
        "scale": (1.0, pixel_size or 1.0, pixel_size or 1.0),
        "units": UNITS,  # the first axis only counts; napari drops all units when layers differ in one
        "metadata": {FILE_KEY: str(path)},
    }
    return images, look, "image"


def surface_layer(
    volume: np.ndarray,
    grid: Grid,
    name: str,
    *,
    contour: float | None = None,
    gray: float = 0.8,
    opacity: float = 1.0,
    colormap: Any = "gray",
) -> LayerData:
    """Give the isosurface of a map as a Surface layer."""
    level = default_contour(volume) if contour is None else contour
    vertices, faces = cut(volume, level)
    if not len(vertices):
        vertices, faces = np.zeros((3, 3), np.float32), np.array([[0, 1, 2]])
    look = {
        "name": name,
        "colormap": colormap,
        "contrast_limits": (0.0, 1.0),
        "opacity": opacity,
        "shading": "smooth",
        "metadata": {"contour": level},
    }
    return (vertices, faces, np.full(len(vertices), gray)), {**look, **grid.placement}, "surface"


def mesh_layers(mesh: Any, grid: Grid) -> list[LayerData]:
    """Give a mesh as its boundary and its edges, both coloured by rigidity."""
    weight = vertex_rigidity(mesh)
    low, high = float(weight.min()), float(weight.max())
    limits = (low, high if high > low else low + 1e-3)
    boundary = (
        (grid.indices(mesh.vertices), np.asarray(mesh.boundary_faces()), weight),
        {
            "name": "Mesh boundary",
            "colormap": RIGIDITY_COLORS,
            "contrast_limits": limits,
            "opacity": 0.22,
            "shading": "flat",
            **grid.placement,
        },
        "surface",
    )
    edges = np.asarray(mesh.edges())
    start, end = (grid.indices(mesh.vertices[edges[:, side]]) for side in (0, 1))
    lines = (
        np.stack([start, end - start], axis=1),
        {
            "name": MESH_EDGES,
            "vector_style": "line",
            "edge_width": 0.005 * grid.box_size,
            "features": {"rigidity": weight[edges].mean(axis=1)},
            "edge_color": "rigidity",
            "edge_colormap": RIGIDITY_COLORS,
            "edge_contrast_limits": limits,
            "opacity": 0.8,
            **grid.placement,
        },
        "vectors",
    )
    return [boundary, lines]


def vertex_rigidity(mesh: Any) -> np.ndarray:
    """Mean rigidity weight of the cells around every vertex."""
    corners = np.asarray(mesh.cells).ravel()
    weight = np.repeat(np.asarray(mesh.rigidity, float), 4)
    count = np.bincount(corners, minlength=len(mesh.vertices))
    return np.bincount(corners, weight, minlength=len(mesh.vertices)) / np.maximum(count, 1)
