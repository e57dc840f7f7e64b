"""CryoSPARC's .cs files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.files import atomic


def write_latents_cs(path: Path, uid: NDArray[np.integer], latents: NDArray[np.float32]) -> None:
    """Write latents as CryoSPARC's 3DVA and 3DFlex do: ``components_mode_k/component`` and ``/value``.

    Parameters
    ----------
    uid
        Row key of each particle (N).
    latents
        (N, K).
    """
    dims = latents.shape[1]
    fields = [("uid", "<u8")]
    for k in range(dims):
        fields += [(f"components_mode_{k}/component", "<u4"), (f"components_mode_{k}/value", "<f4")]
    table = np.zeros(len(uid), dtype=fields)
    table["uid"] = uid
    for k in range(dims):
        table[f"components_mode_{k}/component"] = k
        table[f"components_mode_{k}/value"] = latents[:, k]
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.save(file, table)
