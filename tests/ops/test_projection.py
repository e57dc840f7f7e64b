import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_flex3d.ops.fourier import radii, rfft2
from napari_flex3d.ops.projection import Body, _numba, _torch, place, project, project_tangent, rigid_body

IMPLEMENTATIONS = ["torch", "numba"]


def direct_sum(values, vertices_px, body, box):
    """The definition, in float64: a sum over voxels of phases, image by image."""
    counts = (body.offsets[1:] - body.offsets[:-1]).long()
    corners = body.cells.long()[torch.repeat_interleave(torch.arange(len(counts)), counts)]
    ky = (torch.fft.fftfreq(box, dtype=torch.float64) * box).round()
    kx = torch.arange(box // 2 + 1, dtype=torch.float64)
    out = []
    for vertices in vertices_px.double():
        at = torch.einsum("na,nac->nc", body.weights.double(), vertices[corners])
        ey = torch.exp(-2j * torch.pi * ky[:, None] * at[:, 1] / box)
        ex = torch.exp(-2j * torch.pi * kx[:, None] * at[:, 0] / box)
        out.append((ey * values.double()) @ ex.T)
    return torch.stack(out)


def random_body(voxels=4000, vertices=60, cells=90, seed=0, dtype=torch.float32):
    """Voxels in random tetrahedra, some of which are empty."""
    random = torch.Generator().manual_seed(seed)
    rest = torch.rand(vertices, 3, generator=random) * 30 - 15
    corners = torch.stack([torch.randperm(vertices, generator=random)[:4] for _ in range(cells)])
    cell = torch.randint(0, cells - 10, (voxels,), generator=random)
    weights = torch.rand(voxels, 4, generator=random).to(dtype)
    weights = weights / weights.sum(1, keepdim=True)
    return Body.from_cells(rest, corners, cell, weights), random


def random_rotations(count, random):
    turned = torch.linalg.qr(torch.randn(count, 3, 3, generator=random))[0]
    return turned * torch.linalg.det(turned).sign()[:, None, None]


def relative(a, b):
    return float((a - b).abs().square().sum().sqrt() / b.abs().square().sum().sqrt())


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("box", [32, 40])
def test_agrees_with_the_direct_sum(implementation, box):
    body, random = random_body()
    values = torch.rand(4000, generator=random)
    placed = place(random_rotations(3, random), body.vertices[None], 1.0)
    exact = direct_sum(values, placed, body, box)
    inside = radii(box) <= 0.4
    found = project(values, placed, body, box, implementation=implementation)
    assert relative(found[:, inside], exact[:, inside]) < 0.005
    finer = project(values, placed, body, box, oversampling=2.0, implementation=implementation)
    assert relative(finer[:, inside], exact[:, inside]) < 0.0015


def test_implementations_agree():
    body, random = random_body()
    values = torch.randn(4000, generator=random)
    placed = place(random_rotations(2, random), body.vertices[None], 1.0)
    a, b = (project(values, placed, body, 32, implementation=i) for i in IMPLEMENTATIONS)
    assert relative(a, b) < 1e-5


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_density_that_leaves_the_frame_keeps_its_mass(implementation):
    body, random = random_body()
    values = torch.rand(4000, generator=random)
    placed = place(random_rotations(2, random), body.vertices[None] * 3, 1.0)
    mass = project(values, placed, body, 32, implementation=implementation)[:, 0, 0]
    torch.testing.assert_close(mass.real, values.sum().expand(2), rtol=1e-5, atol=0)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_mass_is_constant_under_any_flow(implementation):
    body, random = random_body()
    values = torch.rand(4000, generator=random)
    flow = torch.randn(5, len(body.vertices), 3, generator=random) * 4
    placed = place(random_rotations(5, random), body.vertices + flow, 1.0)
    mass = project(values, placed, body, 32, implementation=implementation)[:, 0, 0]
    torch.testing.assert_close(mass.real, values.sum().expand(5), rtol=1e-5, atol=0)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("oversampling", [1.0, 1.5])
def test_gradients_against_finite_differences(implementation, oversampling):
    body, random = random_body(voxels=12, vertices=6, cells=12, dtype=torch.float64)
    values = torch.rand(12, generator=random, dtype=torch.float64).requires_grad_()
    placed = place(random_rotations(2, random), body.vertices[None] / 3, 1.0).double().requires_grad_()

    def images(values, placed):
        return torch.view_as_real(project(values, placed, body, 12, oversampling, implementation))

    assert torch.autograd.gradcheck(images, (values, placed), eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gather_is_the_adjoint_of_spread(implementation):
    body, random = random_body(dtype=torch.float64)
    values = torch.randn(4000, generator=random, dtype=torch.float64).requires_grad_()
    placed = place(random_rotations(2, random), body.vertices[None], 1.0).double()
    images = project(values, placed, body, 32, implementation=implementation)
    other = torch.randn(images.shape, generator=random, dtype=torch.complex128)
    forward = (images.conj() * other).real.sum()
    (backward,) = torch.autograd.grad(forward, values)
    assert float(forward.detach()) == pytest.approx(float((values.detach() * backward).sum()), rel=1e-10)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_tangent_is_the_derivative_along_a_motion(implementation):
    body, random = random_body(dtype=torch.float64)
    values = torch.rand(4000, generator=random, dtype=torch.float64)
    placed = place(random_rotations(2, random), body.vertices[None], 1.0).double()
    motion = torch.randn(2, 3, len(body.vertices), 2, generator=random, dtype=torch.float64)
    found = project_tangent(values, placed, motion, body, 32, implementation=implementation)
    torch.testing.assert_close(found[:, 0], project(values, placed, body, 32, implementation=implementation))
    step = 1e-5
    for k in range(3):
        ahead, behind = (
            project(values, placed + sign * step * motion[:, k], body, 32, implementation=implementation)
            for sign in (1, -1)
        )
        assert relative(found[:, 1 + k], (ahead - behind) / (2 * step)) < 1e-5


def test_identity_is_the_sum_along_the_view():
    """Without rotation and flow, the projection of a map is its sum over z."""
    n = 16
    volume = torch.rand(n, n, n, generator=torch.Generator().manual_seed(1))
    axis = torch.arange(n) - n // 2
    points = torch.tensor(list(itertools.product(axis, axis, axis)))[:, [2, 1, 0]].float()
    body = rigid_body(points)
    placed = place(torch.eye(3)[None], body.vertices[None], 1.0)
    found = project(volume.flatten()[body.order], placed, body, n, oversampling=2.0)[0]
    inside = radii(n) <= 0.4
    assert relative(found[inside], rfft2(volume.sum(0))[inside]) < 0.002


def test_an_atom_lands_where_the_rotation_takes_it():
    """Worked numbers of formats.md 1.2: rot = 90 takes (10, 0, 0) to (0, -10, 0)."""
    from napari_flex3d.ops.fourier import irfft2
    from napari_flex3d.ops.rotations import from_euler

    rotation = torch.from_numpy(from_euler(torch.tensor([[torch.pi / 2, 0, 0]]).numpy())).float()
    body = rigid_body(torch.tensor([[10.0, 0, 0]]))
    image = irfft2(project(torch.ones(1), place(rotation, body.vertices[None], 1.0), body, 64))[0]
    row, column = divmod(int(image.argmax()), 64)
    assert (column - 32, row - 32) == (0, -10)


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return found


@pytest.mark.parametrize(("voxels", "images"), [(9000, 1), (400, 30)])
def test_memory_of_plain_torch_grows_neither_with_voxels_nor_with_images(voxels, images, monkeypatch):
    monkeypatch.setattr(_torch, "AT_ONCE", 1000)
    body, random = random_body(voxels)
    values = torch.randn(voxels, generator=random)
    placed = place(random_rotations(images, random), body.vertices[None], 1.0)
    motion = torch.randn(images, 2, len(body.vertices), 2, generator=random)
    with Largest() as largest:
        grids = _torch.tangent(values, placed, motion, body, 6, 8)
        parts = _torch.gather(grids[:, 0], values, placed, body, 6, 8, True, True)
    assert largest.elements <= max(16 * 1000, 4 * voxels)  # the taps of a part, or what belongs to the body
    for found, expected in zip(
        parts, _numba.gather(grids[:, 0], values, placed, body, 6, 8, True, True), strict=True
    ):
        assert relative(found, expected) < 1e-5


def test_a_subset_of_voxels_projects_as_if_the_others_were_zero():
    body, random = random_body()
    values = torch.rand(4000, generator=random)
    keep = torch.rand(4000, generator=random) > 0.5
    placed = place(random_rotations(2, random), body.vertices[None], 1.0)
    part = project(values[keep], placed, body.subset(keep), 32)
    torch.testing.assert_close(part, project(values * keep, placed, body, 32), rtol=1e-4, atol=1e-3)
