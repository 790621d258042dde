"""What Slicer's Python lets a module call, as recorded inside Slicer (`slicer_api.json`), for the classes used here.

It lists, per class, `properties` (name -> C++ type), `signals` and `slots` (with signature) and other `names`; what
every QWidget has stands under `qt.QWidget` alone, what every QObject has under `names_of_every_object`. Names that Qt
5.15 lacks were left out. Of the classes in `seen_in_slicer_code` it has those names that modules of others call.
"""

import json
from functools import cache
from pathlib import Path

RECORDING = json.loads((Path(__file__).parent / "slicer_api.json").read_text(encoding="utf-8"))
CLASSES: dict[str, dict] = RECORDING["classes"]
MODULES: dict[str, list[str]] = RECORDING["modules"]
SIGNATURES: dict[str, list[str]] = RECORDING["signatures"]


def recorded_class(class_name: str) -> str | None:
    """Full name (`qt.QLabel`) of a class known by its Qt name (`QLabel`), None where it was not recorded."""
    return next((name for name in CLASSES if name.split(".")[-1] == class_name), None)


def module_names(module: str) -> set[str]:
    """What may follow `qt.`, `ctk.`, `slicer.` or `slicer.util.`: recorded classes, and the module's other names."""
    inside = {name.removeprefix(f"{module}.") for name in (*CLASSES, *MODULES) if name.rpartition(".")[0] == module}
    return inside | set(MODULES[module])


@cache
def properties(name: str) -> dict[str, str]:
    """Property -> C++ type of a recorded class, inherited ones included."""
    inherited = {"objectName": "QString"} if name in RECORDING["not_widgets"] else CLASSES["qt.QWidget"]["properties"]
    return inherited | CLASSES[name]["properties"]


@cache
def members(name: str, kind: str) -> set[str]:
    """A recorded class's "signals" or "slots", `clicked(bool)`, or "names", inherited ones included."""
    return {*CLASSES[name][kind], *(() if name in RECORDING["not_widgets"] else CLASSES["qt.QWidget"][kind])}


@cache
def names(name: str) -> set[str]:
    """Everything that may follow the dot after an object of a recorded class."""
    return members(name, "names") | set(properties(name)) | set(RECORDING["names_of_every_object"])
