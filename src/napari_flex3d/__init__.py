"""Find how a protein moves from cryo-EM particles, and explore the motion by hand in napari."""

__version__ = "0.1.0"
