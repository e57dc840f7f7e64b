"""The napari side: docks, layers and the latent explorer. Nothing outside this package imports Qt or napari."""
