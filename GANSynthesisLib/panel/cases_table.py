"""A table of cases with state and message, of which only what has changed is touched."""

import qt

from GANSynthesisLib.presentation import _


class CasesTable:
    """Shows rows with the attributes name, state and message in a QTableWidget of three columns."""

    def __init__(self, table):
        self.table, self._shown = table, []
        header = table.horizontalHeader()
        header.setSectionResizeMode(2, qt.QHeaderView.Stretch)
        for column, width in enumerate((130, 70)):  # to fit the contents takes long with thousands of rows
            table.setColumnWidth(column, width)
        self._titles = {
            "waiting": _("Waiting"), "running": _("Running"), "done": _("Done"), "failed": _("Failed"),
        }  # fmt: skip

    def show(self, rows) -> None:
        """Show these rows, in place of those shown before."""
        wanted = [(row.name, self._titles.get(row.state, row.state), row.message) for row in rows]
        if len(wanted) != len(self._shown):
            self.table.setRowCount(len(wanted))
        self._shown = self._shown[: len(wanted)] + [None] * (len(wanted) - len(self._shown))
        for number, (old, new) in enumerate(zip(self._shown, wanted, strict=True)):
            if old != new:
                self._write(number, new)
                self._shown[number] = new

    def _write(self, number: int, texts: tuple[str, ...]) -> None:
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(texts[2] or text)
            self.table.setItem(number, column, item)
        if texts[2]:
            self.table.resizeRowToContents(number)
