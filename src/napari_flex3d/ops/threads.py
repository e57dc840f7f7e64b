"""Compiled kernels on Python's threads, which serve since such kernels release the lock.

numba's own parallel loops are not used: machine code of theirs that comes from the cache differs in rounding from the
same freshly compiled, so that a first run would not be repeated bit for bit; and they must not be entered from two
threads at once, as a window does that draws while it computes.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any


def on_threads(kernel: Callable[..., None], *arguments: Any, most: int | None = None) -> None:
    """Run ``kernel(thread, threads, *arguments)`` on as many threads as torch uses, or at most so many."""
    import torch  # the menus and readers of the plugin come without it

    threads = torch.get_num_threads() if most is None else max(1, min(torch.get_num_threads(), most))
    others = [_pool().submit(kernel, thread, threads, *arguments) for thread in range(1, threads)]
    kernel(0, threads, *arguments)
    for other in others:
        other.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="kernel")
