"""Docks, layers and the latent explorer: the only package that imports Qt and napari."""
