"""Slicer's widgets that the panel uses, rebuilt on PySide6 on top of slicer-core's real scene."""

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Signal, Slot
from slicer.util import VTKObservationMixin, getNodesByClass, getSubjectHierarchyItemChildren

_SCENE_EVENTS = ("NodeAdded", "NodeRemoved", "EndImport", "EndClose")
_ITEM_EVENTS = tuple(f"SubjectHierarchyItem{change}" for change in ("Added", "Removed", "Modified", "Reparented"))


class qMRMLWidget(QtWidgets.QWidget):
    """A widget that passes the scene on to its children, as the `.ui` connects them."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene) -> None:
        self.mrmlSceneChanged.emit(scene)


class _SceneComboBox(QtWidgets.QComboBox):
    """Chooses from a part of the scene, listed anew with each change of the scene, its hierarchy or a property: what
    `_fitting()` gives, text and data. `none` stands for no choice; `_tell()` emits the signal of a kind of such boxes.
    """

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene, self._current, self._listed, observers = None, self.none, [], VTKObservationMixin()
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self.setProperty("noneDisplay", "None")
        self.activated.connect(lambda index: self._choose(self.itemData(index)))
        self.destroyed.connect(lambda: observers.removeObservers())
        self._observers = observers

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        self._observers.removeObservers()
        self._scene = scene
        if scene is not None:
            for sender, events in ((scene, _SCENE_EVENTS), (scene.GetSubjectHierarchyNode(), _ITEM_EVENTS)):
                for event in events:
                    self._observers.addObserver(sender, getattr(sender, f"{event}Event"), self._list)
        self._list()

    def event(self, event):
        if event.type() == QtCore.QEvent.Type.DynamicPropertyChange:
            self._list()
        return super().event(event)

    def _list(self, *_event) -> None:
        """List anew; what was chosen stays chosen while it is there."""
        fitting = [(self.property("noneDisplay"), self.none)] if self.property("noneEnabled") else []
        fitting += self._fitting() if self._scene else []
        if fitting != self._listed:
            self._listed = fitting
            self.clear()
            for text, data in fitting:
                self.addItem(text, data)
        self._choose(self._current)

    def _choose(self, data) -> None:
        data = data if self.findData(data) >= 0 else self.none
        changed, self._current = data != self._current, data
        self.setCurrentIndex(self.findData(data))
        if changed:
            self._tell()


class qMRMLNodeComboBox(_SceneComboBox):
    """Chooses a node of `nodeTypes` (derived ones only with `showChildNodeTypes`) that is not hidden, by its ID.

    Where "none" is not on offer, Slicer chooses the first to appear, and this one does not.
    """

    none = ""
    currentNodeChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setProperty("showChildNodeTypes", True)
        self.setPlaceholderText("Select a node")
        self.setEnabled(False)

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        super().setMRMLScene(scene)
        self.setEnabled(scene is not None)

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self._list()
        self._choose(node.GetID() if node is not None else self.none)

    def nodeCount(self) -> int:
        return self.count() - bool(self.property("noneEnabled"))

    def _fitting(self) -> list[tuple[str, str]]:
        types, derived = self.property("nodeTypes") or (), self.property("showChildNodeTypes")
        nodes = [node for each in types for node in getNodesByClass(each, self._scene)
                 if not node.GetHideFromEditors() and (derived or node.GetClassName() == each)]
        return [(node.GetName(), node.GetID()) for node in dict.fromkeys(nodes)]

    def _tell(self) -> None:
        self.currentNodeChanged.emit(self.currentNode())


class qMRMLSubjectHierarchyComboBox(_SceneComboBox):
    """Chooses an item of the subject hierarchy, by its id: nodes of `nodeTypes`, and folders with one inside."""

    none = 0
    currentItemChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setPlaceholderText("Select subject hierarchy item")
        # As wide as this text, as in Slicer, and not as what it lists.
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(len(self.placeholderText()) - 4)

    setCurrentItem = _SceneComboBox._choose

    def currentItem(self) -> int:
        return self._current

    def _fitting(self) -> list[tuple[str, int]]:
        hierarchy, types = self._scene.GetSubjectHierarchyNode(), self.property("nodeTypes")

        def fits(item: int) -> bool:
            node = hierarchy.GetItemDataNode(item)
            return not types or (node is not None and any(map(node.IsA, types)))

        items = getSubjectHierarchyItemChildren(recursive=True)
        below = {item: getSubjectHierarchyItemChildren(item, recursive=True) for item in items}
        return [(_path(hierarchy, item), item) for item in items if any(map(fits, (item, *below[item])))]

    def _tell(self) -> None:
        self.currentItemChanged.emit(self._current)


def _path(hierarchy, item: int) -> str:
    parent, name = hierarchy.GetItemParent(item), hierarchy.GetItemName(item)
    return name if parent in (0, hierarchy.GetSceneItemID()) else f"{_path(hierarchy, parent)} / {name}"


CLASSES = (qMRMLNodeComboBox, qMRMLSubjectHierarchyComboBox, qMRMLWidget)
