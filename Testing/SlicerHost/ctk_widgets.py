"""CTK's widgets that the panel uses, rebuilt on PySide6 with properties and signals of the originals."""

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal, Slot

from .pythonqt import stored_properties


class _Collapsing:
    """Hides the children of a checkable widget while it is not checked, and shows again only those that it hid."""

    def _start_collapsing(self) -> None:
        self._hidden_by_collapse: list[QtWidgets.QWidget] = []
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(lambda _checked: self._show_contents())

    def childEvent(self, event):
        if event.type() == QtCore.QEvent.Type.ChildPolished:
            self._show_contents()
        super().childEvent(event)

    def showEvent(self, event):
        self._show_contents()
        super().showEvent(event)

    def _show_contents(self) -> None:
        if self.isChecked():
            for child in self._hidden_by_collapse:
                child.setVisible(True)
            self._hidden_by_collapse = []
            self.setMaximumHeight(16777215)
            return
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget) and not child.isHidden():
                child.setVisible(False)
                self._hidden_by_collapse.append(child)
        self.setMaximumHeight(self._header_height())

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 10


class ctkCollapsibleButton(_Collapsing, QtWidgets.QAbstractButton):
    """A titled header; its contents hide while `collapsed`."""

    locals().update(stored_properties("ctk.ctkCollapsibleButton", QtWidgets.QAbstractButton))
    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self._start_collapsing()
        self.toggled.connect(lambda opened: self.contentsCollapsed.emit(not opened))

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))

    def minimumSizeHint(self):
        size = super().minimumSizeHint().expandedTo(QtCore.QSize(0, self._header_height()))
        return self.layout().totalMinimumSize().expandedTo(size) if self.layout() and self.isChecked() else size

    def sizeHint(self):
        if self.layout() and self.isChecked():
            return self.layout().totalSizeHint()
        return QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text()) + 40, self._header_height())

    def hitButton(self, position):
        return position.y() < self._header_height()

    def paintEvent(self, _event):
        painter = QtWidgets.QStylePainter(self)
        header = QtCore.QRect(0, 0, self.width(), self._header_height())
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = header
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, header.center().y() - 6, 12, 12)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kind.PE_IndicatorArrowDown if self.isChecked() else kind.PE_IndicatorArrowRight, arrow)
        painter.drawText(header.adjusted(24, 0, 0, 0), Qt.AlignmentFlag.AlignVCenter, self.text())


class ctkCollapsibleGroupBox(_Collapsing, QtWidgets.QGroupBox):
    """A group box whose contents hide while it is `collapsed`."""

    locals().update(stored_properties("ctk.ctkCollapsibleGroupBox", QtWidgets.QGroupBox))

    def __init__(self, parent=None):
        super().__init__(parent)
        self._start_collapsing()

    collapsed = Property(bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value))


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that can be typed, or chosen with the button."""

    locals().update(
        stored_properties("ctk.ctkPathLineEdit", QtWidgets.QWidget, showBrowseButton=True, showHistoryButton=True)
    )
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        self._edit = QtWidgets.QComboBox(self)
        self._edit.setEditable(True)
        self._edit.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        layout.addWidget(self._edit)
        browse = QtWidgets.QToolButton(self)
        browse.setText("...")
        browse.clicked.connect(self.browse)
        layout.addWidget(browse)
        self._edit.editTextChanged.connect(self.currentPathChanged)

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._edit.setEditText(path)

    currentPath = Property(str, lambda self: self._edit.currentText(), setCurrentPath)

    def addCurrentPathToHistory(self) -> None:
        """Slicer keeps the history in its settings; the host has none."""

    def browse(self) -> None:
        self.setCurrentPath(QFileDialog.getOpenFileName() or self.currentPath)


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder, or its `text`, and lets another folder be chosen.

    As in CTK, `directorySelected` comes with every choice, and `directoryChanged` after it where it is another one.
    """

    locals().update(
        stored_properties("ctk.ctkDirectoryButton", QtWidgets.QWidget, lambda self: self._show_text(), text=None)
    )
    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        folder = self.style().standardIcon(QtWidgets.QStyle.StandardPixmap.SP_DirIcon)
        self._button, self._folder = QtWidgets.QPushButton(folder, "", self), QtCore.QDir.currentPath()
        self._button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Ignored, QtWidgets.QSizePolicy.Policy.Fixed)
        layout.addWidget(self._button)
        self._button.clicked.connect(self.browse)
        self._show_text()

    def resizeEvent(self, event):
        self._show_text()
        super().resizeEvent(event)

    def _show_text(self) -> None:
        text, room = getattr(self, "_text", None), max(self.width() - 40, 0)
        text = self._folder if text is None else text
        self._button.setText(self.fontMetrics().elidedText(text, Qt.TextElideMode.ElideMiddle, room))

    def _put_directory(self, directory: str) -> None:
        changed, self._folder = directory != self._folder, directory
        self._show_text()
        self.directorySelected.emit(directory)
        if changed:
            self.directoryChanged.emit(directory)

    directory = Property(str, lambda self: self._folder, _put_directory)

    def browse(self) -> None:
        chosen = QFileDialog.getExistingDirectory()
        if chosen:
            self._put_directory(chosen)


class ctkSearchBox(QtWidgets.QLineEdit):
    """A line edit with a magnifying glass."""

    locals().update(stored_properties("ctk.ctkSearchBox", QtWidgets.QLineEdit))

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setClearButtonEnabled(True)
        self.setPlaceholderText("Search...")


class QFileDialog(QtWidgets.QFileDialog):
    """Its static functions answer at once with what is next in `answers`, and nothing is as after Cancel.

    As in PythonQt, the chosen path comes alone, without the filter.
    """

    answers: list = []

    @staticmethod
    def getExistingDirectory(*_) -> str:
        return QFileDialog.answers.pop(0) if QFileDialog.answers else ""

    getOpenFileName = getSaveFileName = getExistingDirectory

    @staticmethod
    def getOpenFileNames(*_) -> list[str]:
        return QFileDialog.answers.pop(0) if QFileDialog.answers else []


CLASSES = (ctkCollapsibleButton, ctkCollapsibleGroupBox, ctkDirectoryButton, ctkPathLineEdit, ctkSearchBox)
