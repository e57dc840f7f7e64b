"""Meshes for ParaView and ChimeraX: VTK files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_flex3d.io.files import atomic

_VTK_TETRA = 10
_VTK_TYPES = {"f": "Float32", "i": "Int32", "u": "UInt8"}


def write_vtu(
    path: Path,
    vertices: NDArray[np.float32],
    cells: NDArray[np.int32],
    cell_data: dict[str, NDArray[Any]],
) -> None:
    """Write a mesh that ParaView opens: a VTK unstructured grid, as text.

    Parameters
    ----------
    vertices
        (P, 3), Å.
    cells
        (C, 4).
    cell_data
        One number per cell under each name.
    """
    count = len(cells)
    offsets = np.arange(1, count + 1, dtype=np.int32) * 4
    types = np.full(count, _VTK_TETRA, dtype=np.uint8)
    data = "".join(_array(name, values) for name, values in cell_data.items())
    text = (
        '<?xml version="1.0"?>\n<VTKFile type="UnstructuredGrid" version="0.1" byte_order="LittleEndian">\n'
        f'<UnstructuredGrid><Piece NumberOfPoints="{len(vertices)}" NumberOfCells="{count}">\n'
        f"<Points>{_array('positions', vertices)}</Points>\n"
        f"<Cells>{_array('connectivity', cells.reshape(-1))}{_array('offsets', offsets)}"
        f"{_array('types', types)}</Cells>\n"
        f"<CellData>{data}</CellData>\n</Piece></UnstructuredGrid></VTKFile>\n"
    )
    with atomic(path) as temporary:
        temporary.write_text(text)


def _array(name: str, values: NDArray[Any]) -> str:
    kind = _VTK_TYPES[values.dtype.kind]
    width = values.shape[1] if values.ndim == 2 else 1
    numbers = " ".join(f"{v:.7g}" if kind == "Float32" else str(v) for v in values.reshape(-1).tolist())
    return (
        f'<DataArray type="{kind}" Name="{name}" NumberOfComponents="{width}" format="ascii">'
        f"{numbers}</DataArray>\n"
    )
