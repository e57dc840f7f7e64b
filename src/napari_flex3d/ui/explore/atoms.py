"""A fitted atomic model that moves with the map."""

from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from napari.utils import Colormap

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.models import coordinates, read_model, write_models
from napari_flex3d.ui.explore.followers import Carried
from napari_flex3d.ui.explore.maps import Subject
from napari_flex3d.ui.explore.ribbon import ribbon

MODEL = "Atomic model"
CHAIN_COLORS = ("#6fb7dd", "#ff9f5a", "#8bd17c", "#d66ba0", "#e8d26a", "#9d8df1", "#5fc9b8", "#c98b6b")


class MovingAtoms(Carried):
    """Ribbons of a PDB or mmCIF file.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer, MODEL)
        self._structure: gemmi.Structure | None = None
        self._centre = np.zeros(3)
        self._model: Any = None
        self._subject: Subject | None = None
        self.path: Path | None = None

    def open(self, path: Path) -> str:
        """Read a model in the frame of the consensus map, as ChimeraX overlays them; says how it fits.

        Raises
        ------
        InputError
            If the file is no atomic model, or has no chain of residues.
        """
        structure = read_model(path)
        if not len(ribbon(structure).points):
            raise InputError(
                f"{path} has no C-alpha or phosphorus atoms that follow one another; nothing to draw."
            )
        self._structure, self.path = structure, path
        self.is_shown = True
        if self._model is not None and self._subject is not None:
            self.take(self._model, self._subject)
        return self._fit()

    def take(self, model: Any, subject: Subject) -> None:
        """Lie on another model."""
        self._model, self._subject = model, subject
        if self._structure is None:
            return
        grid = subject.grid.same_centre(model.box_size, model.pixel_size)
        self._centre = np.array(grid.origin) + (grid.box_size // 2) * grid.pixel_size
        made = ribbon(self._structure)
        self.tie(made.points - self._centre, model)
        colors = Colormap(CHAIN_COLORS, name="chains", display_name="chains", interpolation="zero")
        values = (made.chain % len(CHAIN_COLORS) + 0.5) / len(CHAIN_COLORS)
        look = {"colormap": colors, "contrast_limits": (0.0, 1.0), "shading": "smooth"}
        self.put(made.faces, values, grid, look)

    def save(self, out: Path, latent: np.ndarray) -> None:
        """Write all atoms, moved to a latent (K).

        Raises
        ------
        InputError
            If the name ends otherwise than .pdb or .cif.
        """
        assert self._structure is not None
        rest = coordinates(self._structure) - self._centre
        write_models(out, self._structure, (self._model.move(rest, latent) + self._centre)[None])

    def _fit(self) -> str:
        """Say whether the model lies in the mask."""
        if self._model is None or self._structure is None:
            return ""
        mask, size = self._model.mask, self._model.box_size
        index = np.rint((coordinates(self._structure) - self._centre) / self._model.pixel_size).astype(int)
        index = index + size // 2
        held = index[((index >= 0) & (index < size)).all(1)]
        inside = mask[held[:, 2], held[:, 1], held[:, 0]].sum() / len(index)
        if inside > 0.5:
            return ""
        return f"Only {100 * inside:.0f} % of the atoms lie in the mask. Fit the model into the map given to prep."
