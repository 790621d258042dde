"""Stand-ins of `slicer.app`, `slicer.ScriptedLoadableModule`, `slicer.i18n`, `slicer.packaging` and file dialogs."""

import sys
import unittest
from pathlib import Path

import slicer
from packaging.requirements import Requirement
from PySide6 import QtCore, QtWidgets

from .pythonqt import native


class ModuleManager(QtCore.QObject):
    """`slicer.app.moduleManager()`."""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str):
        return getattr(slicer.modules, name.lower(), None)


class Application(QtWidgets.QApplication):
    """`slicer.app`: Qt's application, with what Slicer adds to it."""

    def __init__(self):
        super().__init__(["Slicer"])
        self.setApplicationName("Slicer")
        self._modules = ModuleManager()

    def testingEnabled(self) -> bool:
        return False

    def applicationLogic(self):
        return slicer.applicationLogic

    def layoutManager(self):
        """None: the host has no views."""

    def moduleManager(self) -> ModuleManager:
        return self._modules


class QFileDialog(QtWidgets.QFileDialog):
    """Its static functions answer at once with the next of `answers`, as PythonQt a path alone; "" as after Cancel."""

    answers: list = []

    @staticmethod
    def getSaveFileName(*_) -> str:
        return QFileDialog.answers.pop(0) if QFileDialog.answers else ""

    getExistingDirectory = getOpenFileName = getSaveFileName


class qSlicerScriptedLoadableModule:
    """A scripted module as Slicer holds it; the module's own class gets it as `parent`, to fill in."""

    __slots__ = (
        "acknowledgementText", "associatedNodeTypes", "categories", "contributors", "dependencies", "helpText",
        "hidden", "icon", "index", "name", "path", "title", "_representation",
    )  # fmt: skip

    def __init__(self, path: Path):
        self.path, self.name, self.title, self._representation = str(path), path.stem, path.stem, None

    def widgetRepresentation(self):
        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget(self.name)
        return self._representation


class qSlicerScriptedLoadableModuleWidget:
    """What is around a module's panel: `frame`, a qMRMLWidget; `widget`, the panel, which a reload makes anew."""

    def __init__(self, moduleName: str):
        self.moduleName, self.isEntered = moduleName, False
        self.frame = slicer.qMRMLWidget()
        QtWidgets.QVBoxLayout(native(self.frame)).setContentsMargins(0, 0, 0, 0)
        self.frame.setMRMLScene(slicer.mrmlScene)
        self.reload()

    def self(self):
        return self.widget

    def reload(self) -> None:
        """Make the panel anew, from its module's present code. As in Slicer, it is set up but not entered again."""
        class_name = f"{self.moduleName}Widget"
        self.widget = getattr(sys.modules[self.moduleName], class_name)(self)
        setattr(slicer.modules, class_name, self.widget)
        self.widget.setup()

    def close(self) -> None:
        """What Slicer does with a panel when it quits."""
        native(slicer.app.moduleManager()).moduleAboutToBeUnloaded.emit(self.moduleName)
        native(self.frame).deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)

    def __getattr__(self, name):
        return getattr(self.frame, name)


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent, self.layout = parent, parent.layout()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def setup(self):
        """Slicer builds its "Reload & Test" section here, in developer mode."""

    def cleanup(self):
        """Nothing to clean up; modules override it."""

    def resourcePath(self, filename):
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if found:
            return found
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(self.moduleName)
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message, requestedDelay=None, msec=None):
        print(message)


def load_requirements(path) -> list[Requirement]:
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def pip_ensure(requirements, **keywords) -> None:
    """The host installs nothing; a test says by a function of its own what pip does."""


pip_install = pip_ensure


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text
