"""Triton beside software drawing: both carry an LLVM, and the one that is loaded second takes the other's functions."""

import importlib.util
import os
import sys


def load_triton() -> None:
    """Load Triton, which torch's optimisers load too, so that it finds its own LLVM before that of Mesa.

    Mesa's software renderer loads its LLVM for all to see. Triton's library, loaded after it by torch, calls into that
    one and the program ends by a segmentation fault at the first step of a training. Loaded here, before torch does,
    with its own names first, it does not.
    """
    deep = getattr(os, "RTLD_DEEPBIND", None)  # glibc only; elsewhere names are looked up that way anyhow
    if deep is None or "triton" in sys.modules or importlib.util.find_spec("triton") is None:
        return
    before = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | deep)
    try:
        import triton  # noqa: F401
    finally:
        sys.setdlopenflags(before)
