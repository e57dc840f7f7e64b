"""Images compared with projections in one pass, from the transforms of spread grids: numba, for the CPU.

``full`` are transforms (B, ..., m, m // 2 + 1) of spread grids, ``factor`` (n, half) is one over the spline's own
transform; what is compared has n rows, the frequencies from 0 on first. Sums over a row are taken in the numbers' own
precision, sums of rows in double.
"""

from typing import no_type_check

import numba
import numpy as np

_compile = numba.njit(
    fastmath={"contract", "reassoc", "nsz", "arcp"},
    cache=True,
    nogil=True,
    boundscheck=False,
    error_model="numpy",
)


@numba.njit(inline="always")
@no_type_check
def _held(row, n, m):
    """Row of the full transform that a row of the cropped one is."""
    return row if row < (n + 1) // 2 else m - n + row


@_compile
@no_type_check
def residuals(thread, threads, full, factor, transform, transfer, loss, left_over):
    """What projections leave of images (B, n, half), and half its sum of squares (B)."""
    n, half = factor.shape
    for i in range(thread, len(full), threads):
        total = 0.0
        for row in range(n):
            held, part = _held(row, n, full.shape[1]), factor[0, 0] * 0
            for x in range(half):
                left = transform[i, row, x] - transfer[i, row, x] * (full[i, held, x] * factor[row, x])
                left_over[i, row, x] = left
                part += left.real * left.real + left.imag * left.imag
            total += part
        loss[i] = 0.5 * total


@_compile
@no_type_check
def pull_back(thread, threads, left_over, factor, transfer, weight, columns):
    """Adjoint of `residuals` for a loss of each image counted with a weight (B): columns (B, half, m) for `inverse`."""
    n, half = factor.shape
    m = columns.shape[2]
    for i in range(thread, len(columns), threads):
        for x in range(half):
            for y in range((n + 1) // 2, m - n // 2):
                columns[i, x, y] = 0
        for row in range(n):
            held = _held(row, n, m)
            for x in range(half):
                back = np.conj(transfer[i, row, x]) * left_over[i, row, x]
                columns[i, x, held] = back * (-weight[i] * factor[row, x])


@_compile
@no_type_check
def equations(thread, threads, full, factor, transform, transfer, gram):
    """Products (B, K, 1 + K) of each derivative with the misfit and with all derivatives; ``full`` has 1 + K each."""
    n, half = factor.shape
    count = full.shape[1]
    real, imag = np.empty((count, half), factor.dtype), np.empty((count, half), factor.dtype)
    sums = np.empty((count, count))
    for i in range(thread, len(full), threads):
        sums[:] = 0
        for row in range(n):
            held = _held(row, n, full.shape[2])
            for k in range(count):
                for x in range(half):
                    model = transfer[i, row, x] * (full[i, k, held, x] * factor[row, x])
                    if k == 0:
                        model = transform[i, row, x] - model
                    real[k, x], imag[k, x] = model.real, model.imag
            for k in range(1, count):
                for other in range(k + 1):
                    part = factor[0, 0] * 0
                    for x in range(half):
                        part += real[k, x] * real[other, x] + imag[k, x] * imag[other, x]
                    sums[k, other] += part
        for k in range(1, count):
            for other in range(count):
                gram[i, k - 1, other] = sums[max(k, other), min(k, other)]
