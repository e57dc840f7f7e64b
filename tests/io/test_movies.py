"""Movies: every frame arrives, in order, in its colours."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest

from napari_flex3d.io.movies import write_movie


def read(path, shape):
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        path,
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, *shape, 3)


@pytest.mark.parametrize("shape", [(64, 96), (51, 77)])
def test_frames_come_back_in_order_and_colour(tmp_path, shape):
    colours = np.array(
        [[200, 30, 30], [30, 200, 30], [30, 30, 200], [220, 220, 220], [10, 10, 10]], dtype=np.uint8
    )
    write_movie(tmp_path / "movie.mp4", np.tile(colours[:, None, None], (1, *shape, 1)), fps=10)
    found = read(tmp_path / "movie.mp4", [n + n % 2 for n in shape])
    assert len(found) == 5
    inside = found[:, 4 : shape[0] - 4, 4 : shape[1] - 4].reshape(5, -1, 3).mean(1)
    assert np.abs(inside - colours).max() < 12  # H.264 keeps colours to a few levels
    assert [p.name for p in tmp_path.iterdir()] == ["movie.mp4"]


def test_no_frames_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_movie(tmp_path / "movie.mp4", np.zeros((0, 4, 4, 3), np.uint8))
    assert not (tmp_path / "movie.mp4").exists()
