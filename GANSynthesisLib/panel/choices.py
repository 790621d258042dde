"""Fills combo boxes. The widgets come as arguments: nothing of Qt is imported here."""


def offer(comboBox, items: list[tuple[str, str]], chosen: str) -> str:
    """Fill a combo box with (title, data), choose the data given, else the first; returns the data chosen, or ""."""
    blocked = comboBox.blockSignals(True)
    if [(comboBox.itemText(index), comboBox.itemData(index)) for index in range(comboBox.count)] != items:
        comboBox.clear()
        for title, data in items:
            comboBox.addItem(title, data)
    comboBox.currentIndex = max(comboBox.findData(chosen), 0) if items else -1
    comboBox.blockSignals(blocked)
    return comboBox.currentData or ""
