"""What one core does at most, measured by small kernels that do nothing else.

Each runs for some ten microseconds many times over; the quickest run counts, so other work on the machine matters
little. Where a register holds fewer than 16 numbers, the wide multiply-adds spill and are not at their peak.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from napari_flex3d.ops.projection._numba.vectors import load4, load16, store

ROWS = 1024
"""Rows of four numbers that fit a first-level cache."""

_compile = numba.njit(fastmath={"contract"}, nogil=True, boundscheck=False)


def _fused(load: Any) -> Any:
    @_compile
    def run(numbers: Any, repeats: int) -> None:
        """12 x ``repeats`` fused multiply-adds of vectors, 12 in flight."""
        x, y = load(numbers, 0), load(numbers, 16)
        a = b = c = d = e = f = g = h = i = j = k = m = y
        for _ in range(repeats):
            a, b, c, d, e, f = a * x + y, b * x + y, c * x + y, d * x + y, e * x + y, f * x + y
            g, h, i, j, k, m = g * x + y, h * x + y, i * x + y, j * x + y, k * x + y, m * x + y
            x, y = y, x
        store(numbers, 32, ((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + m)))

    return run


fused4, fused16 = _fused(load4), _fused(load16)


@_compile
def read(numbers: Any, repeats: int) -> None:
    """``repeats`` times all `ROWS` loaded; two of them in one multiply-add, which would hold up one load each."""
    a = b = c = d = e = f = g = h = load4(numbers, 0)
    for _ in range(repeats):
        for n in range(0, 4 * ROWS, 64):
            a = load4(numbers, n) * load4(numbers, n + 4) + a
            b = load4(numbers, n + 8) * load4(numbers, n + 12) + b
            c = load4(numbers, n + 16) * load4(numbers, n + 20) + c
            d = load4(numbers, n + 24) * load4(numbers, n + 28) + d
            e = load4(numbers, n + 32) * load4(numbers, n + 36) + e
            f = load4(numbers, n + 40) * load4(numbers, n + 44) + f
            g = load4(numbers, n + 48) * load4(numbers, n + 52) + g
            h = load4(numbers, n + 56) * load4(numbers, n + 60) + h
    store(numbers, 0, (a + b) + (c + d) + ((e + f) + (g + h)))


@_compile
def write(numbers: Any, repeats: int) -> None:
    """``repeats`` times all `ROWS` stored."""
    a = load4(numbers, 0)
    for _ in range(repeats):
        for n in range(0, 4 * ROWS, 4):
            store(numbers, n, a)
        a = load4(numbers, 4 * ROWS)


@_compile
def stream(numbers: Any, total: Any) -> None:
    """Sum of an array that no cache of the core's own holds."""
    a = b = c = d = load16(total, 0)
    for n in range(0, len(numbers) - 63, 64):
        a, b = a + load16(numbers, n), b + load16(numbers, n + 16)
        c, d = c + load16(numbers, n + 32), d + load16(numbers, n + 48)
    store(total, 0, (a + b) + (c + d))


def quickest(run: Callable[..., None], *arguments: Any, repeats: int = 300) -> float:
    """Least time of a call, in ns."""
    run(*arguments)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter_ns()
        run(*arguments)
        best = min(best, time.perf_counter_ns() - start)
    return float(best)


@dataclass(frozen=True)
class Peaks:
    """Times of one core in ns."""

    fused16: float  # a multiply-add of 16 numbers
    fused4: float  # of four
    load: float  # of four numbers, first-level cache
    store: float  # of four numbers, first-level cache
    byte: float  # read in order from memory or the cache that all cores share


def measure_peaks() -> Peaks:
    """Of the core that this runs on."""
    numbers = np.full(48, 0.5, np.float32)
    rows = np.zeros(4 * ROWS + 16, np.float32)
    map_sized = np.ones(1_000_000, np.float32)  # zeros would be one page of memory, mapped again and again
    return Peaks(
        fused16=quickest(fused16, numbers, 1000) / 12_000,
        fused4=quickest(fused4, numbers, 1000) / 12_000,
        load=quickest(read, rows, 10) / (10 * ROWS),
        store=quickest(write, rows, 10) / (10 * ROWS),
        byte=quickest(stream, map_sized, np.zeros(16, np.float32)) / map_sized.nbytes,
    )
