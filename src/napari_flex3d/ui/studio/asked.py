"""What a design asks of its threads: the mesh of what is painted, and segments from elsewhere."""

import warnings
from dataclasses import dataclass

from napari_flex3d.io.errors import InputError
from napari_flex3d.io.segments import Segments
from napari_flex3d.mesh import MeshParams
from napari_flex3d.mesh.draft import Draft, Ground, draft
from napari_flex3d.mesh.labels import comovement_in_words, segments_of


@dataclass(frozen=True)
class Asked:
    """What a draft is made of: a copy, so that painting goes on meanwhile."""

    ground: Ground
    params: MeshParams
    segments: Segments | None


def draft_of(asked: Asked) -> tuple[Asked, Draft | Exception]:
    """Build the mesh that is asked for, or say why it cannot be."""
    try:
        return asked, draft(asked.ground, asked.params, asked.segments)
    except Exception as error:
        return asked, error


def proposal_of(asked: Asked) -> tuple[Asked, Segments, list[str]]:
    """Find segments in a file, the map or a training; and what is to be said of them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found, told = segments_of(asked.params, asked.ground)
    if found is None or not found.ids:
        raise InputError("There are no segments in it.")
    said = [comovement_in_words(told["comovement"]) + "."] if "comovement" in told else []
    return asked, found, said + [str(w.message) for w in caught]
