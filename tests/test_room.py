"""What a stage needs, counted on paper, and refusals before anything is allocated."""

from dataclasses import replace

import pytest

from napari_flex3d import room
from napari_flex3d.io.errors import InputError
from napari_flex3d.room import Need, Sizes

SIZES = Sizes(particles=100_000, train_box=128, crop_box=256, mask_share=0.07, vertices=1600)


def test_two_million_particles_of_box_128_fit_16_gigabytes():
    many = replace(SIZES, particles=2_000_000)
    assert room.of_training(many, epochs=16).memory < 16e9
    assert room.of_training(many, 16).memory - room.of_training(SIZES, 16).memory < 1.9e6 * 1000  # bytes each


@pytest.mark.parametrize(
    ("change", "what"),
    [({"particles": 200_000}, "disk"), ({"train_box": 192}, "memory"), ({"latent_dims": 5}, "device_memory")],
)
def test_more_of_it_needs_more(change, what):
    less, more = room.of_training(SIZES, 16), room.of_training(replace(SIZES, **change), 16)
    assert getattr(more, what) > getattr(less, what)


def test_what_does_not_fit_memory_is_refused_with_the_parameter_to_lower(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "available_memory", lambda: 2_000_000_000)
    need = Need(3_100_000_000, 0, 0)
    with pytest.raises(InputError, match=r"needs about 3.1 GB of memory, 2.0 GB are free.*train_box of prep"):
        room.check("train", need, replace(SIZES, train_box=256), tmp_path)
    with pytest.raises(InputError, match=r"crop_box of prep \(now 256\), say to 192"):
        room.check("reconstruct", need, SIZES, tmp_path)
    with pytest.raises(InputError, match=r"max_particles of prep \(now 50000000\)"):
        room.check("train", need, replace(SIZES, particles=50_000_000), tmp_path)


def test_what_does_not_fit_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "free_disk", lambda folder: 10_000_000)
    with pytest.raises(InputError, match=r"writes about 0.5 GB to .*, 10 MB are free there"):
        room.check("train", Need(1, 0, 500_000_000), SIZES, tmp_path / "not" / "yet")
    room.check("train", Need(1, 0, 5_000_000), SIZES, tmp_path)


def test_free_space_of_a_folder_to_be(tmp_path):
    assert room.free_disk(tmp_path / "a" / "b") > 0
    assert room.available_memory() > 0
