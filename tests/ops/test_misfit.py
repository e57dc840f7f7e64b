"""Misfit and Gauss-Newton equations: what projections laid down and compared one by one give."""

import pytest
import torch

from napari_flex3d.ops.misfit import misfit, normal_equations
from napari_flex3d.ops.projection import Body, place, project, project_tangent


@pytest.fixture(params=[(20, 1.5), (21, 1.5), (24, 1.0)], ids=["even", "odd", "no finer"])
def problem(request):
    box, oversampling = request.param
    random = torch.Generator().manual_seed(0)
    vertices = torch.rand(30, 3, generator=random, dtype=torch.float64) * 16 - 8
    cells = torch.stack([torch.randperm(30, generator=random)[:4] for _ in range(40)])
    weights = torch.rand(300, 4, generator=random, dtype=torch.float64)
    cell_of = torch.randint(0, 40, (300,), generator=random)
    body = Body.from_cells(vertices, cells, cell_of, weights / weights.sum(1, keepdim=True))
    rotation = torch.linalg.qr(torch.randn(3, 3, 3, generator=random, dtype=torch.float64))[0]
    placed = place(rotation, vertices[None], 1.0)
    values = torch.randn(300, generator=random, dtype=torch.float64)
    images = torch.randn(2, 3, box, box // 2 + 1, generator=random, dtype=torch.complex128)
    return values, placed, body, *images, oversampling


def as_written(values, placed, body, transform, transfer, oversampling):
    model = transfer * project(values, placed, body, transform.shape[-2], oversampling)
    return 0.5 * torch.view_as_real(transform - model).square().sum((-3, -2, -1))


def test_misfit_and_its_derivative(problem):
    values, placed, *rest = problem
    weight = torch.tensor([0.3, 1.0, -2.0], dtype=torch.float64)
    found = []
    for of in (misfit, as_written):
        inputs = values.clone().requires_grad_(), placed.clone().requires_grad_()
        loss = of(*inputs, *rest)
        found.append((loss.detach(), *torch.autograd.grad((loss * weight).sum(), inputs)))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(misfit(*problem), found[1][0])  # no derivative wanted


def test_normal_equations(problem):
    values, placed, body, transform, transfer, oversampling = problem
    motion = torch.randn(3, 2, 30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    box = transform.shape[-2]
    products = transfer[:, None] * project_tangent(values, placed, motion, body, box, oversampling)
    left = transform - products[:, 0]
    slopes = products[:, 1:]
    pull, precision = normal_equations(values, placed, motion, *problem[2:])
    torch.testing.assert_close(pull, torch.einsum("bkyx,byx->bk", slopes.conj(), left).real)
    torch.testing.assert_close(precision, torch.einsum("bkyx,blyx->bkl", slopes.conj(), slopes).real)
