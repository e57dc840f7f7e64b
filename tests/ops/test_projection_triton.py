"""The Triton kernels in Triton's interpreter, which runs them on the CPU, and their compilation for real GPUs."""

import importlib
import os
import subprocess
import sys

import pytest
import torch

from napari_flex3d.ops.projection import Body, _torch, fine_box, implementation_for, project

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")  # read when Triton's own library and the kernels are imported
    pytest.importorskip("triton", reason="Triton is not installed: its kernels were not tested")
    kernels = importlib.import_module("napari_flex3d.ops.projection._triton")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Parts of Triton are imported at the first launch, and look again."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def problem(voxels=150, vertices=20, cells=30, images=2, box=15, reach=1.0, shift=0.0, dtype=torch.float64):
    """Voxels in random tetrahedra, of which every third and the last are empty, and their random places."""
    random = torch.Generator().manual_seed(0)
    corners = torch.stack([torch.randperm(vertices, generator=random)[:4] for _ in range(cells)])
    cell = torch.randint(0, cells // 3, (voxels,), generator=random) * 3
    weights = torch.rand(voxels, 4, generator=random).to(dtype)
    body = Body.from_cells(torch.zeros(vertices, 3), corners, cell, weights / weights.sum(1, keepdim=True))
    values = torch.randn(voxels, generator=random).to(dtype)
    placed = ((torch.rand(images, vertices, 2, generator=random) - 0.5) * box * reach + shift).to(dtype)
    fine = fine_box(box, 1.5)
    return (values, placed, body, box, fine), random


def assert_same(found, expected):
    tolerance = 1e-12 if expected.dtype == torch.float64 else 3e-6
    assert float((found - expected).norm()) <= tolerance * float(expected.norm())


CASES = {
    "an odd box": {},
    "single precision": {"dtype": torch.float32},
    "an even box, one image": {"box": 24, "images": 1},
    "density far outside the frame, on both sides": {"reach": 7.0},
    "blocks that fall into a tile": {"reach": 0.15, "box": 48},
    "a tile across the frame's edge": {"reach": 0.15, "box": 48, "shift": 22.0},
    "a tile wider than the grid": {"reach": 0.5, "box": 6},
    "a whole number of blocks": {"voxels": 128},
    "one voxel": {"voxels": 1},
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return problem(**CASES[request.param])


def test_spread_is_that_of_the_reference(case):
    arguments, _ = case
    assert_same(kernels.spread(*arguments), _torch.spread(*arguments))


def test_gather_is_that_of_the_reference(case):
    (values, placed, body, box, fine), random = case
    gradient = torch.randn(len(placed), fine, fine, generator=random).to(values)
    found = kernels.gather(gradient, values, placed, body, box, fine, True, True)
    expected = _torch.gather(gradient, values, placed, body, box, fine, True, True)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


@pytest.mark.parametrize("wanted", [(True, False), (False, True)])
def test_gather_gives_only_what_is_wanted(wanted):
    (values, placed, body, box, fine), random = problem()
    gradient = torch.randn(len(placed), fine, fine, generator=random).to(values)
    found = kernels.gather(gradient, values, placed, body, box, fine, *wanted)
    expected = _torch.gather(gradient, values, placed, body, box, fine, *wanted)
    assert [part is None for part in found] == [not asked for asked in wanted]
    assert_same(next(p for p in found if p is not None), next(p for p in expected if p is not None))


@pytest.mark.parametrize("directions", [0, 1, 3])
@pytest.mark.parametrize(("box", "reach"), [(15, 1.0), (48, 0.15)], ids=["wide blocks", "tiles"])
def test_tangent_is_that_of_the_reference(directions, box, reach):
    (values, placed, body, box, fine), random = problem(box=box, reach=reach)
    motion = torch.randn(len(placed), directions, 20, 2, generator=random).to(values)
    arguments = values, placed, motion, body, box, fine
    assert_same(kernels.tangent(*arguments), _torch.tangent(*arguments))


def test_images_of_one_program_do_not_mix(monkeypatch):
    monkeypatch.setattr(kernels, "PROGRAMS", 6)  # three blocks of voxels, two shares of five images
    (values, placed, body, box, fine), random = problem(images=5)
    assert_same(
        kernels.spread(values, placed, body, box, fine), _torch.spread(values, placed, body, box, fine)
    )
    gradient = torch.randn(5, fine, fine, generator=random).to(values)
    found = kernels.gather(gradient, values, placed, body, box, fine, True, True)
    expected = _torch.gather(gradient, values, placed, body, box, fine, True, True)
    for ours, theirs in zip(found, expected, strict=True):
        assert_same(ours, theirs)


def test_no_voxels_give_empty_images():
    (values, placed, body, box, fine), _ = problem()
    nothing = body.subset(torch.zeros(len(values), dtype=torch.bool))
    assert not kernels.spread(values[:0], placed, nothing, box, fine).any()
    gradients = kernels.gather(
        torch.ones(2, fine, fine).double(), values[:0], placed, nothing, box, fine, True, True
    )
    assert gradients[0].shape == (0,)
    assert not gradients[1].any()


def test_projection_and_its_gradients_are_those_of_the_other_implementations():
    (values, placed, body, box, _), random = problem()
    weight = torch.randn(2, box, box // 2 + 1, generator=random, dtype=torch.float64)
    gradients = {}
    for name in ("triton", "numba", "torch"):
        inputs = values.clone().requires_grad_(), placed.clone().requires_grad_()
        images = project(*inputs, body, box, implementation=name)
        gradients[name] = torch.autograd.grad((weight * images.abs().square()).sum(), inputs)
    for other in ("numba", "torch"):
        for ours, theirs in zip(gradients["triton"], gradients[other], strict=True):
            assert_same(ours, theirs)


def test_cuda_takes_triton_and_other_devices_plain_torch():
    assert [implementation_for(d) for d in ("cpu", "cuda:1", "mps")] == ["numba", "triton", "torch"]


def surroundings(cache):
    """Environment of a child that shall compile the kernels anew, not interpret them."""
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return kept | {"TRITON_CACHE_DIR": str(cache)}


COMPILE = f"""
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import {kernels.__name__} as kernels

tables = dict.fromkeys(("cell_of", "cells"), "*i32")
numbers = dict.fromkeys(("count", "images", "points", "fine", "count_directions"), "i32")
spread = dict(BLOCK=kernels.SPREAD_BLOCK, TILE=kernels.TILE)
gather = dict(BLOCK=kernels.BLOCK, FOR_VALUES=True, FOR_VERTICES=True)
variants = [(kernels._gather, gather), *((kernels._spread, dict(MOVING=m, **spread)) for m in (False, True))]
for kernel, chosen in variants:
    kinds = dict.fromkeys(kernel.arg_names, "*fp32") | dict.fromkeys(chosen, "constexpr")
    kinds |= {{name: kind for name, kind in (tables | numbers).items() if name in kinds}}
    target = GPUTarget("cuda", {{capability}}, 32)
    made = compile(ASTSource(kernel, kinds, chosen), target=target, options={{"num_warps": kernels.WARPS}})
    assert len(made.asm["cubin"]) > 1000
    assert ".f64" not in made.asm["ptx"]
    assert made.metadata.shared < 10_000
    print(kernel.fn.__name__)
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_gpus_that_are_not_here(capability, tmp_path):
    """Machine code for A100 and H100, in single precision throughout."""
    pytest.importorskip("triton.backends.nvidia")
    script = COMPILE.replace("{capability}", str(capability))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=surroundings(tmp_path)
    )
    assert done.stdout.split() == ["_gather", "_spread", "_spread"], done.stderr


ON_GPU = """
import torch
from napari_flex3d.ops.projection import Body, project

problem = torch.load("problem.pt")
inputs = [problem[name].cuda().requires_grad_() for name in ("values", "placed")]
images = project(*inputs, Body(**problem["body"]).to("cuda"), problem["box"])
gradients = torch.autograd.grad((problem["weight"].cuda() * images.abs().square()).sum(), inputs)
torch.save([t.detach().cpu() for t in (images, *gradients)], "found.pt")
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_what_the_cpu_gives(tmp_path):
    (values, placed, body, box, _), random = problem(dtype=torch.float32, images=3)
    weight = torch.randn(3, box, box // 2 + 1, generator=random)
    told = {"values": values, "placed": placed, "box": box, "weight": weight}
    torch.save(
        told | {"body": {f: getattr(body, f) for f in body.__dataclass_fields__}}, tmp_path / "problem.pt"
    )
    subprocess.run([sys.executable, "-c", ON_GPU], cwd=tmp_path, check=True, env=surroundings(tmp_path))
    inputs = values.requires_grad_(), placed.requires_grad_()
    images = project(*inputs, body, box)
    gradients = torch.autograd.grad((weight * images.abs().square()).sum(), inputs)
    for ours, theirs in zip(torch.load(tmp_path / "found.pt"), (images.detach(), *gradients), strict=True):
        assert_same(ours, theirs)
