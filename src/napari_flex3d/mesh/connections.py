"""Which segments are joined: lists such as ``0>1, 0>2, 2>3``, in CryoSPARC's words "fuse lists"."""

import re
from collections.abc import Iterable, Mapping, Sequence

from napari_flex3d.io.errors import InputError

Connection = tuple[int, int]
"""Parent and child: the second segment is joined to the first."""

NOTHING = "none"
"""What is written instead of a list when no segment is joined to another."""

_PAIR = re.compile(r"\s*(\d+)\s*>\s*(\d+)\s*")
_RULE = "The list must be one tree, root first."


def parse_connections(text: str, ids: Iterable[int]) -> list[Connection] | None:
    """Connections from text.

    Parameters
    ----------
    text
        ``0>1, 0>2, 2>3``: 1 and 2 are joined to 0, 3 to 2. Empty: nothing is said. ``none``: nothing is joined.
    ids
        The segments there are.

    Returns
    -------
    list or None
        In the given order; None when nothing is said.

    Raises
    ------
    InputError
        If the text is no such list, names a segment that is not there, or is not one tree with its root first; the
        message names the pair.

    Notes
    -----
    Segments that the list does not name are joined to nothing.
    """
    if not text.strip():
        return None
    if text.strip().lower() == NOTHING:
        return []
    pairs = []
    for part in re.split(r"[,;\n]", text):
        if found := _PAIR.fullmatch(part):
            pairs.append((int(found[1]), int(found[2])))
        elif part.strip():
            raise InputError(
                f'Connection "{part.strip()}" is no pair like 0>1. Give a list such as "0>1, 0>2, 2>3", or none.'
            )
    _check(pairs, sorted(ids))
    return pairs


def _check(pairs: Sequence[Connection], ids: Sequence[int]) -> None:
    parent: dict[int, int] = {}
    root = pairs[0][0] if pairs else -1
    for x, y in pairs:
        above = parent.keys() | {root}
        if unknown := [s for s in (x, y) if s not in ids]:
            wrong = f"{unknown[0]} is not in the segmentation {', '.join(map(str, ids))}"
        elif x == y:
            wrong = f"{x} cannot be joined to itself"
        elif y in parent:
            wrong = f"{y} already has a parent, {parent[y]}"
        elif x not in above:
            wrong = f"{x} is not joined to the root {root} before this pair"
        elif y == root:
            wrong = f"{y} is the root, so this would close a ring"
        else:
            parent[y] = x
            continue
        order = _breadth_first(pairs)
        hint = f' Write "{_text(order)}".' if len(order) == len(pairs) and not unknown else ""
        raise InputError(f'Connection "{x}>{y}": {wrong}. {_RULE}{hint}')


def write_connections(pairs: Sequence[Connection]) -> str:
    """Text of a list of connections that is one tree, breadth first as CryoSPARC wants it."""
    return _text(_breadth_first(pairs)) or NOTHING


def suggest_connections(borders: Mapping[Connection, int], volumes: Mapping[int, float]) -> list[Connection]:
    """Tree that joins what touches: from the largest segment outwards, each to the neighbour with the widest border.

    Parameters
    ----------
    borders
        Vertices that two segments have in common.
    volumes
        Volume of each segment.

    Returns
    -------
    list
        Breadth first. Segments that the largest does not reach are left out.
    """
    reached = {max(volumes, key=lambda s: (volumes[s], -s))} if volumes else set()
    pairs: list[Connection] = []
    while True:
        steps = [
            (count, parent, child)
            for pair, count in borders.items()
            for parent, child in (pair, pair[::-1])
            if parent in reached and child not in reached
        ]
        if not steps:
            return _breadth_first(sorted(pairs))
        _, parent, child = max(steps, key=lambda s: (s[0], -s[1], -s[2]))
        pairs.append((parent, child))
        reached.add(child)


def toggled(pairs: Iterable[Connection], pair: Connection, sizes: Mapping[int, float]) -> str:
    """Text of a list in which two segments are joined that were not, or are not joined that were.

    Parameters
    ----------
    pairs
        What is joined.
    pair
        The two.
    sizes
        Size of each segment: the tree begins at the largest. What hangs on nothing stands at the end, for
        `parse_connections` to name.
    """
    joined = {frozenset(p) for p in pairs} ^ {frozenset(pair)}
    order: list[Connection] = []
    for root in sorted({s for p in joined for s in p}, key=lambda s: (-sizes.get(s, 0.0), s)):
        row = [root]
        while row:
            at = row.pop(0)
            for other in sorted(next(iter(p - {at})) for p in joined if at in p):
                order.append((at, other))
                joined.discard(frozenset((at, other)))
                row.append(other)
    return _text(order) or NOTHING


def _breadth_first(pairs: Sequence[Connection]) -> list[Connection]:
    """Sort from the one root outwards; what is no part of such a tree is lost."""
    children: dict[int, list[int]] = {}
    for x, y in pairs:
        children.setdefault(x, []).append(y)
    roots = children.keys() - {y for _, y in pairs}
    if len(roots) != 1 or len({y for _, y in pairs}) < len(pairs):
        return []
    order, row = [], list(roots)
    while row:
        step = [(x, y) for x in row for y in children.get(x, [])]
        order += step
        row = [y for _, y in step]
    return order


def _text(pairs: Sequence[Connection]) -> str:
    return ", ".join(f"{x}>{y}" for x, y in pairs)
