"""Starts the host and opens a scripted module's panel in it.

    start_scene()                                                  # of SlicerHost.scene
    panel = open_panel(Path("GANSynthesis/GANSynthesis.py"))
    panel.widget.ui.applyButton.click()

The stand-ins are put where a module imports them from (`qt`, `ctk`, `slicer.app`, `slicer.i18n`, …); `slicer.util` and
all `vtkMRML` classes are the real ones of slicer-core.
"""

import importlib.util
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from . import application, ctk_widgets, mrml_widgets, parameter_node, pythonqt, recording, scripted_module
from .ui_loader import QUiLoader


@dataclass(frozen=True)
class Panel:
    """A scripted module opened in the host, as `slicer.modules` has it."""

    module: scripted_module.qSlicerScriptedLoadableModule

    @property
    def python(self) -> ModuleType:
        """The Python module, as it was loaded last."""
        return sys.modules[self.module.name]

    @property
    def widget(self):
        """The panel's widget class instance; a reload makes another."""
        return self.module.widgetRepresentation().self()

    @property
    def frame(self):
        """The Qt widget around the panel."""
        return self.module.widgetRepresentation().frame

    def grab(self, path: Path, width: int = 420) -> None:
        """Save a picture of the panel."""
        native = pythonqt.native(self.frame)
        native.show()
        for _ in range(2):  # what the width does to the height is known only once it is laid out
            native.resize(width, max(native.sizeHint().height(), native.heightForWidth(width)))
            QtWidgets.QApplication.processEvents()
        native.grab().save(str(path))

    def close(self) -> None:
        """What Slicer does with a panel when it quits."""
        pythonqt.native(slicer.app.moduleManager()).moduleAboutToBeUnloaded.emit(self.module.name)
        pythonqt.native(self.frame).deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def start_host():
    """Make `qt`, `ctk` and `slicer.app` … importable; a second call gives the application that is there."""
    if hasattr(slicer, "app"):
        return slicer.app
    parts, names = (QtCore, QtGui, QtWidgets), recording.module_names("qt")
    qt = {name: getattr(part, name) for part in parts for name in names if hasattr(part, name)}
    _provide("qt", qt | {"QFileDialog": application.QFileDialog, "QUiLoader": QUiLoader})
    _provide("ctk", {each.__name__: each for each in ctk_widgets.CLASSES})
    _provide("slicer", {each.__name__: each for each in mrml_widgets.CLASSES})
    stand_ins = vars(scripted_module) | vars(parameter_node)
    for name in (f"slicer.{each}" for each in ("ScriptedLoadableModule", "i18n", "packaging", "parameterNodeWrapper")):
        _provide(name, {each: stand_ins[each] for each in recording.MODULES[name] if each in stand_ins})
    for each in (scripted_module.qSlicerScriptedLoadableModule, scripted_module.qSlicerScriptedLoadableModuleWidget):
        setattr(slicer, each.__name__, each)
    pythonqt.add_class("slicer.app.moduleManager", application.ModuleManager)
    slicer.app = pythonqt.add_class("slicer.app", application.Application)()
    return slicer.app


def _provide(name: str, members: dict[str, object]) -> None:
    """Put stand-ins into a module, which is made where it is not there; as proxies where their class was recorded."""
    module = sys.modules.setdefault(name, ModuleType(name))
    for member_name, member in members.items():
        recorded = f"{name}.{member_name}"
        setattr(module, member_name, pythonqt.add_class(recorded, member) if recorded in recording.CLASSES else member)
    if name.startswith("slicer."):
        setattr(slicer, name.removeprefix("slicer."), module)


def open_panel(path: Path) -> Panel:
    """Import a scripted module's file as Slicer does, and open its panel on the present scene."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    python = sys.modules[path.stem] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(python)
    module = scripted_module.qSlicerScriptedLoadableModule(path)
    setattr(slicer.modules, f"{path.stem}Instance", getattr(python, path.stem)(module))
    setattr(slicer.modules, path.stem.lower(), module)
    panel = Panel(module)
    panel.module.widgetRepresentation().isEntered = True
    panel.widget.enter()
    return panel


def reload_panel(panel: Panel) -> None:
    """What Slicer's "Reload" does, by its own function: cleanup, the file imported anew, a new widget set up.

    As in Slicer, the library that the file imports is not imported anew, and the new widget is not entered.
    """
    slicer.util.reloadScriptedModule(panel.module.name)


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Let timers and clicks be handled until the condition holds; False where it does not within the time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.005)
    return bool(condition())
