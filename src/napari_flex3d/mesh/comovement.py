"""Parts that a finished training proposes: cells of its mesh that move together as rigid bodies do."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, identity

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.motion import Motion
from napari_flex3d.mesh.tetmesh import TetMesh

Doubles = NDArray[np.float64]

MOST = 8
"""Parts that are looked for at most when their number is not given."""

STABLE = 0.85
"""Agreement of parts between resampled particles from which they count as stable."""

GAIN = 0.6
"""One more part has to leave less than this share of the motion that was unexplained before."""

EXPLAINED = 0.05
"""Below this share of the inner motion nothing is left to explain."""

LEAST_MOTION = 0.2
"""Å; parts cannot be told where the inner motion is smaller."""

RESAMPLED = 8
SAMPLED_CELLS = 3000
STEPS = 15


@dataclass(frozen=True)
class Parts:
    """Parts of a mesh that move together.

    Parameters
    ----------
    part
        Part of each cell (C); the largest is number 0.
    stability
        For each number of parts that was tried: agreement (adjusted Rand index) of the parts with those of resampled
        particles; 1 is full, 0 what chance gives.
    unexplained
        Likewise: what the parts' rigid motions leave of the motion inside the particle, rms, as a share.
    """

    part: NDArray[np.int32]
    stability: dict[int, float] = field(default_factory=dict)
    unexplained: dict[int, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many parts there are."""
        return int(self.part.max()) + 1


def comoving_parts(motion: Motion, count: int | None = None, seed: int = 0) -> Parts:
    """Parts of a mesh, each as near as can be to a rigid body in all states.

    Parameters
    ----------
    motion
        The mesh and its displacements.
    count
        How many parts; None for the largest number that is stable and explains more than the one before.
    seed
        Of the resampling.

    Raises
    ------
    InputError
        If nothing moves inside the particle, or there are fewer distinct parts than asked for.

    Notes
    -----
    K-means with rigid motions (Kabsch 1976) in place of centres, the next body begun where the last ones fit worst.
    The number by stability under resampling (Ben-Hur et al. 2002) of the particles' states.
    """
    bodies = _Bodies.of(motion)
    random = np.random.default_rng(seed)
    growth = bodies.grow(np.arange(bodies.states))
    drawn = [random.integers(bodies.states, size=bodies.states) for _ in range(RESAMPLED)]
    again = [bodies.grow(states) for states in drawn]
    for run in again:
        next(run)
    whole, left = next(growth)
    inner = float(np.sqrt(left))
    if inner < LEAST_MOTION:
        raise InputError(
            f"Parts cannot be told by this training: inside the particle it moves {inner:.2f} Å rms only. "
            "Train longer, or with a lower rigidity, or paint the segments."
        )
    found, tried = {1: whole}, Parts(whole)
    for number in range(2, (count or MOST) + 1):
        part, left = next(growth)
        if len(np.unique(part)) < number:
            break
        others = [next(run)[0] for run in again]
        found[number] = part
        tried.unexplained[number] = float(np.sqrt(left)) / inner
        tried.stability[number] = float(np.mean([_agreement(part, p, bodies.weight) for p in others]))
        if count is None and _is_enough(tried.unexplained):
            break
    best = count or _choose(tried)
    if best not in found:
        raise InputError(f"The motion of this training has {max(found)} distinct parts, not {best}.")
    return Parts(_largest_first(found[best], bodies.weight), tried.stability, tried.unexplained)


def _is_enough(unexplained: dict[int, float]) -> bool:
    """Whether more parts are not worth a try: all is explained, or two more parts in turn gained little."""
    left = [1.0, *unexplained.values()]
    return left[-1] < EXPLAINED or (
        len(left) > 3 and all(after > GAIN * before for before, after in itertools.pairwise(left[-3:]))
    )


def _choose(tried: Parts) -> int:
    """Take the largest number that is stable and gains on the one before; the most stable if none is."""
    best, before = 0, 1.0
    for number, score in tried.stability.items():
        if score >= STABLE and tried.unexplained[number] < GAIN * before:
            best = number
        before = tried.unexplained[number]
    return best or max(tried.stability, key=lambda n: (tried.stability[n], -n))


