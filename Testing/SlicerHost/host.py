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
from types import ModuleType, SimpleNamespace

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets

from . import application, ctk_widgets, mrml_widgets, parameter_node, pythonqt, recording, scripted_module, ui_loader


@dataclass(frozen=True)
class Panel:
    """A scripted module opened in the host: what `slicer.modules` has of it, and its widget representation."""

    module: object
    representation: object

    @property
    def python(self) -> ModuleType:
        """The Python module, as it was loaded last."""
        return sys.modules[self.module.name]

    @property
    def widget(self):
        """The panel's widget class instance; a reload makes another."""
        return self.representation.self()

    @property
    def frame(self):
        """The Qt widget around the panel."""
        return self.representation.frame

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
        slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(self.module.name)
        self.module.forget_widget()
        pythonqt.native(self.frame).deleteLater()
        QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete)


def start_host() -> application.Application:
    """Make `qt`, `ctk` and `slicer.app` … importable; a second call gives the application that is there."""
    if isinstance(getattr(slicer, "app", None), application.Application):
        return slicer.app
    qt_application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    application.keep_settings_apart()
    sys.modules["qt"] = _make_qt()
    sys.modules["ctk"] = pythonqt.make_module("ctk", {each.__name__: each for each in ctk_widgets.CLASSES}, {})
    for native_class in mrml_widgets.CLASSES:
        setattr(slicer, native_class.__name__, pythonqt.add_class(f"slicer.{native_class.__name__}", native_class))
    modules = scripted_module.make_modules() | {"slicer.parameterNodeWrapper": parameter_node.make_module()}
    for name, module in modules.items():
        sys.modules[name] = module
        setattr(slicer, name.split(".")[-1], module)
    for each in (scripted_module.qSlicerScriptedLoadableModule, scripted_module.qSlicerScriptedLoadableModuleWidget):
        setattr(slicer, each.__name__, each)
    slicer.app = application.Application(qt_application)
    slicer.util.messageBox = application.message_box
    selector = application.ModuleSelector()
    slicer.util.moduleSelector = lambda: selector
    if not hasattr(slicer, "modules"):
        slicer.modules = SimpleNamespace()
    return slicer.app


def _make_qt() -> ModuleType:
    recorded = [name.removeprefix("qt.") for name in recording.CLASSES if name.startswith("qt.")]
    stand_ins = {"QFileDialog": ctk_widgets.QFileDialog, "QUiLoader": ui_loader.QUiLoader}
    classes = {name: stand_ins.get(name) or pythonqt.qt_class(name) for name in recorded}
    others = {name: stand_ins.get(name) or pythonqt.qt_class(name) for name in recording.MODULES["qt"]}
    return pythonqt.make_module("qt", classes, others)


def load_module(path: Path):
    """Import a scripted module's file as Slicer does; gives it as `slicer.modules` has it."""
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
    return module


def open_panel(path: Path) -> Panel:
    """Load a scripted module and open its panel on the present scene."""
    module = load_module(path)
    representation = module.widgetRepresentation()
    representation.isEntered = True
    representation.self().enter()
    return Panel(module, representation)


def reload_panel(panel: Panel) -> None:
    """What Slicer's "Reload" does, by its own function: cleanup, the file imported anew, a new widget set up.

    As in Slicer, the library that the file imports is not imported anew, and the new widget is not entered.
    """
    slicer.util.reloadScriptedModule(panel.module.name)


def quit_slicer(panel: Panel) -> None:
    """What Slicer does when its user quits: the signal `aboutToQuit()`, then every module is unloaded."""
    slicer.app.aboutToQuit.emit()
    panel.close()


def wait_until(condition, seconds: float = 30.0) -> bool:
    """Let timers and clicks be handled until the condition holds; False where it does not within the time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 20)
        time.sleep(0.005)
    return bool(condition())
