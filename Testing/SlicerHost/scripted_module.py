"""Stand-ins of `slicer.ScriptedLoadableModule`, `slicer.i18n` and `slicer.packaging`."""

import os
import sys
import unittest
from pathlib import Path
from types import ModuleType

import slicer
from packaging.requirements import Requirement
from PySide6 import QtCore, QtWidgets

from . import recording
from .pythonqt import native

installed: list[tuple[list[str], dict]] = []
"""What the functions of `slicer.packaging` were asked for; the host never installs anything."""


class qSlicerScriptedLoadableModule:
    """A scripted module as Slicer holds it; the module's own class gets it as `parent`, to fill in its texts."""

    __slots__ = (
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "name",
        "path",
        "title",
        "_python",
        "_representation",
    )

    def __init__(self, path: Path, python: ModuleType):
        self.path, self.name = str(path), path.stem
        self.title, self.helpText, self.acknowledgementText = path.stem, "", ""
        self.categories, self.contributors, self.dependencies = [], [], []
        self.hidden = False
        self._python, self._representation = python, None

    def widgetRepresentation(self):
        """The panel, made on the first call, on the scene of that time."""
        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget(getattr(self._python, f"{self.name}Widget"))
        return self._representation

    def forget_widget(self) -> None:
        """Of the host: the next `widgetRepresentation` makes a new panel."""
        self._representation = None


class qSlicerScriptedLoadableModuleWidget:
    """The frame around a module's panel: a qMRMLWidget that also knows the panel, and whether the user is in it."""

    def __init__(self, panel_class: type):
        self.frame = slicer.qMRMLWidget()
        QtWidgets.QVBoxLayout(native(self.frame)).setContentsMargins(0, 0, 0, 0)
        self.frame.setMRMLScene(slicer.mrmlScene)
        self.isEntered = False
        self.reload(panel_class)

    def self(self):
        return self._panel

    def reload(self, panel_class: type | None = None) -> None:
        """Make the panel anew, from its module's present code. As in Slicer, it is set up but not entered again."""
        panel_class = panel_class or getattr(sys.modules[type(self._panel).__module__], type(self._panel).__name__)
        self._panel = panel_class(self)
        setattr(slicer.modules, panel_class.__name__, self._panel)
        self._panel.setup()

    def __getattr__(self, name):
        return getattr(self.frame, name)


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, filename):
        return os.path.join(os.path.dirname(self.parent.path), "Resources", filename)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        page = docPage or self.moduleName
        return f'<p>See the <a href="https://slicer.readthedocs.io/{page}">documentation</a>.</p>'

    def runTest(self, msec=100, **kwargs):
        raise NotImplementedError("the host runs the module's test class itself")


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        self.developerMode = False
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
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", filename)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        self.parent = parent
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self):
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        return found or self.createParameterNode()

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetName(self.moduleName)
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *args, **kwargs):
        super().__init__(*(args or ("runTest",)), **kwargs)

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        print(message)

    def runTest(self):
        """Run all tests of the module; the default does nothing."""


def load_requirements(path) -> list[Requirement]:
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def _ask_for(function: str, requirements, keywords: dict) -> None:
    unknown = set(keywords) - set(recording.SIGNATURES[f"slicer.packaging.{function}"])
    if unknown:
        raise TypeError(f"{function}() got an unexpected keyword argument '{unknown.pop()}'")
    installed.append(([str(requirement) for requirement in requirements], keywords))


def pip_ensure(requirements, **keywords) -> None:
    _ask_for("pip_ensure", requirements, keywords)


def pip_install(requirements, **keywords) -> None:
    _ask_for("pip_install", requirements, keywords)
    if keywords.get("completedCallback"):
        QtCore.QTimer.singleShot(0, lambda: keywords["completedCallback"](0))


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text


def make_modules() -> dict[str, ModuleType]:
    """The modules by name, each with names that Slicer has under it."""
    content = {
        "slicer.ScriptedLoadableModule": (
            ScriptedLoadableModule,
            ScriptedLoadableModuleLogic,
            ScriptedLoadableModuleTest,
            ScriptedLoadableModuleWidget,
        ),
        "slicer.i18n": (tr, translate),
        "slicer.packaging": (load_requirements, pip_ensure, pip_install),
    }
    modules = {}
    for name, members in content.items():
        modules[name] = ModuleType(name)
        modules[name].__all__ = [member.__name__ for member in members]
        for member in members:
            assert member.__name__ in recording.MODULES[name], member
            setattr(modules[name], member.__name__, member)
    return modules
