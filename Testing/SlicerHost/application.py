"""Stand-ins of `slicer.app`, and of what Slicer asks its user in windows of its own."""

import slicer
from PySide6 import QtCore, QtWidgets


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
    """Its static functions answer at once with what is next in `answers`, and nothing is as after Cancel.

    As in PythonQt, the chosen path comes alone, without the filter.
    """

    answers: list = []

    @staticmethod
    def getSaveFileName(*_) -> str:
        return QFileDialog.answers.pop(0) if QFileDialog.answers else ""

    getExistingDirectory = getOpenFileName = getSaveFileName
