"""Rows of CryoSPARC's datasets, written as numpy records: what was not touched has the same type and bytes."""

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.cs.container import Fields, read_fields
from napari_flex3d.io.cs.dataset import dataset_keys
from napari_flex3d.io.errors import InputError
from napari_flex3d.io.files import atomic

_COMPONENT = "components_mode_"


def write_fields(path: Path, fields: Fields) -> None:
    """Write columns as a .cs file of the numpy kind, one record a particle."""
    columns = {name: _plain(values) for name, values in fields.items()}
    count = len(next(iter(columns.values())))
    records = np.zeros(count, [(name, values.dtype, values.shape[1:]) for name, values in columns.items()])
    for name, values in columns.items():
        records[name] = values
    with atomic(path) as temporary, temporary.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # many fields need a newer version of the format, which CryoSPARC reads
        np.save(file, records)


def write_latents_cs(
    path: Path,
    uid: NDArray[np.integer],
    latents: NDArray[np.float32],
    source: Path | None = None,
    source_uid: NDArray[np.integer] | None = None,
    changed: Fields | None = None,
) -> None:
    """Write latents as CryoSPARC's 3DVA and 3DFlex do: ``components_mode_k/component`` and ``/value``.

    Parameters
    ----------
    uid
        Row key of each particle (N).
    latents
        (N, K).
    source
        Dataset whose other fields are kept; latents that it has are replaced by these. Passthrough files stay what
        they are.

    source_uid
        Key that each particle has there (N), where it is another one.
    changed
        Further fields (N), and those that differ from the source's.

    Raises
    ------
    InputError
        If the source lacks a particle.
    """
    fields: Fields = {"uid": uid.astype(np.uint64)}
    if source is not None:
        fields = read_fields(source)
        rows = _rows_of(source, dataset_keys(source, fields), uid if source_uid is None else source_uid)
        fields = {name: values[rows] for name, values in fields.items() if not name.startswith(_COMPONENT)}
        fields |= {"uid": uid.astype(np.uint64)}
    fields |= changed or {}
    for k, column in enumerate(latents.T):
        fields[f"{_COMPONENT}{k}/component"] = np.full(len(column), k, dtype="<u4")
        fields[f"{_COMPONENT}{k}/value"] = column.astype("<f4")
    write_fields(path, fields)


def _rows_of(path: Path, keys: NDArray[np.uint64], wanted: NDArray[np.integer]) -> NDArray[np.intp]:
    order = np.argsort(keys)
    place = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(keys) - 1)]
    missing = np.count_nonzero(keys[place] != wanted)
    if missing:
        raise InputError(
            f"{path} lacks {missing} of {len(wanted)} particles: it has changed since prep. Run flex3d prep again."
        )
    return place


def _plain(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Texts of a compressed file as bytes of one length."""
    return np.array(values.tolist(), dtype=np.bytes_) if values.dtype == object else values
