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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from . import application, parameter_node, pythonqt, recording, scripted_module, ui_loader, widgets


@dataclass(frozen=True)
class Panel:
    """A scripted module opened in the host: its Python module, description, widget class instance and frame."""

    python: ModuleType
    module: object
    widget: object
    frame: object

    def grab(self, path: Path, width: int = 420) -> None:
        """Save a picture of the panel."""
        native = pythonqt.native(self.frame)
        native.resize(width, max(native.sizeHint().height(), native.heightForWidth(width)))
        native.show()
        QtWidgets.QApplication.processEvents()
        native.resize(width, max(native.sizeHint().height(), native.heightForWidth(width)))
        QtWidgets.QApplication.processEvents()
        native.grab().save(str(path))

    def close(self) -> None:
        """What Slicer does with a panel when it quits."""
        self.widget.cleanup()
        self.module.forget_widget()
        pythonqt.native(self.frame).deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def start_host() -> application.Application:
    """Make `qt`, `ctk` and `slicer.app` … importable; a second call gives the application that is there."""
    if isinstance(getattr(slicer, "app", None), application.Application):
        return slicer.app
    qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    sys.modules["qt"] = _make_qt()
    sys.modules["ctk"] = pythonqt.make_module("ctk", widgets.NATIVE_CLASSES["ctk"], {})
    for name, native_class in widgets.NATIVE_CLASSES["slicer"].items():
        setattr(slicer, name, pythonqt.add_class(f"slicer.{name}", native_class))
    for name, module in {**scripted_module.make_modules(), **_parameter_node_module()}.items():
        sys.modules[name] = module
        setattr(slicer, name.split(".")[-1], module)
    for each in (scripted_module.qSlicerScriptedLoadableModule, scripted_module.qSlicerScriptedLoadableModuleWidget):
        setattr(slicer, each.__name__, each)
    slicer.app = application.Application(qt_application)
    if not hasattr(slicer, "modules"):
        slicer.modules = SimpleNamespace()
    return slicer.app


def _make_qt() -> ModuleType:
    recorded = [name.removeprefix("qt.") for name in recording.CLASSES if name.startswith("qt.")]
    others = {name: pythonqt.qt_class(name) for name in recording.MODULES["qt"] if name != "QUiLoader"}
    others["QUiLoader"] = ui_loader.QUiLoader
    return pythonqt.make_module("qt", {name: pythonqt.qt_class(name) for name in recorded}, others)


def _parameter_node_module() -> dict[str, ModuleType]:
    return {"slicer.parameterNodeWrapper": parameter_node.make_module()}


def load_module(path: Path) -> tuple[ModuleType, object]:
    """Import a scripted module's file as Slicer does; gives its Python module, and it as `slicer.modules` has it."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    python = importlib.util.module_from_spec(specification)
    sys.modules[name] = python
    specification.loader.exec_module(python)
    module = scripted_module.qSlicerScriptedLoadableModule(path, python)
    instance = getattr(python, name)(module)
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.modules, f"{name}Instance", instance)
    slicer.app.complete_startup()
    return python, module


def open_panel(path: Path) -> Panel:
    """Load a scripted module and open its panel on the present scene."""
    python, module = load_module(path)
    frame = module.widgetRepresentation()
    frame.isEntered = True
    frame.self().enter()
    return Panel(python, module, frame.self(), frame.frame)
