"""Fourier shell correlation, resolution, correction for the mask, local resolution."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from napari_flex3d.ops.fourier import irfft3, multiplicity, rfft3, shells, soft_edge


def fsc(
    map1: Float[Tensor, "*batch n n n"], map2: Float[Tensor, "*batch n n n"]
) -> Float[Tensor, "*batch shells"]:
    """Correlation of two maps in each Fourier shell 0 .. n//2.

    Notes
    -----
    Every frequency counts once: coefficients whose mirror image is not stored count twice. A shell in which
    either map is zero has correlation 0.
    """
    first, second = rfft3(map1), rfft3(map2)
    cross = _shell_sum((first * second.conj()).real)
    power = _shell_sum(_power(first)) * _shell_sum(_power(second))
    return torch.where(power > 0, cross / power.clamp_min(torch.finfo(torch.float64).tiny).sqrt(), 0.0).to(
        map1.dtype
    )


def resolution(
    curve: Float[Tensor, " shells"], box: int, pixel_size: float, threshold: float = 0.143
) -> float:
    """Resolution in Å at which a curve first falls below a threshold, interpolated between shells.

    Parameters
    ----------
    curve
        Correlation in shells 0, 1, ...
    box
        Side of the maps in pixels; shell ``s`` lies at ``box * pixel_size / s``.
    pixel_size
        Å.
    threshold
        Usually 0.143 for half-maps and 0.5 for a map against the truth.

    Returns
    -------
    float
        Å. Nyquist's if the curve never falls below the threshold; infinity if its first shell already is.
    """
    shell = float(_crossing(curve, threshold))
    return box * pixel_size / shell if shell > 0 else float("inf")


def _crossing(curves: Float[Tensor, "*batch shells"], threshold: float) -> Float[Tensor, "*batch"]:
    """Shell, between whole ones, at which each curve first falls below; 0 if at once, the last if never."""
    below = curves[..., 1:] < threshold
    last = below.int().argmax(-1, keepdim=True)  # the last shell that is still above
    high, low = (curves.gather(-1, last + more)[..., 0] for more in (0, 1))
    shell = last[..., 0] + (high - threshold) / (high - low)
    shell = torch.where(last[..., 0] == 0, 0.0, shell)
    return torch.where(below.any(-1), shell, curves.shape[-1] - 1.0)


def randomise_phases(
    volumes: Float[Tensor, "*batch n n n"], shell: int, generator: torch.Generator
) -> Float[Tensor, "*batch n n n"]:
    """Volumes whose phases from a shell on are those of white noise; amplitudes stay.

    Parameters
    ----------
    volumes
        Each gets phases of its own.
    shell
        The first shell that is randomised.
    generator
        On the CPU; the same state gives the same phases on every device.
    """
    transform = rfft3(volumes)
    noise = rfft3(torch.randn(volumes.shape, generator=generator, dtype=volumes.dtype).to(volumes.device))
    random = transform.abs() * (noise / noise.abs().clamp_min(torch.finfo(volumes.dtype).tiny))
    beyond = shells(volumes.shape[-1], 3, volumes.device) >= shell
    return irfft3(torch.where(beyond, random, transform))


def corrected_fsc(
    half1: Float[Tensor, "n n n"],
    half2: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    randomise_from: int | None = None,
    seed: int = 0,
) -> tuple[Float[Tensor, " shells"], Float[Tensor, " shells"], Float[Tensor, " shells"]]:
    """Correlation of half-maps without the mask, within it, and within it less what the mask itself brings.

    Parameters
    ----------
    half1, half2
        Half-maps.
    mask
        0 to 1, with a soft edge.
    randomise_from
        First shell with random phases. None: where the unmasked curve falls below 0.8, as RELION does.
    seed
        Of the random phases.

    Returns
    -------
    unmasked, masked, corrected
        The three curves.

    Notes
    -----
    Chen et al., Ultramicroscopy 2013, eq. 4: ``(masked - random) / (1 - random)`` with ``random`` the masked
    curve of the half-maps with random phases. Used from two shells beyond the first random one; nearer ones
    leak.
    """
    unmasked, masked = fsc(half1, half2), fsc(half1 * mask, half2 * mask)
    if randomise_from is None:
        below = torch.nonzero(unmasked[1:] < 0.8)
        randomise_from = int(below[0, 0]) + 1 if len(below) else len(unmasked)
    generator = torch.Generator().manual_seed(seed)
    random1, random2 = (randomise_phases(half, randomise_from, generator) * mask for half in (half1, half2))
    random = fsc(random1, random2)
    corrected = torch.where(random < 0.999, (masked - random) / (1 - random).clamp_min(1e-3), 0.0)
    near = torch.arange(len(masked), device=masked.device) < randomise_from + 2
    return unmasked, masked, torch.where(near, masked, corrected)


def local_resolution(
    half1: Float[Tensor, "n n n"],
    half2: Float[Tensor, "n n n"],
    mask: Float[Tensor, "n n n"],
    pixel_size: float,
    *,
    window: int | None = None,
    threshold: float = 0.5,
) -> Float[Tensor, "n n n"]:
    """Resolution about each voxel: the correlation of the half-maps within a window that moves over them.

    Parameters
    ----------
    half1, half2
        Half-maps.
    mask
        Voxels above 0 get a value, the others 0.
    pixel_size
        Å.
    window
        Diameter of the window in voxels, even. Smaller windows see more detail and are noisier. None: about
        seven times the resolution of the whole at 0.5, between 16 and 48.
    threshold
        Of the correlation. 0.5 is customary for windows, which hold few independent numbers.

    Returns
    -------
    Tensor
        Å; between Nyquist and the window's diameter.

    Notes
    -----
    Cardone, Heymann & Steven, J. Struct. Biol. 2013, with a soft round window. Computed on a grid of a sixth
    of the window and interpolated between (in frequency), so the cost does not depend on the window. A window
    blurs frequencies by about one over its diameter: an abrupt end of the signal is seen that much too fine.
    """
    if window is None:
        shell = float(_crossing(fsc(half1 * mask, half2 * mask), 0.5))
        window = 2 * round(min(max(7 * half1.shape[-1] / max(shell, 1.0), 16), 48) / 2)
    step, n = _step(window), half1.shape[-1]
    near = _nodes(mask, step)
    nodes = len(near)
    reach = window // 2
    margin = (reach, reach + nodes * step - n) * 3
    views = [torch.nn.functional.pad(half, margin) for half in (half1, half2)]
    for dim in range(3):
        views = [view.unfold(dim, window, 1) for view in views]
    soft = _round_window(window).to(half1)
    frequency = half1.new_ones((nodes, nodes, nodes))
    for part in torch.split(torch.nonzero(near), 64):
        z, y, x = (part * step).unbind(-1)
        curves = fsc(*(view[z, y, x] * soft for view in views))
        frequency[tuple(part.unbind(-1))] = _crossing(curves, threshold).clamp_min(1.0)
    size = (nodes - 1) * step + 1
    fine = torch.nn.functional.interpolate(
        frequency[None, None], (size,) * 3, mode="trilinear", align_corners=True
    )
    return torch.where(mask > 0, window * pixel_size / fine[0, 0, :n, :n, :n], 0.0)


def resolution_windows(mask: Float[Tensor, "n n n"], window: int) -> int:
    """How many windows `local_resolution` looks through: its time goes with them."""
    return int(_nodes(mask, _step(window)).sum())


def _step(window: int) -> int:
    return max(1, window // 6)


def _nodes(mask: Float[Tensor, "n n n"], step: int) -> Bool[Tensor, "nodes nodes nodes"]:
    """Which points of a grid of so many voxels are next to the mask."""
    n = len(mask)
    nodes = (n - 1) // step + 2
    wanted = torch.nn.functional.pad(mask > 0, (step, (nodes + 1) * step - n) * 3).float()
    pooled = torch.nn.functional.max_pool3d(wanted[None, None], 2 * step + 1, step)
    return pooled[0, 0, :nodes, :nodes, :nodes] > 0


def _round_window(size: int) -> Float[Tensor, "size size size"]:
    """1 within half the radius, falling to 0 as a cosine at the radius."""
    axis = (torch.arange(size) - size // 2).float()
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt() / (size / 2)
    return soft_edge(radius, 0.75, 0.5)


def _power(transform: Tensor) -> Tensor:
    return transform.real.square() + transform.imag.square()


def _shell_sum(values: Float[Tensor, "*batch n n half"]) -> Float[Tensor, "*batch shells"]:
    """Sum over each shell 0 .. n//2, mirror coefficients counted, in double precision."""
    n = values.shape[-2]
    shell = (
        shells(n, 3, values.device).clamp_max(n // 2 + 1).flatten()
    )  # the corners go into a shell of their own
    weighted = (values.double() * multiplicity(n, values.device)).flatten(-3)
    sums = weighted.new_zeros((*values.shape[:-3], n // 2 + 2))
    return sums.index_add_(-1, shell, weighted)[..., :-1]
