"""The maps' prior: how much of each shell is signal is read from two halves of the particles."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from napari_flex3d.fit.density import LEAST_SIGNAL, _weights_and_signal
from napari_flex3d.ops.fourier import radii, shells
from napari_flex3d.ops.projection import place, project, rigid_body
from napari_flex3d.particles import ParticleBatch

BOX, IMAGES, NOISE, LIMIT = 32, 600, 900.0, 0.4


class MadeParticles:
    """Images of a map from all sides in white noise; what `_weights_and_signal` asks of `Particles`."""

    def __init__(self, volume, mask):
        self.box_size = BOX
        self.noise = np.full(BOX // 2 + 1, NOISE, dtype=np.float32)
        self.number = np.arange(IMAGES)
        self._generator = torch.Generator().manual_seed(1)
        self._turn = torch.from_numpy(Rotation.random(IMAGES, random_state=2).as_matrix()).float()
        z, y, x = torch.nonzero(mask, as_tuple=True)
        self._body = rigid_body(torch.stack([x, y, z], -1).float() - BOX // 2)
        self._values = volume[mask][self._body.order]

    def batch(self, rows):
        turn = self._turn[rows]
        seen = project(self._values, place(turn, self._body.vertices[None], 1.0), self._body, BOX)
        noise = torch.randn(len(rows), BOX, BOX, generator=self._generator) * NOISE**0.5 / BOX
        return ParticleBatch(seen + torch.fft.rfft2(noise), torch.ones_like(seen), turn)


def found_signal(strength):
    """Signal to noise in each shell as it is found, as it is, and shells that count."""
    axis = torch.arange(float(BOX)) - BOX // 2
    mask = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2) < (BOX / 3) ** 2
    random = torch.randn(BOX, BOX, BOX, generator=torch.Generator().manual_seed(0))
    falling = torch.fft.rfftn(random) * strength / (1 + (10 * radii(BOX, 3)) ** 2)
    volume = torch.fft.irfftn(falling, s=random.shape) * mask
    made = MadeParticles(volume, mask)
    setup = SimpleNamespace(particles=made, train=np.arange(IMAGES), mask=mask, weighed=IMAGES)
    weights, signal = _weights_and_signal(setup, LIMIT)
    shell = shells(BOX, 3)

    def mean(values):
        return torch.bincount(shell.flatten(), values.double().flatten()) / torch.bincount(shell.flatten())

    power = mean(torch.fft.rfftn(volume).abs().square()) / mask.float().mean()  # as if it filled the box
    count = int(0.9 * LIMIT * BOX)
    return signal[2:count].double(), (power * mean(weights))[2:count]


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0])
def test_signal_of_the_map_is_found_in_each_shell(strength):
    """What two halves agree on, against the power of the map times the weight of the images."""
    found, true = found_signal(strength)
    told = (true > 2) & (true < 300)  # less is lost in chance; an agreement of 0.999 and more counts as 0.999
    assert int(told.sum()) >= 3
    ratio = (found / true)[told]
    assert float(ratio.min()) > 0.5
    assert float(ratio.max()) < 1.5
    assert 0.7 < float(ratio.mean()) < 1.2
    beyond = true >= 300
    assert bool((found[beyond] > 100).all())


def test_noise_alone_has_no_signal():
    """Chance makes two halves agree a little: by 1 over the root of a shell's coefficients."""
    found, _ = found_signal(0.0)
    assert float(found.min()) >= LEAST_SIGNAL * 0.999
    assert float(found.max()) < 1
    assert float(found.mean()) < 0.3
