"""Movies: every frame arrives, in order, in its colours."""

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from napari_flex3d.io.movies import write_gif, write_movie


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


def test_a_gif_has_every_frame_in_its_colours_and_plays_round_and_round(tmp_path):
    colors = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)
    middle = np.repeat(colors[[0, 1, 2]], 8, axis=0).reshape(4, 6, 3)
    frames = np.stack([np.broadcast_to(colors[0], (4, 6, 3)), middle, np.broadcast_to(colors[2], (4, 6, 3))])
    write_gif(tmp_path / "a.gif", frames, fps=20)
    with Image.open(tmp_path / "a.gif") as movie:
        assert (movie.n_frames, movie.info["duration"], movie.info["loop"]) == (3, 50, 0)
        for k, frame in enumerate(frames):
            movie.seek(k)
            difference = np.asarray(movie.convert("RGB"), int) - frame
            assert np.abs(difference).max() < 8
    with pytest.raises(ValueError, match="at least one frame"):
        write_gif(tmp_path / "b.gif", frames[:0])
