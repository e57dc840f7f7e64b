"""Rigidity energy of many deformed meshes and its derivative, in Triton: for NVIDIA GPUs, where it is one launch.

A program handles a block of cells of one mesh. The closest rotation comes from the largest eigenvalue of a 4 x 4 matrix
(Horn, J. Opt. Soc. Am. A 1987), found by Newton's iteration from above (Theobald, Acta Cryst. A 2005), so that inverted
and flat cells need no other way.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 32
STEPS = 12
"""Newton steps; from above they cannot go astray, and end at rounding unless a cell is nearly flat."""


def energy_and_slope(
    positions: Tensor, cells: Tensor, inverse: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Energy (B) and its derivative (B, P, 3) of positions (B, P, 3); else as `elasticity.rigidity_energy`."""
    energy, slope = positions.new_zeros(len(positions)), torch.zeros_like(positions)
    _energy_and_slope[(triton.cdiv(len(cells), BLOCK), len(positions))](
        positions,
        cells,
        inverse.to(positions).contiguous(),
        weight.to(positions),
        energy,
        slope,
        len(cells),
        positions.shape[1],
        BLOCK=BLOCK,
        STEPS=STEPS,
        num_warps=1,
    )
    return energy, slope


# no_type_check keeps the shape checks of the tests out of what Triton compiles.


@triton.jit
@no_type_check
def _cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@triton.jit
@no_type_check
def _squares(a, b, c):
    return a * a + b * b + c * c


@triton.jit
@no_type_check
def _edge(at, vertex, x, y, z):
    """Edge to a vertex from the first, which is at (x, y, z)."""
    return tl.load(at + 3 * vertex) - x, tl.load(at + 3 * vertex + 1) - y, tl.load(at + 3 * vertex + 2) - z


@triton.jit
@no_type_check
def _rotation(f00, f01, f02, f10, f11, f12, f20, f21, f22, STEPS: tl.constexpr):
    """Quaternion (not of length one) of the rotation closest to a matrix."""
    c00, c01, c02 = _cross(f10, f11, f12, f20, f21, f22)
    c10, c11, c12 = _cross(f20, f21, f22, f00, f01, f02)
    c20, c21, c22 = _cross(f00, f01, f02, f10, f11, f12)
    determinant = f00 * c00 + f01 * c01 + f02 * c02
    size = _squares(f00, f01, f02) + _squares(f10, f11, f12) + _squares(f20, f21, f22)
    minors = _squares(c00, c01, c02) + _squares(c10, c11, c12) + _squares(c20, c21, c22)
    value = tl.sqrt(3 * size)
    for _ in tl.static_range(STEPS):
        off = value * value - size
        height = off * off - 8 * determinant * value - 4 * minors
        slope = 4 * value * off - 8 * determinant
        value -= tl.where(slope > 1e-12, height / tl.where(slope > 1e-12, slope, 1.0), 0.0)
    # the symmetric matrix less its eigenvalue: columns of its adjugate are multiples of the eigenvector
    m00, m11 = f00 + f11 + f22 - value, f00 - f11 - f22 - value
    m22, m33 = f11 - f00 - f22 - value, f22 - f00 - f11 - value
    m01, m02, m03 = f21 - f12, f02 - f20, f10 - f01
    m12, m13, m23 = f01 + f10, f02 + f20, f12 + f21
    s0, s1, s2 = m00 * m11 - m01 * m01, m00 * m12 - m01 * m02, m00 * m13 - m01 * m03
    s3, s4, s5 = m01 * m12 - m11 * m02, m01 * m13 - m11 * m03, m02 * m13 - m12 * m03
    t1, t2 = m02 * m23 - m03 * m22, m02 * m33 - m03 * m23
    t3, t4, t5 = m12 * m23 - m13 * m22, m12 * m33 - m13 * m23, m22 * m33 - m23 * m23
    b00, b11 = m11 * t5 - m12 * t4 + m13 * t3, m00 * t5 - m02 * t2 + m03 * t1
    b22, b33 = m03 * s4 - m13 * s2 + m33 * s0, m02 * s3 - m12 * s1 + m22 * s0
    b01, b02 = m02 * t4 - m01 * t5 - m03 * t3, m13 * s5 - m23 * s4 + m33 * s3
    b03, b12 = m22 * s4 - m12 * s5 - m23 * s3, m23 * s2 - m03 * s5 - m33 * s1
    b13, b23 = m02 * s5 - m22 * s2 + m23 * s1, m12 * s2 - m02 * s4 - m23 * s0
    best, q0, q1, q2, q3 = tl.abs(b00), b00, b01, b02, b03
    best, q0, q1, q2, q3 = _better(best, q0, q1, q2, q3, tl.abs(b11), b01, b11, b12, b13)
    best, q0, q1, q2, q3 = _better(best, q0, q1, q2, q3, tl.abs(b22), b02, b12, b22, b23)
    best, q0, q1, q2, q3 = _better(best, q0, q1, q2, q3, tl.abs(b33), b03, b13, b23, b33)
    return q0, q1, q2, q3


