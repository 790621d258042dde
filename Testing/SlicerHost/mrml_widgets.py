"""Slicer's widgets that the panel uses, rebuilt on PySide6 on top of slicer-core's real scene."""

from functools import partial

import slicer
import vtk
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .pythonqt import stored_properties

_SCENE_EVENTS = ("NodeAdded", "NodeRemoved", "EndImport", "EndClose")
_ITEM_EVENTS = tuple(f"SubjectHierarchyItem{change}" for change in ("Added", "Removed", "Modified", "Reparented"))


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene and tells its children when it changes."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene; may offer "none", "create new" and "rename".

    A node is listed when it is of one of `nodeTypes` (derived types only with `showChildNodeTypes`) and not hidden.
    """

    locals().update(
        stored_properties(
            "slicer.qMRMLNodeComboBox", QtWidgets.QWidget, lambda self: self._list_nodes(),
            addEnabled=True, removeEnabled=True, showChildNodeTypes=True, selectNodeUponCreation=True,
            noneDisplay="None",
        )
    )  # fmt: skip
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._observers, self._listed, self._current_id = None, [], [], ""
        self._combo = QtWidgets.QComboBox(self)
        self._combo.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.activated.connect(self._on_activated)
        self.destroyed.connect(partial(_stop_observing, self._observers))
        self.setEnabled(False)

    def _put_size_adjust_policy(self, policy) -> None:
        self._combo.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy(policy))

    sizeAdjustPolicy = Property("QVariant", lambda self: self._combo.sizeAdjustPolicy(), _put_size_adjust_policy)
    currentNodeID = Property(str, lambda self: self._current_id, lambda self, node_id: self.setCurrentNodeID(node_id))

    def mrmlScene(self):
        return self._scene

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        _stop_observing(self._observers)
        _observe(self._observers, self._list_nodes, scene, _SCENE_EVENTS)
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
            self._choose(node_id)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self._listed[index] if 0 <= index < len(self._listed) else None)

    def nodeCount(self) -> int:
        return len(self._listed)

    def addNode(self, type_name: str | None = None):
        type_name = type_name or self.nodeTypes[0]
        node = self._scene.AddNewNodeByClass(type_name, self._scene.GenerateUniqueName(self.baseName or type_name))
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _fits(self, node) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if self.showChildNodeTypes:
            return any(node.IsA(type_name) for type_name in self.nodeTypes)
        return node.GetClassName() in self.nodeTypes

    def _choose(self, node_id: str) -> None:
        self._current_id = node_id
        self._show_current()
        self.currentNodeChanged.emit(self.currentNode())
        self.currentNodeIDChanged.emit(node_id)

    def _list_nodes(self, *_event) -> None:
        """List the fitting nodes anew; as in Slicer, the first to appear is chosen where "none" is not on offer."""
        first_time = not self._listed
        nodes = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self._scene else []
        self._listed = [node for node in nodes if self._fits(node)]
        kept = [node.GetID() for node in self._listed]
        if self._current_id and self._current_id not in kept:
            self._choose("")
        elif first_time and kept and not self._current_id and not self.noneEnabled:
            self._choose(kept[0])
        self._show_current()

    def _show_current(self) -> None:
        self._combo.clear()
        if self.noneEnabled:
            self._combo.addItem(self.noneDisplay, "")
        for node in self._listed:
            self._combo.addItem(node.GetName(), node.GetID())
        wanted = self._combo.findData(self._current_id)
        for option, text in (("renameEnabled", "Rename current node..."), ("addEnabled", "Create new node")):
            if self.property(option) and self._scene is not None:
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


class qMRMLSubjectHierarchyComboBox(QtWidgets.QComboBox):
    """Chooses an item of the subject hierarchy, by its id; 0 is none, also at first.

    `nodeTypes` lists nodes of these types and the folders with one inside; `setLevelFilter` only items of a level.
    """

    locals().update(
        stored_properties(
            "slicer.qMRMLSubjectHierarchyComboBox", QtWidgets.QComboBox, lambda self: self._list_items(),
            noneDisplay="None", defaultText="Select subject hierarchy item", showEmptyHierarchyItems=True,
        )
    )  # fmt: skip
    currentItemChanged = Signal(object)
    currentItemModified = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._observers, self._current, self._levels = None, [], 0, []
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        # As wide as its default text, as in Slicer, and not as what it lists.
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(len(self.defaultText) - 4)
        self.activated.connect(lambda index: self.setCurrentItem(self.itemData(index)))
        self.destroyed.connect(partial(_stop_observing, self._observers))

    def mrmlScene(self):
        return self._scene

    def subjectHierarchyNode(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene) if self._scene else None

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        _stop_observing(self._observers)
        _observe(self._observers, self._list_items, scene, _SCENE_EVENTS)
        _observe(self._observers, self._list_items, self.subjectHierarchyNode(), _ITEM_EVENTS)
        self._list_items()

    def currentItem(self) -> int:
        return self._current

    def setCurrentItem(self, item: int) -> None:
        item = item if self.findData(item) >= 0 else 0
        changed, self._current = item != self._current, item
        self.setCurrentIndex(self.findData(item))
        if changed:
            self.currentItemChanged.emit(item)

    def clearSelection(self) -> None:
        self.setCurrentItem(0)

    def setLevelFilter(self, levels) -> None:
        self._levels = list(levels)
        self._list_items()

    def _list_items(self, *_event) -> None:
        self.clear()
        self.setPlaceholderText(self.defaultText)
        if self.noneEnabled:
            self.addItem(self.noneDisplay, 0)
        hierarchy = self.subjectHierarchyNode()
        for item in _items_below(hierarchy, hierarchy.GetSceneItemID()) if hierarchy else []:
            if any(self._fits(hierarchy, each) for each in (item, *_items_below(hierarchy, item))):
                self.addItem(_path(hierarchy, item), item)
        self.setCurrentItem(self._current)

    def _fits(self, hierarchy, item: int) -> bool:
        node = hierarchy.GetItemDataNode(item)
        of_type = not self.nodeTypes or (node is not None and any(node.IsA(each) for each in self.nodeTypes))
        return of_type and (not self._levels or hierarchy.GetItemLevel(item) in self._levels)


def _items_below(hierarchy, item: int) -> list[int]:
    """All items below one, each before its own children."""
    found = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, found, True)
    return [found.GetId(index) for index in range(found.GetNumberOfIds())]


def _path(hierarchy, item: int) -> str:
    parent, name = hierarchy.GetItemParent(item), hierarchy.GetItemName(item)
    return name if parent in (0, hierarchy.GetSceneItemID()) else f"{_path(hierarchy, parent)} / {name}"


def _observe(observers: list, update, sender, events: tuple[str, ...]) -> None:
    """Call `update` at each of the sender's events; the list takes (sender, tag)."""
    for event in events if sender else ():
        observers.append((sender, sender.AddObserver(getattr(sender, f"{event}Event"), update)))


def _stop_observing(observers: list, *_) -> None:
    """Remove the observers (sender, tag) in the list, and empty it."""
    for sender, tag in observers:
        sender.RemoveObserver(tag)
    observers.clear()


CLASSES = (qMRMLNodeComboBox, qMRMLSubjectHierarchyComboBox, qMRMLWidget)
