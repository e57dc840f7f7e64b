"""The Triton kernel of the rigidity energy in Triton's interpreter, and its compilation for real GPUs."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_flex3d.mesh import regular_mesh
from napari_flex3d.ops.elasticity import deformation_gradient, shape_gradients

with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TRITON_INTERPRET", "1")  # read when Triton's own library and the kernels are imported
    pytest.importorskip("triton", reason="Triton is not installed: its kernels were not tested")
    kernels = importlib.import_module("napari_flex3d.ops._rigidity_triton")


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")


@pytest.fixture(scope="module")
def block():
    mask = np.zeros((12, 12, 12), bool)
    mask[3:9, 2:10, 4:9] = True
    mesh, _ = regular_mesh(mask, 2.0, 5)
    vertices, cells = torch.from_numpy(mesh.vertices).double(), torch.from_numpy(mesh.cells)
    return vertices, (cells, *shape_gradients(vertices, cells))


def exact(positions, cells, inverse, weight):
    """Energy (B) and its derivative by decomposition of every gradient."""
    at = positions.double().requires_grad_()
    gradient = deformation_gradient(at, cells, inverse).movedim((0, 1), (-2, -1))
    left, _, right = torch.linalg.svd(gradient.detach())
    left = torch.cat([left[..., :2], left[..., 2:] * torch.linalg.det(left @ right)[..., None, None]], -1)
    energy = ((gradient - left @ right).square().sum((-2, -1)) * weight).sum(1)
    return energy.detach(), torch.autograd.grad(energy.sum(), at)[0]


@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0], ids=["at rest", "bent", "crumpled, many cells inside out"])
@pytest.mark.parametrize("turn", [0.5, 3.1], ids=["turned", "upside down"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4)], ids=str)
def test_energy_and_slope_are_exact(block, noise, turn, dtype, tolerance):
    vertices, rest = block
    random = torch.Generator().manual_seed(0)
    c, s = np.cos(turn), np.sin(turn)
    turned = vertices @ torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]]).double()
    moved = (turned + noise * torch.randn(2, *vertices.shape, generator=random).double()).to(dtype)
    energy, slope = kernels.energy_and_slope(moved, *rest)
    expected, pull = exact(moved, *rest)
    assert energy.tolist() == pytest.approx(expected.tolist(), rel=tolerance, abs=tolerance)
    assert float((slope - pull).norm()) <= tolerance * float(pull.norm()) + 10 * tolerance


COMPILE = f"""
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import {kernels.__name__} as kernels

kernel, chosen = kernels._energy_and_slope, dict(BLOCK=kernels.BLOCK, STEPS=kernels.STEPS)
kinds = dict.fromkeys(kernel.arg_names, "*fp32") | dict.fromkeys(chosen, "constexpr")
kinds |= {{"cells": "*i32", "count": "i32", "points": "i32"}}
target = GPUTarget("cuda", {{capability}}, 32)
made = compile(ASTSource(kernel, kinds, chosen), target=target, options={{"num_warps": 1}})
assert len(made.asm["cubin"]) > 1000
assert ".f64" not in made.asm["ptx"]
print(kernel.fn.__name__)
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_kernel_compiles_for_gpus_that_are_not_here(capability, tmp_path):
    """Machine code for A100 and H100, in single precision throughout."""
    pytest.importorskip("triton.backends.nvidia")
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE.replace("{capability}", str(capability))],
        capture_output=True,
        text=True,
        env=kept | {"TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.stdout.split() == ["_energy_and_slope"], done.stderr
