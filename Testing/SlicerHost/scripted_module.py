"""Stand-ins of `slicer.ScriptedLoadableModule`, `slicer.i18n` and `slicer.packaging`."""

import sys
import unittest
from pathlib import Path

import slicer
from packaging.requirements import Requirement
from PySide6 import QtWidgets

from .pythonqt import native


class qSlicerScriptedLoadableModule:
    """A scripted module as Slicer holds it; the module's own class gets it as `parent`, to fill in its texts."""

    __slots__ = (
        "acknowledgementText", "associatedNodeTypes", "categories", "contributors", "dependencies", "helpText",
        "hidden", "icon", "index", "name", "path", "title", "_representation",
    )  # fmt: skip

    def __init__(self, path: Path):
        self.path, self.name, self.title, self._representation = str(path), path.stem, path.stem, None

    def widgetRepresentation(self):
        """The panel, made on the first call, on the scene of that time."""
        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget(self.name)
        return self._representation


class qSlicerScriptedLoadableModuleWidget:
    """The frame around a module's panel: a qMRMLWidget that also knows the panel, and whether the user is in it."""

    def __init__(self, module_name: str):
        self._module_name, self.isEntered = module_name, False
        self.frame = slicer.qMRMLWidget()
        QtWidgets.QVBoxLayout(native(self.frame)).setContentsMargins(0, 0, 0, 0)
        self.frame.setMRMLScene(slicer.mrmlScene)
        self.reload()

    def self(self):
        return self._panel

    def reload(self) -> None:
        """Make the panel anew, from its module's present code. As in Slicer, it is set up but not entered again."""
        class_name = f"{self._module_name}Widget"
        self._panel = getattr(sys.modules[self._module_name], class_name)(self)
        setattr(slicer.modules, class_name, self._panel)
        self._panel.setup()

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
