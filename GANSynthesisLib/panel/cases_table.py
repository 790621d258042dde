"""A table of cases, of which only what has changed is written, some rows at a time."""

import qt

from GANSynthesisLib.steps import ALONE, Steps

_STEP = 20  # rows written in one step

Cell = tuple[str, str]  # text, tool tip


class CasesTable:
    """Shows rows of cells in a QTableWidget whose last column wraps what it says; `poll()` goes on with many rows."""

    def __init__(self, table, widths: tuple[int, ...]):
        """widths: of the columns but the last, in pixels: to fit the contents takes long with thousands of rows."""
        self.table, self._shown, self._filling = table, [], None
        for column, width in enumerate(widths):
            table.setColumnWidth(column, width)
        table.horizontalHeader().setSectionResizeMode(len(widths), qt.QHeaderView.Stretch)

    @property
    def filled(self) -> bool:
        """Whether the table shows all that it is to show."""
        return self._filling is None

    def show(self, rows: list[tuple[Cell, ...]]) -> None:
        """Show these rows, in place of those shown before, or still to be shown; the first ones at once."""
        if len(rows) != len(self._shown):
            self.table.setRowCount(len(rows))
        self._shown = self._shown[: len(rows)] + [None] * (len(rows) - len(self._shown))
        self._filling = Steps(self._fill(rows))
        self.poll()

    def poll(self) -> None:
        """Write some more rows."""
        if self._filling is not None and self._filling.advance():
            self._filling = None

    def _fill(self, rows: list[tuple[Cell, ...]]):
        written = 0
        for number, (old, new) in enumerate(zip(list(self._shown), rows, strict=True)):
            if old == new:
                continue
            self._write(number, new)
            self._shown[number] = new
            written += 1
            if written % _STEP == 0:
                yield ALONE  # those who poll this have something else to do, too

    def _write(self, number: int, cells: tuple[Cell, ...]) -> None:
        for column, (text, tip) in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(tip)
            self.table.setItem(number, column, item)
        if cells[-1][0]:
            self.table.resizeRowToContents(number)
