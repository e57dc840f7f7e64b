"""Devices: what is chosen, and that training keeps its tensors together on one that is not the CPU.

No GPU is needed: the second device is made of the CPU. Its tensors hold ordinary numbers and claim to be on the device
"lazy", which torch knows and nobody has. As on a real device they do not mix with tensors on the CPU (numbers without
dimensions and indices excepted), cannot become numpy arrays, and take no random numbers from the CPU's generators;
double precision is refused, as by Apple's GPUs.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

from napari_flex3d import stages
from napari_flex3d.devices import choose_device, in_words, room_on
from napari_flex3d.fit import at_rest, begin, errors_of_poses, fit, polish, set_up
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.mrc import read_map
from napari_flex3d.mesh import MeshParams, TetMesh, voxel_positions
from napari_flex3d.ops import elasticity, gridding, projection
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.shared import SharedOperator
from napari_flex3d.synthetic import write_sample
from napari_flex3d.train import TrainParams

DEVICE = torch.device("lazy")
ACROSS = {"aten::copy_", "aten::_to_copy", "aten::index.Tensor", "aten::index_put_", "aten::_index_put_impl_"}


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        if held.dtype in (torch.float64, torch.complex128):
            raise TypeError("the device has no double precision")
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        return torch.Tensor._make_wrapper_subclass(cls, held.size(), **layout, device=DEVICE)

    def __init__(self, held: torch.Tensor) -> None:
        self.held = held

    def __repr__(self, **_: Any) -> str:
        return f"Elsewhere({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Makes tensors for the pretended device, and counts what is computed there."""

    operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += any(isinstance(t, Elsewhere) for t in tree_leaves((args, kwargs)))
        return _run(func, args, kwargs or {})


def _run(func, args, kwargs):
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = any(isinstance(t, Elsewhere) for t in tensors)
    target = kwargs.get("device")
    to_there = there if target is None else torch.device(target).type == DEVICE.type
    if not there and not to_there:
        return func(*args, **kwargs)
    name = func._schema.name + (f".{func._overloadname}" if func._overloadname != "default" else "")
    strangers = [t for t in tensors if not isinstance(t, Elsewhere) and t.dim()]
    if strangers and there and not any(name.startswith(known) for known in ACROSS):
        raise RuntimeError(f"{name}: tensors on {DEVICE} and on the CPU, shapes {[t.shape for t in tensors]}")
    if kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: expected a generator on {DEVICE}")
    inner = dict(kwargs, device=torch.device("cpu")) if target is not None else kwargs
    unwrap = lambda x: x.held if isinstance(x, Elsewhere) else x  # noqa: E731
    found = func(*tree_map(unwrap, args), **tree_map(unwrap, inner))
    if not to_there:
        return found
    if name in ("aten::_conj", "aten::_neg_view"):  # marks on a tensor, which those inside would not see
        return Elsewhere(found.resolve_conj().resolve_neg().clone())
    wrapped = tree_map(lambda x: Elsewhere(x) if isinstance(x, torch.Tensor) else x, found)
    return return_and_correct_aliasing(func, args, kwargs, wrapped) if there else wrapped


def test_the_second_device_does_not_mix():
    with SecondDevice():
        there, here = torch.ones(3, device=DEVICE), torch.ones(3)
        assert there.device == DEVICE
        assert float((2 * there.to("cpu") + here).sum()) == 9
        with pytest.raises(RuntimeError, match="and on the CPU"):
            there + here
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()
        with pytest.raises(TypeError, match="double precision"):
            there.double()
        with pytest.raises(RuntimeError, match="generator"):
            torch.randn(3, device=DEVICE, generator=torch.Generator())


@pytest.fixture(scope="module")
def mesh_job(tmp_path_factory):
    root = tmp_path_factory.mktemp("hinge")
    sample = write_sample(root / "sample", particles=30, box=24, pixel_size=8.0, snr=0.4, seed=1, extent=20)
    prep = PrepParams(particles=sample.particles, map=sample.map, mask=sample.mask)
    stages.prepare(prep, root / "prep")
    stages.build_mesh(MeshParams(prep=root / "prep", cells=6), root / "mesh")
    return root / "mesh"


