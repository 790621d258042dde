"""Stand-ins of `slicer.app`, and of what Slicer asks its user in windows of its own."""

import tempfile

import slicer
from PySide6 import QtCore, QtWidgets

from . import pythonqt, recording

questions: list[str] = []
"""Texts of the message boxes that would have been shown."""
answers: list = []
"""What the user clicks in the next message boxes; nothing is as a click on Cancel."""


class _Signal:
    def __init__(self):
        self._functions = []

    def connect(self, function) -> bool:
        self._functions.append(function)
        return True

    def disconnect(self, function) -> bool:
        known = function in self._functions
        if known:
            self._functions.remove(function)
        return known

    def emit(self, *arguments) -> None:
        for function in list(self._functions):
            pythonqt.guarded(function)(*arguments)


class _Sender:
    """Connects in PythonQt's manner."""

    def connect(self, signature: str, function) -> bool:
        return getattr(self, signature.split("(")[0]).connect(function)

    def disconnect(self, signature: str, function) -> bool:
        return getattr(self, signature.split("(")[0]).disconnect(function)


class ModuleManager(_Sender):
    """`slicer.app.moduleManager()`."""

    def __init__(self):
        self.moduleAboutToBeUnloaded = _Signal()

    def module(self, name: str):
        return getattr(slicer.modules, name.lower(), None)


class ModuleSelector:
    """The main window's list of modules: remembers which one was chosen."""

    selectedModule = ""

    def selectModule(self, name: str) -> None:
        if not (hasattr(slicer.modules, name.lower()) or name.lower() in recording.MODULES["slicer.modules"]):
            raise RuntimeError(f"Slicer has no module '{name}'")
        self.selectedModule = name


class Application(_Sender):
    """`slicer.app`; names that the recording lacks are refused, recorded ones fall through to Qt's application."""

    applicationName = "Slicer"
    temporaryPath = tempfile.gettempdir()

    def __init__(self, qt_application: QtWidgets.QApplication):
        self.startupCompleted, self.aboutToQuit, self.mrmlSceneChanged = _Signal(), _Signal(), _Signal()
        self._qt_application = qt_application
        self._testing = False
        self._modules = ModuleManager()
        self._settings = QtCore.QSettings()

    def testingEnabled(self) -> bool:
        return self._testing

    def set_testing(self, testing: bool) -> None:
        """Of the host: behave as `Slicer --testing` does."""
        self._testing = testing

    def mrmlScene(self):
        return slicer.mrmlScene

    def applicationLogic(self):
        return slicer.applicationLogic

    def layoutManager(self):
        """None: the host has no views."""

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def userSettings(self):
        return pythonqt.wrap(self._settings)

    settings = userSettings

    def topLevelWidgets(self) -> list:
        return [pythonqt.wrap(widget) for widget in self._qt_application.topLevelWidgets()]

    def connect(self, signature: str, function) -> bool:
        if signature not in recording.signals("slicer.app"):
            raise ValueError(f"slicer.app has no signal '{signature}'")
        return super().connect(signature, function)

    def complete_startup(self) -> None:
        """Of the host: what Slicer does once all modules are loaded; only once for each function."""
        started, self.startupCompleted = self.startupCompleted, _Signal()
        started.emit()

    def __getattr__(self, name):
        if name.startswith("_") or name not in recording.names("slicer.app"):
            raise AttributeError(f"slicer.app has no attribute '{name}'")
        return getattr(self._qt_application, name)


def message_box(text: str, parent=None, **_) -> QtWidgets.QMessageBox.StandardButton:
    """Stand-in of `slicer.util.messageBox`, behind all of Slicer's questions: answers at once."""
    questions.append(text)
    return answers.pop(0) if answers else QtWidgets.QMessageBox.StandardButton.Cancel


def keep_settings_apart() -> None:
    """`QSettings` in a folder that goes with Python, not the user's own."""
    folder = tempfile.TemporaryDirectory(prefix="SlicerHost-settings-")
    keep_settings_apart.folder = folder
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, folder.name)
    QtCore.QCoreApplication.setOrganizationName("SlicerHost")
