"""CTK's widgets that the panel uses, rebuilt on PySide6 as far as it uses them."""

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal


class _Collapsing:
    """Hides the children of a checkable widget while it is not checked, and shows again only those that it hid."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._hidden = []
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(lambda _checked: self._show_contents())

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))

    def event(self, event):
        if event.type() in (QtCore.QEvent.Type.ChildPolished, QtCore.QEvent.Type.Show):
            self._show_contents()
        return super().event(event)

    def _show_contents(self) -> None:
        opened, widgets = self.isChecked(), self.findChildren(QtWidgets.QWidget, options=Qt.FindDirectChildrenOnly)
        changed = self._hidden if opened else [each for each in widgets if not each.isHidden()]
        self._hidden = [] if opened else self._hidden + changed
        for child in changed:
            child.setVisible(opened)
        self.setMaximumHeight(16777215 if opened else self._header_height())

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 10


class ctkCollapsibleGroupBox(_Collapsing, QtWidgets.QGroupBox):
    """A group box whose contents hide while it is `collapsed`."""


class ctkCollapsibleButton(_Collapsing, QtWidgets.QAbstractButton):
    """A titled header; its contents hide while `collapsed`."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(lambda opened: self.contentsCollapsed.emit(not opened))

    def paintEvent(self, _event):
        painter = QtWidgets.QStylePainter(self)
        option, arrow = QtWidgets.QStyleOptionButton(), QtWidgets.QStyleOption()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._header_height())
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, option.rect.center().y() - 6, 12, 12)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kind.PE_IndicatorArrowDown if self.isChecked() else kind.PE_IndicatorArrowRight, arrow)
        painter.drawText(option.rect.adjusted(24, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self.text())


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that can be typed; its button does nothing here."""

    currentPathChanged = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._edit, browse = QtWidgets.QComboBox(self), QtWidgets.QToolButton(self)
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        browse.setText("...")
        _lay_out(self, self._edit, browse)
        self._edit.editTextChanged.connect(self.currentPathChanged)

    currentPath = Property(str, lambda self: self._edit.currentText(), lambda self, path: self._edit.setEditText(path))


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder, or its `text`; a click does nothing here. As in CTK, `directorySelected` comes
    with every choice, and `directoryChanged` after it where it is another one."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        icon = self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DirIcon)
        self._button, self._folder = QtWidgets.QPushButton(icon, "", self), QtCore.QDir.currentPath()
        self._button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        _lay_out(self, self._button)

    def event(self, event):
        if event.type() in (QtCore.QEvent.Type.Resize, QtCore.QEvent.Type.DynamicPropertyChange):
            self._show_text()
        return super().event(event)

    def _show_text(self) -> None:
        text, room = self.property("text") or self._folder, max(self.width() - 40, 0)
        self._button.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, room))

    def _put_directory(self, directory: str) -> None:
        changed, self._folder = directory != self._folder, directory
        self._show_text()
        self.directorySelected.emit(directory)
        if changed:
            self.directoryChanged.emit(directory)

    directory = Property(str, lambda self: self._folder, _put_directory)


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit with a magnifying glass."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setClearButtonEnabled(True)
        self.setPlaceholderText("Search...")


def _lay_out(widget: QtWidgets.QWidget, *parts: QtWidgets.QWidget) -> None:
    """Put the parts side by side into a widget, without any room between them."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    for part in parts:
        layout.addWidget(part)


CLASSES = (ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkDirectoryButton, ctkPathLineEdit, ctkSearchBox)