def trained(mesh_job, device):
    """Metrics of the epochs, and the state at the end and once restored, on the CPU."""
    prep = mesh_job.parent / "prep"
    params = TrainParams(
        mesh=mesh_job, latent_dims=2, epochs=3, held_out=10.0, rigidity=2.0, flow_lr=1e-3, flow_lr_final=1e-4
    )
    density = read_map(prep / "map_train.mrc").data
    mask = density > 0.2 * density.max()
    particles = Particles.open(prep, "train")
    setup = set_up(particles, TetMesh.load(mesh_job / "mesh.npz"), mask, 0.1, params, device)
    first = setup, at_rest(setup, (density * mask * particles.map_scale).astype(np.float32)), 2, 8
    state = begin(*first)
    history = [metrics for _, _, metrics in fit(setup, state) if metrics]
    tensors = state.tensors()
    errors = errors_of_poses(setup, state)
    steps = polish(
        setup, replace(state, latents=state.latents.clone(), covariance=state.covariance.clone()), errors
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            tensors["poses"] = end.value
            break
    again = begin(*first)
    again.restore(tensors)
    assert again.latents.device.type == torch.device(device).type
    return history, tensors, again.tensors()


def test_training_elsewhere_is_training_here(mesh_job, monkeypatch):
    """Bit for bit, where the CPU is kept from its own kernels: latents, flow, maps, held-out particles, poses."""
    adam = torch.optim.Adam
    monkeypatch.setattr(projection, "implementation_for", lambda device: "torch")
    monkeypatch.setattr("napari_flex3d.fit.rigidity_energy", elasticity._rigidity_energy)
    monkeypatch.setattr(torch.optim, "Adam", lambda p, fused: adam(p, fused=False, foreach=False))
    here, tensors_here, _ = trained(mesh_job, "cpu")
    with SecondDevice() as device:
        there, tensors_there, restored = trained(mesh_job, DEVICE)
    assert device.operations > 1000
    assert there == here
    assert tensors_there.keys() == tensors_here.keys()
    for name, tensor in tensors_here.items():
        assert tensors_there[name].device.type == "cpu"
        assert torch.equal(tensors_there[name], tensor), name
        if name != "poses":
            assert torch.equal(restored[name], tensor), name


@pytest.fixture
def half_map(mesh_job, monkeypatch):
    """The problem of a half-map on a device, by the same kernels everywhere; and some values of its voxels."""
    monkeypatch.setattr(projection, "implementation_for", lambda device: "torch")
    prep = mesh_job.parent / "prep"
    particles = Particles.open(prep, "full")
    density = read_map(prep / "map.mrc").data
    mask = density > 0.2 * density.max()
    points = voxel_positions(np.argwhere(mask), len(mask), particles.pixel_size)
    body = TetMesh.load(mesh_job / "mesh.npz").bind(points)

    def on(device):
        return Problem(particles, np.arange(12), body, None, noise_weight(particles), torch.device(device))

    return on, torch.from_numpy(density[mask])[body.order]


def test_a_pass_of_the_reconstruction_elsewhere_is_one_here(half_map):
    on, values = half_map

    def a_pass(device):
        steps = on(device).gradient(values, against_images=True)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    gradient, value = a_pass("cpu")
    with SecondDevice() as device:
        there, value_there = a_pass(DEVICE)
    assert device.operations > 20
    assert there.device.type == "cpu"
    assert value_there == pytest.approx(value, rel=1e-5)
    assert float((there - gradient).norm()) < 1e-5 * float(gradient.norm())


def test_shared_deformations_elsewhere_are_those_here(half_map, monkeypatch):
    """Product and direction of the preconditioner: by torch on the device, by numba on the CPU."""
    on, values = half_map
    monkeypatch.setattr(gridding, "_PART", 100)
    members = [np.arange(5), np.arange(5, 12)]
    here = SharedOperator(on("cpu"), members)
    product, solved = here(values), here.solve(values)
    with SecondDevice() as device:
        operator = SharedOperator(on(DEVICE), members)
        before = device.operations
        product_there, solved_there = operator(values), operator.solve(values)
    assert device.operations - before > 1000
    assert product_there.device.type == solved_there.device.type == "cpu"
    assert float((product_there - product).norm()) < 1e-5 * float(product.norm())
    assert float((solved_there - solved).norm()) < 1e-4 * float(solved.norm())


def test_numba_and_torch_train_alike(mesh_job, monkeypatch):
    with_numba, _, _ = trained(mesh_job, "cpu")
    monkeypatch.setattr(projection, "implementation_for", lambda device: "torch")
    with_torch, _, _ = trained(mesh_job, "cpu")
    for name, value in with_torch[0].items():
        assert with_numba[0][name] == pytest.approx(value, rel=1e-3, abs=1e-4), name


def test_auto_is_the_cpu_without_a_cuda_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    assert in_words(torch.device("cpu")) == "Computing on the CPU with numba kernels"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")


def test_a_device_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"finds no CUDA GPU .* Use device = auto or cpu"):
        choose_device("cuda")
    with pytest.raises(InputError, match="finds no Apple GPU"):
        choose_device("mps")


def test_want_of_memory_is_said_with_what_helps():
    cuda = torch.device("cuda")
    with (
        pytest.raises(InputError, match=r"memory of the cuda device is too small\. Use"),
        room_on(cuda, "Use less."),
    ):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    with pytest.raises(RuntimeError, match="something else"), room_on(cuda, "Use less."):
        raise RuntimeError("something else")


ON_GPU = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_devices import trained
print(json.dumps(trained(Path(sys.argv[1]), "cuda")[0]))
"""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_as_the_cpu_does(mesh_job):
    """To rounding, which a few epochs make larger. In a process of its own: in this one kernels may be interpreted."""
    here, _, _ = trained(mesh_job, "cpu")
    done = subprocess.run(
        [sys.executable, "-c", ON_GPU, mesh_job], check=True, capture_output=True, text=True
    )
    there = json.loads(done.stdout.splitlines()[-1])
    for before, after in zip(here, there, strict=True):
        for name, value in before.items():
            assert after[name] == pytest.approx(value, rel=1e-2, abs=1e-3), name
