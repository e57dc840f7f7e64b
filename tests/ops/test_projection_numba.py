import os
import subprocess
import sys

import numba
import numpy as np
import pytest
import torch

from napari_flex3d.ops.projection import Body, _numba, _torch, project
from napari_flex3d.ops.projection._numba import vectors

SIZES = [0, 1, 15, 16, 17, 0, 63, 64, 65, 255, 256, 257, 1000, 0]


def uneven_body(sizes):
    """Voxels in random tetrahedra, so many in each."""
    random = torch.Generator().manual_seed(0)
    rest = torch.rand(max(4, 3 * len(sizes)), 3, generator=random, dtype=torch.float64) * 30 - 15
    corners = torch.stack([torch.randperm(len(rest), generator=random)[:4] for _ in sizes])
    weights = torch.rand(sum(sizes), 4, generator=random, dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    cell = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return Body.from_cells(rest, corners, cell, weights), random


@pytest.mark.parametrize("sizes", [SIZES, SIZES[:2], [0, 0]], ids=["many", "one voxel", "no voxel"])
@pytest.mark.parametrize("fine", [24, 27])
def test_cells_of_any_size_give_what_plain_torch_gives(sizes, fine):
    body, random = uneven_body(sizes)
    values = torch.randn(sum(sizes), generator=random, dtype=torch.float64)
    placed = torch.randn(3, len(body.vertices), 2, generator=random, dtype=torch.float64) * 10
    motion = torch.randn(3, 2, len(body.vertices), 2, generator=random, dtype=torch.float64)
    gradient = torch.randn(3, fine, fine, generator=random, dtype=torch.float64)
    problem = values, placed, body, 16, fine
    found = [_numba.spread(*problem), _numba.tangent(values, placed, motion, body, 16, fine)]
    expected = [_torch.spread(*problem), _torch.tangent(values, placed, motion, body, 16, fine)]
    for wanted in ((True, True), (True, False), (False, True)):
        found += _numba.gather(gradient, *problem, *wanted)
        expected += _torch.gather(gradient, *problem, *wanted)
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_groups_are_worked_out_once_for_a_body_and_serve_both_precisions():
    body, random = uneven_body(SIZES)
    values = torch.rand(sum(SIZES), generator=random)
    placed = torch.zeros(1, len(body.vertices), 2)
    single, double = (
        _numba.arrays(values.to(d), placed.to(d), body)[4:] for d in (torch.float32, torch.float64)
    )
    again = _numba.arrays(values, placed, body)[4:]
    assert all(one is other for one, other in zip(single, again, strict=True))
    assert (single[2].dtype, double[2].dtype) == (np.float32, np.float64)


def test_thousands_of_frames_away_mass_is_kept():
    body, random = uneven_body(SIZES)
    values = torch.rand(sum(SIZES), generator=random)
    placed = torch.tensor([1e5, -1e5]) + torch.zeros(1, len(body.vertices), 2)
    mass = project(values, placed, body, 16)[0, 0, 0]
    assert float(mass.real) == pytest.approx(float(values.sum()), rel=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_positions_that_mean_nothing_stay_within_the_arrays(bad):
    body, random = uneven_body(SIZES)
    values = torch.rand(sum(SIZES), generator=random)
    placed = torch.randn(2, len(body.vertices), 2, generator=random)
    placed[0] = bad
    grids = _numba.spread(values, placed, body, 16, 24)
    alone = _numba.spread(values, placed[1:], body, 16, 24)
    assert torch.equal(grids[1], alone[0])
    if not np.isfinite(bad):
        assert grids[0].isnan().any()


def test_values_may_lie_apart_in_memory():
    body, random = uneven_body([512])
    values = torch.rand(512, 2, generator=random)[:, 0]
    placed = (
        torch.randn(2, len(body.vertices), 2, generator=random).transpose(0, 1).contiguous().transpose(0, 1)
    )
    together = _numba.spread(values.clone(), placed.contiguous(), body, 16, 24)
    assert torch.equal(_numba.spread(values, placed, body, 16, 24), together)


RUN = """
import hashlib, sys, torch
torch.set_num_threads(2)
sys.path.insert(0, sys.argv[1])
from test_projection_numba import SIZES, uneven_body
from napari_flex3d.ops.projection import _numba
body, random = uneven_body(SIZES)
values, placed = torch.rand(sum(SIZES), generator=random), torch.randn(3, len(body.vertices), 2, generator=random)
grids = _numba.spread(values, placed, body, 16, 24)
pulls = _numba.gather(grids, values, placed, body, 16, 24, True, True)
print(hashlib.sha256(b"".join(found.numpy().tobytes() for found in (grids, *pulls))).hexdigest())
"""


def test_what_was_just_compiled_and_what_was_kept_agree_bit_for_bit(tmp_path):
    here = os.path.dirname(__file__)
    runs = [
        subprocess.run(
            [sys.executable, "-c", RUN, here],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc"))
    assert runs[0] == runs[1]


@numba.njit
def every_operation(numbers, out):
    a, b = vectors.load16(numbers, 0), vectors.load16(numbers, 16)
    vectors.store(out, 0, 2 * a + b * a - 1 + (3 - b))
    vectors.store(out, 16, vectors.floor(a))
    vectors.store(out, 32, vectors.clip(b, -0.5, 1))
    whole = vectors.whole(vectors.floor(a)) * 10 + 1
    kept = np.empty(16, np.int32)
    vectors.store(kept, 0, whole)
    return kept


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_vectors_do_what_arrays_do(kind):
    numbers = np.random.default_rng(0).normal(0, 3, 32).astype(kind)
    a, b = numbers[:16].copy(), numbers[16:].copy()
    b[3] = numbers[19] = np.nan
    out = np.zeros(48, kind)
    whole = every_operation(numbers, out)
    np.testing.assert_allclose(out[:16], 2 * a + b * a - 1 + (3 - b), rtol=1e-5)
    np.testing.assert_array_equal(out[16:32], np.floor(a))
    np.testing.assert_array_equal(out[32:], np.where(np.isnan(b), -0.5, b.clip(-0.5, 1)))
    np.testing.assert_array_equal(whole, np.floor(a) * 10 + 1)