@triton.jit
@no_type_check
def _better(best, q0, q1, q2, q3, other, p0, p1, p2, p3):
    better = other > best
    q0, q1 = tl.where(better, p0, q0), tl.where(better, p1, q1)
    return tl.maximum(best, other), q0, q1, tl.where(better, p2, q2), tl.where(better, p3, q3)


@triton.jit
@no_type_check
def _add(at, vertex, inside, x, y, z):
    tl.atomic_add(at + 3 * vertex, x, mask=inside, sem="relaxed")
    tl.atomic_add(at + 3 * vertex + 1, y, mask=inside, sem="relaxed")
    tl.atomic_add(at + 3 * vertex + 2, z, mask=inside, sem="relaxed")


@triton.jit
@no_type_check
def _energy_and_slope(
    positions,
    cells,
    inverse,
    weight,
    energy,
    slope,
    count,
    points,
    BLOCK: tl.constexpr,
    STEPS: tl.constexpr,
):
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mesh = tl.program_id(1)
    inside = cell < count
    v0, v1, v2 = _row(cells + 4 * cell, inside)
    v3 = tl.load(cells + 4 * cell + 3, mask=inside, other=0)
    at = positions + mesh * points * 3
    x, y, z = tl.load(at + 3 * v0), tl.load(at + 3 * v0 + 1), tl.load(at + 3 * v0 + 2)
    e00, e10, e20 = _edge(at, v1, x, y, z)
    e01, e11, e21 = _edge(at, v2, x, y, z)
    e02, e12, e22 = _edge(at, v3, x, y, z)
    i00, i01, i02 = _row(inverse + 9 * cell, inside)
    i10, i11, i12 = _row(inverse + 9 * cell + 3, inside)
    i20, i21, i22 = _row(inverse + 9 * cell + 6, inside)
    f00, f01, f02 = _times(e00, e01, e02, i00, i01, i02, i10, i11, i12, i20, i21, i22)
    f10, f11, f12 = _times(e10, e11, e12, i00, i01, i02, i10, i11, i12, i20, i21, i22)
    f20, f21, f22 = _times(e20, e21, e22, i00, i01, i02, i10, i11, i12, i20, i21, i22)
    q0, q1, q2, q3 = _rotation(f00, f01, f02, f10, f11, f12, f20, f21, f22, STEPS)
    norm = q0 * q0 + q1 * q1 + q2 * q2 + q3 * q3
    two = 2 / tl.where(norm > 0, norm, 1.0)
    f00, f11, f22 = (
        f00 - 1 + two * (q2 * q2 + q3 * q3),
        f11 - 1 + two * (q1 * q1 + q3 * q3),
        f22 - 1 + two * (q1 * q1 + q2 * q2),
    )
    f01, f10 = f01 - two * (q1 * q2 - q0 * q3), f10 - two * (q1 * q2 + q0 * q3)
    f02, f20 = f02 - two * (q1 * q3 + q0 * q2), f20 - two * (q1 * q3 - q0 * q2)
    f12, f21 = f12 - two * (q2 * q3 - q0 * q1), f21 - two * (q2 * q3 + q0 * q1)
    w = tl.load(weight + cell, mask=inside, other=0.0)
    squares = _squares(f00, f01, f02) + _squares(f10, f11, f12) + _squares(f20, f21, f22)
    tl.atomic_add(energy + mesh, tl.sum(w * squares, axis=0), sem="relaxed")
    # derivative with respect to the edges: 2 w (F - R) times the inverse, transposed
    w = 2 * w
    x1, x2, x3 = _times(w * f00, w * f01, w * f02, i00, i10, i20, i01, i11, i21, i02, i12, i22)
    y1, y2, y3 = _times(w * f10, w * f11, w * f12, i00, i10, i20, i01, i11, i21, i02, i12, i22)
    z1, z2, z3 = _times(w * f20, w * f21, w * f22, i00, i10, i20, i01, i11, i21, i02, i12, i22)
    pull = slope + mesh * points * 3
    _add(pull, v1, inside, x1, y1, z1)
    _add(pull, v2, inside, x2, y2, z2)
    _add(pull, v3, inside, x3, y3, z3)
    _add(pull, v0, inside, -(x1 + x2 + x3), -(y1 + y2 + y3), -(z1 + z2 + z3))


@triton.jit
@no_type_check
def _times(a0, a1, a2, m00, m01, m02, m10, m11, m12, m20, m21, m22):
    """A row times a matrix."""
    return (
        a0 * m00 + a1 * m10 + a2 * m20,
        a0 * m01 + a1 * m11 + a2 * m21,
        a0 * m02 + a1 * m12 + a2 * m22,
    )


@triton.jit
@no_type_check
def _row(at, inside):
    a = tl.load(at, mask=inside, other=0)
    return a, tl.load(at + 1, mask=inside, other=0), tl.load(at + 2, mask=inside, other=0)
