"""Where to compute: choosing a device, and what to say when it is not there or too small."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from napari_flex3d.io.errors import InputError
from napari_flex3d.ops.projection import implementation_for

DeviceName = Literal["auto", "cpu", "cuda", "mps"]


def choose_device(wanted: DeviceName) -> torch.device:
    """Device of a name; auto is the CUDA GPU if there is one, otherwise the CPU.

    Raises
    ------
    InputError
        If the device is not there.
    """
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return torch.device("cuda" if found["cuda"] else "cpu")
    if not found[wanted]:
        what = {"cuda": "no CUDA GPU that it can use", "mps": "no Apple GPU"}[wanted]
        raise InputError(
            f"device = {wanted}: torch {torch.__version__} finds {what} on this machine. Use device = auto or cpu."
        )
    return torch.device(wanted)


def in_words(device: torch.device) -> str:
    """What computes, and by which kernels."""
    kernels = {"numba": "numba", "triton": "Triton", "torch": "plain torch"}[implementation_for(device)]
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = "the CPU" if device.type == "cpu" else "the Apple GPU"
    return f"Computing on {where} with {kernels} kernels"


@contextmanager
def room_on(device: torch.device, advice: str) -> Iterator[None]:
    """Turn a device's want of memory into an `InputError` that says what helps."""
    try:
        yield
    except RuntimeError as error:
        if device.type == "cpu" or "out of memory" not in str(error):
            raise
        raise InputError(f"The memory of the {device.type} device is too small. {advice}") from error
