"""Starts the host and opens a scripted module's panel in it.

The stand-ins are put where a module imports them from (`qt`, `ctk`, `slicer.app`, `slicer.i18n`, …); `slicer.util` and
all `vtkMRML` classes are the real ones of slicer-core.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from . import ctk_widgets, mrml_widgets, parameter_node, pythonqt, recording, scripted_module
from .ui_loader import QUiLoader


def start_host():
    """Make `qt`, `ctk` and `slicer.app` … importable; a second call gives the application that is there."""
    if hasattr(slicer, "app"):
        return slicer.app
    parts, names = (QtCore, QtGui, QtWidgets), recording.module_names("qt")
    qt = {name: getattr(part, name) for part in parts for name in names if hasattr(part, name)}
    _provide("qt", qt | {"QFileDialog": scripted_module.QFileDialog, "QUiLoader": QUiLoader})
    _provide("ctk", {each.__name__: each for each in ctk_widgets.CLASSES})
    _provide("slicer", {each.__name__: each for each in mrml_widgets.CLASSES})
    stand_ins = vars(scripted_module) | vars(parameter_node)
    for name in (f"slicer.{each}" for each in ("ScriptedLoadableModule", "i18n", "packaging", "parameterNodeWrapper")):
        _provide(name, {each: stand_ins[each] for each in recording.MODULES[name] if each in stand_ins})
    for each in (scripted_module.qSlicerScriptedLoadableModule, scripted_module.qSlicerScriptedLoadableModuleWidget):
        setattr(slicer, each.__name__, each)
    pythonqt.add_class("slicer.app.moduleManager", scripted_module.ModuleManager)
    slicer.app = pythonqt.add_class("slicer.app", scripted_module.Application)()
    return slicer.app


def _provide(name: str, members: dict[str, object]) -> None:
    """Put stand-ins into a module, which is made where it is not there; as proxies where their class was recorded."""
    module = sys.modules.setdefault(name, ModuleType(name))
    for member_name, member in members.items():
        recorded = f"{name}.{member_name}"
        setattr(module, member_name, pythonqt.add_class(recorded, member) if recorded in recording.CLASSES else member)
    if name.startswith("slicer."):
        setattr(slicer, name.removeprefix("slicer."), module)


def open_panel(path: Path) -> scripted_module.qSlicerScriptedLoadableModuleWidget:
    """Import a scripted module's file as Slicer does, and open its panel on the present scene."""
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    python = sys.modules[path.stem] = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(python)
    module = scripted_module.qSlicerScriptedLoadableModule(path)
    setattr(slicer.modules, f"{path.stem}Instance", getattr(python, path.stem)(module))
    setattr(slicer.modules, path.stem.lower(), module)
    panel = module.widgetRepresentation()
    panel.isEntered = True
    panel.self().enter()
    return panel


def handle_events(seconds: float = 0.0, until=lambda: False) -> bool:
    """What Qt's event loop does for some time, or until something holds; whether it does."""
    wake, end = QtCore.QTimer(interval=5), time.monotonic() + seconds
    wake.start()
    QtWidgets.QApplication.processEvents()
    while not until() and time.monotonic() < end:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    return bool(until())
