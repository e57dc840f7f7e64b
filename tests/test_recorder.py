"""Steps that are recorded and replayed; a made graph stands for a GPU's and computes from the tensors of its record."""

from contextlib import nullcontext

import pytest
import torch

from napari_flex3d.fit.recorder import FIRST, Drawn, Found, Recorder
from napari_flex3d.particles import ParticleBatch


class Model:
    """A step whose numbers tell every tensor that it is given, and the graph that repeats it."""

    def __init__(self):
        self.called = 0
        self.recorded = None

    def step(self, batch, drawn):
        self.called += 1
        self.recorded = batch, drawn, Found(told(batch, drawn), len(drawn.rows), [])
        return self.recorded[2]

    def replay(self):
        batch, drawn, found = self.recorded
        found.numbers.copy_(told(batch, drawn))


def told(batch, drawn):
    """Weighted sums of all that a step is given, in an order of its own."""
    donors, direction = drawn.trial
    parts = (
        batch.rotation,
        batch.transfer,
        batch.transform,
        drawn.others,
        drawn.noise,
        direction,
        donors,
        drawn.rows,
    )
    return torch.stack([abs(part).double().sum() for part in parts])


def given(seed, count=4):
    random = torch.Generator().manual_seed(seed)
    size = (count, 6, 4)
    images = [torch.randn(size, generator=random, dtype=torch.complex64) for _ in range(2)]
    rows, donors, others = (torch.randint(100, (n,), generator=random) for n in (count, count, 9))
    draw = [torch.randn(count, 2, generator=random) for _ in range(2)]
    batch = ParticleBatch(*images, torch.randn(count, 3, 3, generator=random))
    return batch, Drawn(rows, (donors, draw[0]), draw[1], others)


@pytest.fixture
def model(monkeypatch):
    model = Model()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: model)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext())
    return model


def test_replayed_steps_see_their_own_batch(model):
    recorder = Recorder(torch.device("cuda"))
    for seed in range(FIRST + 4):
        found = recorder(model.step, *given(seed))
        assert torch.equal(found.numbers, told(*given(seed)))
    assert model.called == FIRST + 1  # the last of them was recorded


def test_a_batch_of_another_size_is_done_as_it_is(model):
    recorder = Recorder(torch.device("cuda"))
    for seed in range(FIRST + 2):
        recorder(model.step, *given(seed))
    left_over = given(99, count=3)
    assert torch.equal(recorder(model.step, *left_over).numbers, told(*left_over))
    assert model.called == FIRST + 2


def test_the_cpu_records_nothing(model):
    recorder = Recorder(torch.device("cpu"))
    for seed in range(FIRST + 3):
        recorder(model.step, *given(seed))
    assert model.called == FIRST + 3
