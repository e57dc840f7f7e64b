import numpy as np
import pytest
import torch

from napari_flex3d.mesh import regular_mesh
from napari_flex3d.ops.elasticity import (
    _rigidity_energy,
    closest_rotation,
    deformation_gradient,
    inverted_cells,
    rigidity_energy,
    shape_gradients,
    stiffness,
)


@pytest.fixture(scope="module")
def block():
    mask = np.zeros((16, 16, 16), bool)
    mask[4:12, 3:13, 5:11] = True
    mesh, _ = regular_mesh(mask, 2.0, 8)
    vertices, cells = torch.from_numpy(mesh.vertices).double(), torch.from_numpy(mesh.cells)
    inverse, volume = shape_gradients(vertices, cells)
    return vertices, cells, inverse, volume / volume.mean()


def rotation(seed=0):
    random = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))[0]
    return turned * torch.linalg.det(turned)


def test_rigid_motion_costs_nothing(block):
    vertices, cells, inverse, weight = block
    moved = vertices @ rotation().T + torch.tensor([3.0, -5.0, 7.0])
    assert float(rigidity_energy(moved[None], cells, inverse, weight)) < 1e-8


def test_uniform_scale_costs_three_squares_per_weight(block):
    vertices, cells, inverse, weight = block
    energy = rigidity_energy(1.01 * vertices[None], cells, inverse, weight)
    assert float(energy) == pytest.approx(3 * 0.01**2 * float(weight.sum()), rel=1e-6)


def test_energy_is_the_deviation_of_the_singular_values(block):
    vertices, cells, inverse, weight = block
    random = torch.Generator().manual_seed(1)
    moved = vertices + 0.3 * torch.randn(vertices.shape, generator=random, dtype=torch.float64)
    gradient = deformation_gradient(moved[None], cells, inverse)[:, :, 0].movedim(-1, 0)
    exact = ((torch.linalg.svdvals(gradient) - 1).square().sum(-1) * weight).sum()
    assert float(rigidity_energy(moved[None], cells, inverse, weight)) == pytest.approx(
        float(exact), rel=1e-6
    )


def test_closest_rotation_has_determinant_one_also_for_inverted_and_flat_cells():
    matrices = torch.stack(
        [torch.diag(torch.tensor(d)) for d in ([1.0, 1, -1.2], [1, 2, 0], [0.1, 1, 1])], dim=-1
    )
    found = closest_rotation(matrices.double(), steps=12)
    for i in range(3):
        torch.testing.assert_close(found[..., i] @ found[..., i].T, torch.eye(3).double(), atol=1e-6, rtol=0)
        assert float(torch.linalg.det(found[..., i])) == pytest.approx(1)


def test_an_inverted_cell_costs_and_is_counted(block):
    vertices, cells, inverse, weight = block
    mirrored = vertices * torch.tensor([1.0, 1.0, -1.0])
    assert float(rigidity_energy(mirrored[None], cells, inverse, weight)) > 3 * float(weight.sum())
    counted = inverted_cells(deformation_gradient(mirrored[None], cells, inverse))
    assert int(counted) == len(cells)


def test_gradient_against_finite_differences(block):
    vertices, cells, inverse, weight = block
    random = torch.Generator().manual_seed(2)
    noise = 0.2 * torch.randn(vertices.shape, generator=random, dtype=torch.float64)
    moved = (vertices + noise)[None].requires_grad_()
    (found,) = torch.autograd.grad(rigidity_energy(moved, cells, inverse, weight).sum(), moved)
    along = torch.randn(moved.shape, generator=random, dtype=torch.float64)
    step = 1e-5
    ahead, behind = (
        rigidity_energy(moved.detach() + sign * step * along, cells, inverse, weight) for sign in (1, -1)
    )
    assert float((found * along).sum()) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-5)


def test_stiffness_is_the_curvature_of_the_energy_at_rest(block):
    vertices, cells, inverse, weight = block
    matrix = stiffness(cells, inverse, weight, len(vertices))
    small = 1e-4 * torch.randn(
        vertices.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    quadratic = small.flatten().numpy() @ (matrix @ small.flatten().numpy())
    energy = rigidity_energy((vertices + small)[None], cells, inverse, weight)
    assert float(energy) == pytest.approx(float(quadratic), rel=1e-3)
    shift = np.tile([1.0, 2.0, 3.0], len(vertices))
    assert np.abs(matrix @ shift).max() < 1e-10


def test_both_implementations_agree_also_where_cells_are_inverted(block):
    vertices, cells, inverse, weight = block
    random = torch.Generator().manual_seed(3)
    moved = vertices + 1.2 * torch.randn((3, *vertices.shape), generator=random, dtype=torch.float64)
    turned = deformation_gradient(moved, cells, inverse)
    assert (inverted_cells(turned) > 0).all()
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        results = []
        for function in (rigidity_energy, _rigidity_energy):
            at = moved.to(dtype).requires_grad_()
            energy = function(at, cells, inverse.to(dtype), weight.to(dtype))
            results.append((energy.detach(), torch.autograd.grad(energy.sum(), at)[0]))
        for found, expected in zip(*results, strict=True):
            assert float((found - expected).norm() / expected.norm()) < tolerance
