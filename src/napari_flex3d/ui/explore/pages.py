"""Pages under tabs, as high as the page on show and no higher: the dock scrolls."""

from qtpy.QtWidgets import QTabBar, QToolButton, QVBoxLayout, QWidget


class Pages(QWidget):
    """Tabs, and one widget below them."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = QTabBar()
        self.bar.setExpanding(True)
        self.bar.setDrawBase(False)
        self.bar.setUsesScrollButtons(False)
        self.bar.setAccessibleName("Pages")
        for side, button in zip(("previous", "next"), self.bar.findChildren(QToolButton), strict=False):
            button.setAccessibleName(f"Scroll to {side} tabs")  # Qt makes them even where they are not used
            button.setToolTip(button.accessibleName())
        self._pages: dict[str, QWidget] = {}
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 2, 0, 0)
        self._column.addWidget(self.bar)
        self.bar.currentChanged.connect(self._on_tab)

    def add(self, name: str, tip: str, *widgets: QWidget) -> None:
        """Add a page of widgets, one below the other."""
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 4, 0, 0)
        for widget in widgets:
            column.addWidget(widget)
        self._pages[name] = page
        self._column.addWidget(page)
        page.setVisible(len(self._pages) == 1)
        self.bar.setTabToolTip(self.bar.addTab(name), tip)

    @property
    def shown(self) -> str:
        """Name of the page on show."""
        return self.bar.tabText(self.bar.currentIndex())

    def turn_to(self, name: str) -> None:
        """Show a page."""
        self.bar.setCurrentIndex(list(self._pages).index(name))

    def _on_tab(self, index: int) -> None:
        for k, page in enumerate(self._pages.values()):
            page.setVisible(k == index)
