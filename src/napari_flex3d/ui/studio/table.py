"""The table of segments: colour, number, name, mass and role."""

from typing import Any

from qtpy.QtCore import Qt, Signal  # type: ignore[attr-defined]
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QComboBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
)

from napari_flex3d.mesh.draft import Draft
from napari_flex3d.ui.studio.design import Design
from napari_flex3d.ui.studio.painting import color_of

NUMBER, NAME, MASS, ROLE = range(4)
ROLES = {"soft": "soft", "rigid": "rigid", "ignored": "ignored"}
TIPS = {
    "soft": "Bends as its density says.",
    "rigid": "Stays as it is: rigidity weight 20.",
    "ignored": "Is no segment: its voxels go to the neighbours.",
}
ROW = 24


class SegmentTable(QTableWidget):
    """Segments of a design; the row that is chosen is what the brush paints.

    Parameters
    ----------
    design
        The design.
    """

    chosen = Signal(int)
    """A segment was chosen."""

    def __init__(self, design: Design) -> None:
        super().__init__(0, 4)
        corner = self.findChild(QAbstractButton)
        corner.setToolTip("Select all segments.")
        corner.setAccessibleName("Select all segments")
        self.design = design
        self._mass: dict[int, float] = {}
        self._filling = False
        self.setHorizontalHeaderLabels(["", "Name", "kDa", "Role"])
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        side: Any = self.verticalHeader()
        side.hide()
        side.setDefaultSectionSize(ROW)
        header: Any = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemSelectionChanged.connect(self._on_choice)
        self.itemChanged.connect(self._on_name)
        design.changed.connect(self.fill)
        design.opened.connect(self.fill)
        design.drafted.connect(self._on_draft)
        self.fill()

    def fill(self) -> None:
        """Show the segments as they are."""
        ids = self.design.ids
        self._filling = True
        if ids != self.ids():
            old = [self._role_box(row) for row in range(self.rowCount())]
            self.setRowCount(len(ids))
            for row, segment in enumerate(ids):
                self._make_row(row, segment)
            for box in old:
                box.hide()  # Qt deletes it some time later
        for row, segment in enumerate(ids):
            self._at(row, NAME).setText(self.design.names.get(segment, ""))
            self._at(row, MASS).setText(self._mass_of(segment))
            self._role_box(row).setCurrentText(self.design.roles.get(segment, "soft"))
        if self.design.selected in ids:
            self.selectRow(ids.index(self.design.selected))
        else:
            self.clearSelection()
        header: Any = self.horizontalHeader()
        self.setFixedHeight(min(max(len(ids), 2), 6) * ROW + header.sizeHint().height() + 4)
        self._filling = False

    def _mass_of(self, segment: int) -> str:
        """Mass of a segment; none where nothing is painted, and a dash where its voxels are its neighbours'."""
        if segment in self._mass:
            return f"{self._mass[segment]:.0f}"
        return "–" if self.design.is_painted(segment) else "0"

    def ids(self) -> list[int]:
        """Segments of the rows."""
        return [int(self._at(row, NUMBER).text()) for row in range(self.rowCount())]

    def _at(self, row: int, column: int) -> Any:
        return self.item(row, column)

    def _role_box(self, row: int) -> Any:
        return self.cellWidget(row, ROLE)

    def _make_row(self, row: int, segment: int) -> None:
        patch = QPixmap(14, 14)
        patch.fill(QColor(color_of(segment)))
        number = QTableWidgetItem(QIcon(patch), str(segment))
        mass = QTableWidgetItem()
        mass.setToolTip(
            "<qt>Mass of the density above the contour, at 1.21 Å³ per Da. What nobody paints counts to the nearest "
            "segment; one that is ignored has none.</qt>"
        )
        for item in (number, mass):
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
        name = QTableWidgetItem()
        name.setToolTip("Double click to give the segment a name.")
        for column, item in ((NUMBER, number), (NAME, name), (MASS, mass)):
            self.setItem(row, column, item)
        box = QComboBox()
        for role in ROLES:
            box.addItem(role)
            box.setItemData(box.count() - 1, TIPS[role], Qt.ItemDataRole.ToolTipRole)
        box.setAccessibleName(f"Role of segment {segment}")
        box.setToolTip("Soft, rigid, or ignored; each says in the list what it means.")
        box.activated.connect(lambda _, s=segment, b=box: self.design.assign(s, b.currentText()))
        self.setCellWidget(row, ROLE, box)

    def _on_choice(self) -> None:
        rows = {index.row() for index in self.selectedIndexes()}
        if rows and not self._filling:
            segment = self.ids()[rows.pop()]
            self.design.selected = segment
            self.chosen.emit(segment)

    def _on_name(self, item: QTableWidgetItem) -> None:
        if not self._filling and item.column() == NAME:
            self.design.name(self.ids()[item.row()], item.text())

    def _on_draft(self, draft: Draft) -> None:
        self._mass = {s.id: s.mass_kDa for s in draft.facts}
        self.fill()
