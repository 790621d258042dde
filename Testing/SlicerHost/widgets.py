"""Slicer's and CTK's widgets that the panel uses, rebuilt on PySide6 with properties and signals of the originals."""

from functools import partial

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Qt, Signal, Slot


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled header; its contents hide while `collapsed`."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self._hidden_by_collapse: list[QtWidgets.QWidget] = []
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.toggled.connect(self._on_toggled)

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 10

    def _get_collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = Property(bool, _get_collapsed, _set_collapsed)

    def _on_toggled(self, opened: bool) -> None:
        self._show_contents()
        self.contentsCollapsed.emit(not opened)

    def childEvent(self, event):
        if event.type() == QtCore.QEvent.Type.ChildPolished:
            self._show_contents()
        super().childEvent(event)

    def showEvent(self, event):
        self._show_contents()
        super().showEvent(event)

    def _show_contents(self) -> None:
        """Hide all children of a collapsed button; show again only those that were hidden for that reason."""
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


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path that can be typed."""

    currentPathChanged = Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._edit = QtWidgets.QLineEdit(self)
        layout.addWidget(self._edit)
        self._edit.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    currentPath = Property(str, lambda self: self._edit.text(), setCurrentPath)


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and tells its children when it changes."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene; may offer "none", "create new" and "rename".

    A node is listed when it is of one of `nodeTypes` (derived types only with `showChildNodeTypes`) and not hidden.
    """

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._observers, self._listed = None, [], []
        self._node_types, self._base_name, self._none_display = [], "", "None"
        self._options = {
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "noneEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
        }
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)
        self._current_id = ""
        self.destroyed.connect(partial(_stop_observing, self._observers))
        self.setEnabled(False)

    def _option(name):  # noqa: N805 - makes a property while the class is being made
        def get(self):
            return self._options[name]

        def put(self, value):
            self._options[name] = value
            self._list_nodes()

        return Property(bool, get, put)

    addEnabled, removeEnabled, editEnabled = _option("addEnabled"), _option("removeEnabled"), _option("editEnabled")
    renameEnabled, noneEnabled, showHidden = _option("renameEnabled"), _option("noneEnabled"), _option("showHidden")
    showChildNodeTypes = _option("showChildNodeTypes")
    selectNodeUponCreation = _option("selectNodeUponCreation")

    def _put(name):  # noqa: N805
        def put(self, value):
            setattr(self, name, value)
            self._list_nodes()

        return put

    nodeTypes = Property("QStringList", lambda self: self._node_types, _put("_node_types"))
    baseName = Property(str, lambda self: self._base_name, _put("_base_name"))
    noneDisplay = Property(str, lambda self: self._none_display, _put("_none_display"))
    currentNodeID = Property(str, lambda self: self._current_id, lambda self, node_id: self.setCurrentNodeID(node_id))
    sizeAdjustPolicy = Property(int, lambda self: self._combo.sizeAdjustPolicy().value, lambda self, _: None)

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        _stop_observing(self._observers)
        self._scene = scene
        if scene is not None:
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent):
                self._observers.append((scene, scene.AddObserver(event, self._on_scene)))
        self.setEnabled(scene is not None)
        self._list_nodes()

    def currentNode(self):
        return self._scene.GetNodeByID(self._current_id) if self._scene and self._current_id else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id) -> None:
        self._list_nodes()
        node_id = node_id if node_id in [node.GetID() for node in self._listed] else ""
        if node_id != self._current_id:
            self._current_id = node_id
            self._show_current()
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self._listed[index] if 0 <= index < len(self._listed) else None)

    def nodeCount(self) -> int:
        return len(self._listed)

    def addNode(self, type_name: str | None = None):
        node = self._scene.AddNewNodeByClass(
            type_name or self._node_types[0], self._scene.GenerateUniqueName(self._base_name or self._node_types[0])
        )
        if self._options["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _fits(self, node) -> bool:
        if node.GetHideFromEditors() and not self._options["showHidden"]:
            return False
        if self._options["showChildNodeTypes"]:
            return any(node.IsA(type_name) for type_name in self._node_types)
        return node.GetClassName() in self._node_types

    def _on_scene(self, _caller, _event) -> None:
        self._list_nodes()

    def _list_nodes(self) -> None:
        """List the fitting nodes anew; as in Slicer, the first to appear is chosen where "none" is not on offer."""
        first_time = not self._listed
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self._scene else []
        self._listed = [node for node in nodes if self._fits(node)]
        kept = [node.GetID() for node in self._listed]
        if self._current_id and self._current_id not in kept:
            self._current_id = ""
            self.currentNodeChanged.emit(None)
            self.currentNodeIDChanged.emit("")
        elif first_time and self._listed and not self._current_id and not self._options["noneEnabled"]:
            self._current_id = kept[0]
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(self._current_id)
        self._show_current()

    def _show_current(self) -> None:
        self._combo.clear()
        if self._options["noneEnabled"]:
            self._combo.addItem(self._none_display, "")
        for node in self._listed:
            self._combo.addItem(node.GetName(), node.GetID())
        wanted = self._combo.findData(self._current_id)
        for option, text in (("renameEnabled", "Rename current node..."), ("addEnabled", "Create new node")):
            if self._options[option] and self._scene is not None:
                self._combo.addItem(text, option)
        self._combo.setCurrentIndex(wanted)
        if wanted < 0:
            self._combo.setPlaceholderText("Select a node")

    def _on_activated(self, index: int) -> None:
        chosen = self._combo.itemData(index)
        if chosen == "addEnabled":
            self.addNode()
        elif chosen == "renameEnabled":
            self._show_current()
        else:
            self.setCurrentNodeID(chosen)


def _stop_observing(observers: list, *_) -> None:
    """Remove the scene observers (scene, tag) in the list, and empty it."""
    for scene, tag in observers:
        scene.RemoveObserver(tag)
    observers.clear()


NATIVE_CLASSES = {
    "ctk": {"ctkCollapsibleButton": ctkCollapsibleButton, "ctkPathLineEdit": ctkPathLineEdit},
    "slicer": {"qMRMLWidget": qMRMLWidget, "qMRMLNodeComboBox": qMRMLNodeComboBox},
}
