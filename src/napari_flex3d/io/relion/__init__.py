"""RELION's particle tables, version 3.0 to 5, in our conventions, and back."""

from napari_flex3d.io.relion.reading import read_particles
from napari_flex3d.io.relion.writing import particle_columns, recorded_columns

__all__ = ["particle_columns", "read_particles", "recorded_columns"]
