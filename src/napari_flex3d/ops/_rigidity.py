"""Rigidity energy of many deformed meshes and its derivative, in numba: the CPU implementation.

Cells are handled in blocks: their gradients are laid side by side, so that the iteration for the closest rotation,
which is most of the work, runs on several cells at once.
"""

from typing import Any, no_type_check

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCK = 64
"""Cells in a block: its eighteen rows stay in the first-level cache."""

STEPS = 4
"""Newton steps for the closest rotation; singular values between 0.4 and 2.2 end within 1e-4 of 1."""

SAFE = 0.1
"""Cells whose volume shrinks below this share are left to the decomposition in `ops.elasticity`."""

_compile = numba.njit(fastmath=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")


@_compile
@no_type_check
def energy_and_slope(positions, cells, inverse, weight, energy, slope, unsafe):
    """Energy (B) and its derivative (B, P, 3) of positions (B, P, 3); marks the cells (B, C) that were left out.

    Returns how many were left out.
    """
    dtype = positions.dtype.type
    half, least = dtype(0.5), dtype(SAFE)
    left_out = 0
    block = np.empty((9, BLOCK), positions.dtype)
    turned = np.empty((9, BLOCK), positions.dtype)
    for b in range(len(positions)):
        q, pull = positions[b], slope[b]
        total = 0.0
        for first in range(0, len(cells), BLOCK):
            size = min(BLOCK, len(cells) - first)
            for n in range(size):
                c = first + n
                v0, v1, v2, v3 = cells[c, 0], cells[c, 1], cells[c, 2], cells[c, 3]
                for i in range(3):
                    rest = q[v0, i]
                    e0, e1, e2 = q[v1, i] - rest, q[v2, i] - rest, q[v3, i] - rest
                    for k in range(3):
                        block[3 * i + k, n] = (
                            e0 * inverse[c, 0, k] + e1 * inverse[c, 1, k] + e2 * inverse[c, 2, k]
                        )
            _closest(block, turned, half, least)
            for n in range(size):
                c = first + n
                d = _determinant(block, n)
                if d <= least:
                    unsafe[b, c] = True
                    left_out += 1
                    continue
                w = weight[c]
                v0, v1, v2, v3 = cells[c, 0], cells[c, 1], cells[c, 2], cells[c, 3]
                for i in range(3):
                    g0 = block[3 * i, n] - turned[3 * i, n]
                    g1 = block[3 * i + 1, n] - turned[3 * i + 1, n]
                    g2 = block[3 * i + 2, n] - turned[3 * i + 2, n]
                    total += w * (g0 * g0 + g1 * g1 + g2 * g2)
                    double = w + w
                    p1 = double * (g0 * inverse[c, 0, 0] + g1 * inverse[c, 0, 1] + g2 * inverse[c, 0, 2])
                    p2 = double * (g0 * inverse[c, 1, 0] + g1 * inverse[c, 1, 1] + g2 * inverse[c, 1, 2])
                    p3 = double * (g0 * inverse[c, 2, 0] + g1 * inverse[c, 2, 1] + g2 * inverse[c, 2, 2])
                    pull[v1, i] += p1
                    pull[v2, i] += p2
                    pull[v3, i] += p3
                    pull[v0, i] -= p1 + p2 + p3
        energy[b] = total
    return left_out


@numba.njit(fastmath=True, cache=True, inline="always")
@no_type_check
def _determinant(m, n):
    return (
        m[0, n] * (m[4, n] * m[8, n] - m[5, n] * m[7, n])
        + m[1, n] * (m[5, n] * m[6, n] - m[3, n] * m[8, n])
        + m[2, n] * (m[3, n] * m[7, n] - m[4, n] * m[6, n])
    )


@numba.njit(fastmath=True, cache=True, nogil=True, boundscheck=False, error_model="numpy")
@no_type_check
def _closest(block, turned, half, least):
    """Newton's iteration ``R <- (R + R^-T) / 2`` (Higham 1986) on every column."""
    for n in range(BLOCK):
        a0, a1, a2 = block[0, n], block[1, n], block[2, n]
        a3, a4, a5 = block[3, n], block[4, n], block[5, n]
        a6, a7, a8 = block[6, n], block[7, n], block[8, n]
        for _ in range(STEPS):
            c0, c1, c2 = a4 * a8 - a5 * a7, a5 * a6 - a3 * a8, a3 * a7 - a4 * a6
            c3, c4, c5 = a7 * a2 - a8 * a1, a8 * a0 - a6 * a2, a6 * a1 - a7 * a0
            c6, c7, c8 = a1 * a5 - a2 * a4, a2 * a3 - a0 * a5, a0 * a4 - a1 * a3
            share = half / max(a0 * c0 + a1 * c1 + a2 * c2, least * least)
            a0, a1, a2 = half * a0 + share * c0, half * a1 + share * c1, half * a2 + share * c2
            a3, a4, a5 = half * a3 + share * c3, half * a4 + share * c4, half * a5 + share * c5
            a6, a7, a8 = half * a6 + share * c6, half * a7 + share * c7, half * a8 + share * c8
        turned[0, n], turned[1, n], turned[2, n] = a0, a1, a2
        turned[3, n], turned[4, n], turned[5, n] = a3, a4, a5
        turned[6, n], turned[7, n], turned[8, n] = a6, a7, a8