@dataclass(frozen=True)
class _Bodies:
    """Cells and their motion, laid out for fitting rigid bodies.

    Parameters
    ----------
    place
        Centres of the cells and a column of ones (C, 4), Å.
    moved
        Displacements of the centres (C, 3, L), Å.
    weight
        Volume of each cell over that of all (C).
    smooth
        Mean over a cell and its neighbours, (C, C) sparse.
    sample
        Cells that bodies are fitted to.
    """

    place: Doubles
    moved: Doubles
    weight: Doubles
    smooth: csr_matrix
    sample: NDArray[np.int64]

    @classmethod
    def of(cls, motion: Motion) -> "_Bodies":
        """Lay out a motion."""
        count = len(motion.cells)
        mesh = TetMesh(motion.vertices, motion.cells, np.ones(count, np.float32), np.zeros(count, np.int32))
        centre = mesh.vertices[mesh.cells].mean(1).astype(np.float64)
        moved = motion.displacements[:, mesh.cells].mean(2).transpose(1, 2, 0).astype(np.float64)
        volume = mesh.volumes().astype(np.float64)
        first, second = mesh.neighbours().T
        pairs = coo_matrix((np.ones(len(first)), (first, second)), (count, count))
        near = (identity(count) + pairs + pairs.T).tocsr()
        near = near.multiply(1 / np.asarray(near.sum(1))).tocsr()
        sample = np.arange(0, count, -(-count // SAMPLED_CELLS))
        place = np.column_stack([centre - centre.mean(0), np.ones(count)])
        return cls(place, np.ascontiguousarray(moved), volume / volume.sum(), near, sample)

    @property
    def states(self) -> int:
        """Number of states."""
        return self.moved.shape[2]

    def grow(self, states: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int32], float]]:
        """Parts (C) of 1, 2, 3, ... bodies in these states, and the mean square that they leave, Å²."""
        moved = np.ascontiguousarray(self.moved[:, :, states])
        bodies = [self._body(moved, self.sample)]
        while True:
            cost = self._costs(moved, bodies)
            part = (self.smooth @ (self.smooth @ cost)).argmin(1).astype(np.int32)
            yield part, float(self.weight @ cost[np.arange(len(part)), part])
            worst = int((self.smooth @ cost.min(1)).argmax())
            bodies.append(self._body(moved, self._around(worst, len(bodies) + 1)))
            bodies = self._settled(moved, bodies)

    def _settled(self, moved: Doubles, bodies: list[Doubles]) -> list[Doubles]:
        """Bodies after cells have gone to the one that fits them best, until none changes."""
        some, part = moved[self.sample], None
        for _ in range(STEPS):
            now = self._costs(some, bodies, self.sample).argmin(1)
            if part is not None and (now == part).all():
                break
            part = now
            bodies = [
                self._body(moved, self.sample[part == b]) if (part == b).sum() >= 4 else body
                for b, body in enumerate(bodies)
            ]
        return bodies

    def _around(self, cell: int, number: int) -> NDArray[np.int64]:
        """Sampled cells around one, as many as a fifth of a part has."""
        distance = np.square(self.place[self.sample] - self.place[cell]).sum(1)
        return self.sample[np.argsort(distance)[: max(8, len(self.sample) // (5 * number))]]

    def _body(self, moved: Doubles, cells: NDArray[np.int64]) -> Doubles:
        """Rigid motion of cells in every state: the affine map (4, 3, L) from place to displacement (Kabsch 1976)."""
        weight = self.weight[cells] / self.weight[cells].sum()
        place, shift = self.place[cells, :3], moved[cells]
        centre, mean = weight @ place, (weight @ shift.reshape(len(cells), -1)).reshape(3, -1)
        at = (place - centre) * weight[:, None]
        cross = (at.T @ shift.reshape(len(cells), -1)).reshape(3, 3, -1).transpose(2, 0, 1) + at.T @ place
        left, _, right = np.linalg.svd(cross)
        sign = np.linalg.det(left @ right)
        left[:, :, 2] *= sign[:, None]
        linear = left @ right - np.eye(3)  # row vectors: displacement = place @ linear + constant
        constant = mean.T - centre @ linear
        return np.concatenate([linear, constant[:, None]], axis=1).transpose(1, 2, 0)

    def _costs(
        self, moved: Doubles, bodies: list[Doubles], cells: NDArray[np.int64] | slice = slice(None)
    ) -> Doubles:
        """Mean square over states of what each body leaves of each cell's displacement, (C, bodies) Å²."""
        flat = moved.reshape(len(moved), -1)
        rest = [flat - self.place[cells] @ body.reshape(4, -1) for body in bodies]
        return np.stack([np.einsum("cl,cl->c", r, r) / moved.shape[2] for r in rest], axis=1)


def _agreement(first: NDArray[np.int32], second: NDArray[np.int32], weight: Doubles) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985) of two partitions of weighted cells."""
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), weight)
    both, one, other = (float(np.square(t).sum()) for t in (table, table.sum(1), table.sum(0)))
    chance, most = one * other, (one + other) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _largest_first(part: NDArray[np.int32], weight: Doubles) -> NDArray[np.int32]:
    order = np.argsort(-np.bincount(part, weight), kind="stable")
    return np.argsort(order)[part].astype(np.int32)
