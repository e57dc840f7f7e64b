"""Movies of frames: H.264 that browsers and slides play, or GIF."""

from pathlib import Path

import imageio_ffmpeg
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from .files import atomic


def write_movie(path: Path, frames: UInt8[ndarray, "frames height width 3"], fps: float = 15) -> None:
    """Write frames as an MP4 movie.

    Parameters
    ----------
    path
        The new file, .mp4.
    frames
        Red, green, blue; odd widths and heights are padded by one black line, as the codec asks.
    fps
        Frames per second.

    Raises
    ------
    ValueError
        If there are no frames.
    """
    if len(frames) == 0:
        raise ValueError(f"{path}: a movie needs at least one frame")
    height, width = frames.shape[1:3]
    padded = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    with atomic(path) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary),
            (padded.shape[2], padded.shape[1]),
            fps=fps,
            codec="libx264",
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-crf", "18", "-preset", "medium", "-movflags", "+faststart"],
        )
        writer.send(None)
        try:
            for frame in padded:
                writer.send(np.ascontiguousarray(frame))
        finally:
            writer.close()


def write_gif(path: Path, frames: UInt8[ndarray, "frames height width 3"], fps: float = 15) -> None:
    """Write frames as a GIF that plays round and round.

    Parameters
    ----------
    path
        The new file, .gif.
    frames
        Red, green, blue.
    fps
        Frames per second; GIF counts in hundredths of a second.

    Raises
    ------
    ValueError
        If there are no frames.
    """
    if len(frames) == 0:
        raise ValueError(f"{path}: a movie needs at least one frame")
    palette = Image.fromarray(frames[len(frames) // 2]).quantize(256)  # one for all, or colours would flicker
    pictures = [
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames
    ]
    with atomic(path) as temporary:
        pictures[0].save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=pictures[1:],
            duration=round(100 / fps) * 10,
            loop=0,
        )
