"""Stand-in of `slicer.app`: the recorded part of the application that a panel may ask for."""

import tempfile
from types import SimpleNamespace

import slicer
from PySide6 import QtWidgets

from . import pythonqt, recording


class Application:
    """`slicer.app`; names that the recording lacks are refused, recorded ones fall through to Qt's application."""

    applicationName = "Slicer"

    def __init__(self, qt_application: QtWidgets.QApplication):
        self._qt_application = qt_application
        self._testing = False
        self._on_startup = []

    def testingEnabled(self) -> bool:
        return self._testing

    def set_testing(self, testing: bool) -> None:
        """Of the host: behave as `Slicer --testing` does."""
        self._testing = testing

    def mrmlScene(self):
        return slicer.mrmlScene

    def layoutManager(self):
        """None: the host has no views."""

    def moduleManager(self):
        return SimpleNamespace(module=lambda name: getattr(slicer.modules, name.lower(), None))

    def topLevelWidgets(self) -> list:
        return [pythonqt.wrap(widget) for widget in self._qt_application.topLevelWidgets()]

    @property
    def temporaryPath(self) -> str:
        return tempfile.gettempdir()

    def connect(self, signal: str, function) -> bool:
        if signal not in recording.signals("slicer.app"):
            raise ValueError(f"slicer.app has no signal '{signal}'")
        if signal == "startupCompleted()":
            self._on_startup.append(function)
        return True

    def complete_startup(self) -> None:
        """Of the host: what Slicer does once all modules are loaded."""
        for function in self._on_startup:
            function()

    def __getattr__(self, name):
        if name.startswith("_") or name not in recording.names("slicer.app"):
            raise AttributeError(f"slicer.app has no attribute '{name}'")
        return getattr(self._qt_application, name)
