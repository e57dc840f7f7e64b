"""Maps from the same noisy particles, by `relion_reconstruct` and by our rigid solver after prep."""

import warnings

import numpy as np
import pytest
import torch

from napari_flex3d.io.errors import InputWarning
from napari_flex3d.io.mrc import read_map
from napari_flex3d.mesh import voxel_positions
from napari_flex3d.ops.fourier import soft_edge
from napari_flex3d.ops.fsc import fsc
from napari_flex3d.ops.projection import rigid_body
from napari_flex3d.particles import Particles
from napari_flex3d.prep import PrepParams, prep
from napari_flex3d.reconstruct.problem import Problem, noise_weight
from napari_flex3d.reconstruct.solvers import method_named, solve
from tests.conftest import write_mrc
from tests.relion.conftest import BOX, PIXEL, write
from tests.relion.test_projection import changed, ours

COUNT = 500
NOISE = 3.0
"""Standard deviation of the noise over that of the images."""


def result_of(generator):
    while True:
        try:
            next(generator)
        except StopIteration as end:
            return end.value


def ball(radius, edge=4.0):
    """1 within a radius in voxels, soft outside."""
    axis = torch.arange(BOX) - BOX // 2
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).float().square().sum(0).sqrt()
    return soft_edge(distance, radius + edge / 2, edge)


def our_map(folder, path):
    out = folder / "prep"
    out.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        result_of(prep(PrepParams(particles=path, map=folder / "map.mrc"), out))
    particles = Particles.open(out, "full")
    mask = ball(26) > 0.5
    points = voxel_positions(np.argwhere(mask.numpy()), BOX, PIXEL)
    body = rigid_body(torch.from_numpy(points).float())
    rows, weight = np.arange(len(particles)), noise_weight(particles)
    rigid = Problem(particles, rows, body, None, weight)
    values = result_of(solve(rigid, method_named("cg", rigid, 0.5), 10))
    inside = torch.zeros(len(values))
    inside[body.order] = values
    volume = torch.zeros(mask.shape)
    volume[mask] = inside
    return volume


def shell_of_half(curve):
    """Shell at which the curve first falls below one half, by linear interpolation."""
    curve = curve.tolist()
    first = next(shell for shell, value in enumerate(curve) if value < 0.5)
    return first - (0.5 - curve[first]) / (curve[first - 1] - curve[first])


@pytest.mark.parametrize("name", ["plain", "groups"])
def test_maps_of_the_same_particles_agree(relion, tmp_path, density, name):
    """Equally far from the truth, to a shell at FSC 0.5; and nearer to each other than to the truth."""
    path = write(tmp_path, density, changed(COUNT, name))
    clean = ours(path, density)  # relion_project does not know the magnification
    noise = np.random.default_rng(1).normal(0, NOISE * clean.std(), clean.shape)
    write_mrc(tmp_path / "stack.mrcs", (clean + noise).astype(np.float32), PIXEL, stack=True)
    relion("relion_reconstruct", tmp_path, "--i", path.name, "--ctf", "--o", "reconstructed.mrc")
    around = ball(22)
    truth, mine = torch.from_numpy(density) * around, our_map(tmp_path, path) * around
    theirs = torch.from_numpy(read_map(tmp_path / "reconstructed.mrc").data) * around
    our_shell, their_shell, common = (
        shell_of_half(fsc(a, b)) for a, b in ((mine, truth), (theirs, truth), (mine, theirs))
    )
    print(f"FSC 0.5 at shell {our_shell:.2f} (ours), {their_shell:.2f} (RELION); of both maps {common:.2f}")
    assert 10 < their_shell < 25, "noise of a strength at which the comparison says something"
    assert abs(our_shell - their_shell) < 1
    assert common > their_shell + 8
