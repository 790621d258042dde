"""What Slicer's Python lets a module call, as recorded inside Slicer (`slicer_api.json`), for the classes used here.

The recording lists, per class, `properties` (name -> C++ type), `signals` and `slots` (with signature) and the
remaining Python-visible `names`; what every QWidget has stands under `qt.QWidget` alone. Names that Qt 5.15 lacks were
left out, as PyQt5 5.15 has them not. The classes in `seen_in_slicer_code` were not recorded: their few names are those
that Slicer's own modules and its extensions call.
"""

import json
from pathlib import Path

RECORDING = json.loads((Path(__file__).parent / "slicer_api.json").read_text(encoding="utf-8"))
CLASSES: dict[str, dict] = RECORDING["classes"]
MODULES: dict[str, list[str]] = RECORDING["modules"]
SIGNATURES: dict[str, list[str]] = RECORDING["signatures"]

# What every QObject has in PythonQt, beyond what a class recorded for itself (a layout, a timer, the application).
QOBJECT_NAMES = {
    "blockSignals",
    "children",
    "className",
    "connect",
    "deleteLater",
    "destroyed",
    "disconnect",
    "dynamicPropertyNames",
    "findChild",
    "findChildren",
    "inherits",
    "installEventFilter",
    "isWidgetType",
    "metaObject",
    "parent",
    "property",
    "removeEventFilter",
    "setObjectName",
    "setParent",
    "setProperty",
    "signalsBlocked",
}
NOT_WIDGETS = {
    "qt.QVBoxLayout",
    "qt.QHBoxLayout",
    "qt.QFormLayout",
    "qt.QGridLayout",
    "qt.QButtonGroup",
    "qt.QSettings",
    "qt.QTimer",
    "slicer.app",
}

_BY_CLASS_NAME = {name.split(".")[-1]: name for name in CLASSES}


def recorded_class(class_name: str) -> str | None:
    """Full name (`qt.QLabel`) of a class known by its Qt name (`QLabel`), None where it was not recorded."""
    return _BY_CLASS_NAME.get(class_name)


def module_names(module: str) -> set[str]:
    """What may follow `qt.`, `ctk.`, `slicer.` or `slicer.util.`: recorded classes, and the module's other names."""
    classes = {name.removeprefix(f"{module}.") for name in CLASSES if name.rpartition(".")[0] == module}
    modules = {name.removeprefix(f"{module}.") for name in MODULES if name.rpartition(".")[0] == module}
    return classes | modules | set(MODULES[module])


def properties(name: str) -> dict[str, str]:
    """Property -> C++ type of a recorded class, inherited ones included."""
    inherited = {"objectName": "QString"} if name in NOT_WIDGETS else CLASSES["qt.QWidget"]["properties"]
    return inherited | CLASSES[name]["properties"]


def _with_inherited(name: str, kind: str) -> set[str]:
    inherited = set() if name in NOT_WIDGETS else set(CLASSES["qt.QWidget"][kind])
    return inherited | set(CLASSES[name][kind])


def signals(name: str) -> set[str]:
    """Signatures of a recorded class's signals, `clicked(bool)`, inherited ones included."""
    return _with_inherited(name, "signals")


def slots(name: str) -> set[str]:
    """Signatures of a recorded class's slots, inherited ones included."""
    return _with_inherited(name, "slots")


def names(name: str) -> set[str]:
    """Everything that may follow the dot after an object of a recorded class; `name` is PythonQt's for objectName."""
    return _with_inherited(name, "names") | set(properties(name)) | QOBJECT_NAMES | {"name"}
