"""What Slicer's Python lets a module call, as recorded inside Slicer (`slicer_api.json`), for the classes used here.

The recording lists, per class, `properties` (name -> C++ type), `signals` and `slots` (with signature) and the
remaining Python-visible `names`; what every QWidget has stands under `qt.QWidget` alone, what every QObject has under
`names_of_every_object`. Names that Qt 5.15 lacks were left out, as PyQt5 5.15 has them not. The classes in
`seen_in_slicer_code` were not recorded: their few names are those that Slicer's own modules and its extensions call.
"""

import json
from functools import cache
from pathlib import Path

RECORDING = json.loads((Path(__file__).parent / "slicer_api.json").read_text(encoding="utf-8"))
CLASSES: dict[str, dict] = RECORDING["classes"]
MODULES: dict[str, list[str]] = RECORDING["modules"]
SIGNATURES: dict[str, list[str]] = RECORDING["signatures"]
_NOT_WIDGETS: list[str] = RECORDING["not_widgets"]

_BY_CLASS_NAME = {name.split(".")[-1]: name for name in CLASSES}


def recorded_class(class_name: str) -> str | None:
    """Full name (`qt.QLabel`) of a class known by its Qt name (`QLabel`), None where it was not recorded."""
    return _BY_CLASS_NAME.get(class_name)


def module_names(module: str) -> set[str]:
    """What may follow `qt.`, `ctk.`, `slicer.` or `slicer.util.`: recorded classes, and the module's other names."""
    inside = {name.removeprefix(f"{module}.") for name in (*CLASSES, *MODULES) if name.rpartition(".")[0] == module}
    return inside | set(MODULES[module])


@cache
def properties(name: str) -> dict[str, str]:
    """Property -> C++ type of a recorded class, inherited ones included."""
    inherited = {"objectName": "QString"} if name in _NOT_WIDGETS else CLASSES["qt.QWidget"]["properties"]
    return inherited | CLASSES[name]["properties"]


def signals(name: str) -> set[str]:
    """Signatures of a recorded class's signals, `clicked(bool)`, inherited ones included."""
    return _with_inherited(name, "signals")


def slots(name: str) -> set[str]:
    """Signatures of a recorded class's slots, inherited ones included."""
    return _with_inherited(name, "slots")


@cache
def names(name: str) -> set[str]:
    """Everything that may follow the dot after an object of a recorded class."""
    return _with_inherited(name, "names") | set(properties(name)) | set(RECORDING["names_of_every_object"])


@cache
def _with_inherited(name: str, kind: str) -> set[str]:
    inherited = () if name in _NOT_WIDGETS else CLASSES["qt.QWidget"][kind]
    return {*inherited, *CLASSES[name][kind]}
