"""Finds texts of a widget tree that do not fit where they are shown."""

from PySide6 import QtCore, QtGui, QtWidgets


def clipped(root: QtWidgets.QWidget, width: int) -> list[str]:
    """One line for each visible text below `root` with less room than it needs, and for `root` being wider than asked.

    Looks at labels, buttons, check boxes, radio buttons and tabs. Whatever elides its text by itself (a list, a table,
    a combo box, a folder button) is left out.
    """
    found = []
    if root.width() > width:
        found.append(f"the panel is {root.width()} px wide, because of {_widest_row(root)}")
    for widget in root.findChildren(QtWidgets.QWidget):
        if not widget.isVisible() or isinstance(widget.parent(), QtWidgets.QAbstractItemView):
            continue
        needed, given, side = _needed_and_given(widget)
        if needed > given:
            found.append(f"{_name(widget)}: {needed} px {side} needed, {given} px there")
    return found


def _widest_row(widget: QtWidgets.QWidget) -> str:
    """What side by side makes a widget as wide as it is at least: the names of the parts, from the outside in."""
    parts = [each for each in _parts(widget) if _least_width(each) > 0]
    widest = max(parts, key=_least_width, default=None)
    if isinstance(widget, QtWidgets.QTabWidget):
        return f"{widest.objectName()}: {_widest_row(widest)}"
    if widest is None or _least_width(widest) < 0.7 * _least_width(widget):
        return " + ".join(f"{each.objectName()} ({_least_width(each)} px)" for each in parts) or widget.objectName()
    return _widest_row(widest) or widget.objectName()


def _parts(part) -> list:
    """Widgets and layouts in a widget's or layout's layout, without hidden ones; all pages of a tab widget."""
    if isinstance(part, QtWidgets.QTabWidget):
        return [part.widget(index) for index in range(part.count())]
    layout = part if isinstance(part, QtWidgets.QLayout) else part.layout()
    items = [layout.itemAt(index) for index in range(layout.count())] if layout else []
    parts = [item.widget() or item.layout() for item in items]
    return [part for part in parts if isinstance(part, QtWidgets.QLayout) or (part and not part.isHidden())]


def _least_width(part) -> int:
    if isinstance(part, QtWidgets.QLayout):
        return part.minimumSize().width()
    return max(part.minimumWidth(), part.minimumSizeHint().width())


def _needed_and_given(widget: QtWidgets.QWidget) -> tuple[int, int, str]:
    """Pixels that the widget's text needs, and has; (0, 0, …) for a widget without a text that could be clipped."""
    if isinstance(widget, QtWidgets.QLabel) and widget.text():
        if widget.wordWrap():
            return widget.heightForWidth(widget.width()), widget.height(), "high"
        return widget.sizeHint().width(), widget.width(), "wide"
    if isinstance(widget, QtWidgets.QTabBar):
        return widget.sizeHint().width(), widget.width(), "wide"
    if not isinstance(widget, QtWidgets.QAbstractButton) or not widget.text():
        return 0, 0, ""
    if type(widget.parent()).__name__ == "ctkDirectoryButton":
        return 0, 0, ""
    return _text_width(widget), _room(widget), "wide"


def _text_width(button: QtWidgets.QAbstractButton) -> int:
    text = button.fontMetrics().size(QtCore.Qt.TextFlag.TextShowMnemonic, button.text()).width()
    return text if button.icon().isNull() else text + button.iconSize().width() + 4


def _room(button: QtWidgets.QAbstractButton) -> int:
    """Width that the style leaves for the text of a button."""
    style, element = button.style(), QtWidgets.QStyle.SubElement
    if isinstance(button, QtWidgets.QToolButton):
        margin = style.pixelMetric(QtWidgets.QStyle.PixelMetric.PM_ButtonMargin, None, button)
        return button.width() - margin
    for kind, part in (
        (QtWidgets.QPushButton, element.SE_PushButtonContents),
        (QtWidgets.QCheckBox, element.SE_CheckBoxContents),
        (QtWidgets.QRadioButton, element.SE_RadioButtonContents),
    ):
        if isinstance(button, kind):
            option = QtWidgets.QStyleOptionButton()
            button.initStyleOption(option)
            return style.subElementRect(part, option, button).width()
    return button.width() - 24  # the header of a collapsible section, beside its arrow


def _name(widget: QtWidgets.QWidget) -> str:
    text = widget.text() if hasattr(widget, "text") else ""
    plain = QtGui.QTextDocumentFragment.fromHtml(text).toPlainText()
    return f"{type(widget).__name__} '{widget.objectName()}' ({plain[:40]!r})"
