"""Loads a `.ui` file as Slicer does, but refuses widgets, properties and connections that Slicer's recording lacks.

Qt's own loader only warns about these, and PySide6's cannot wire signals of MRML types: the connections are made here.
"""

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets, recording
from .pythonqt import native, wrap

# Properties that every .ui may give a layout; Designer writes them in parts.
_LAYOUT_PROPERTIES = {
    "leftMargin",
    "topMargin",
    "rightMargin",
    "bottomMargin",
    "spacing",
    "horizontalSpacing",
    "verticalSpacing",
    "fieldGrowthPolicy",
    "labelAlignment",
    "formAlignment",
}

# What Designer writes beside properties: the page of a tab, the header of a table, the group of a button.
_ATTRIBUTES = {
    "title",
    "toolTip",
    "buttonGroup",
    "horizontalHeaderVisible",
    "horizontalHeaderStretchLastSection",
    "horizontalHeaderDefaultSectionSize",
    "horizontalHeaderMinimumSectionSize",
    "verticalHeaderVisible",
    "verticalHeaderDefaultSectionSize",
    "verticalHeaderMinimumSectionSize",
}


class QUiLoader:
    """Stand-in of `qt.QUiLoader`."""

    def load(self, file: QtCore.QFile):
        """The root widget of an opened `.ui` file; raises `ValueError` where the file asks for what Slicer lacks."""
        text = bytes(file.readAll().data())
        root = ElementTree.fromstring(text)
        problems = find_problems(root)
        if problems:
            raise ValueError(f"{file.fileName()}: " + "; ".join(problems))
        connections = [
            tuple(entry.findtext(part) for part in ("sender", "signal", "receiver", "slot"))
            for entry in root.iterfind("connections/connection")
        ]
        for section in root.findall("connections"):
            root.remove(section)
        for element in root.iter("widget"):
            if element.get("class").startswith(("ctk", "qMRML")):
                _translate_enumerations(element)
        loader = QtUiTools.QUiLoader()
        for widget_class in (*ctk_widgets.CLASSES, *mrml_widgets.CLASSES):
            loader.registerCustomWidget(widget_class)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        widget = loader.load(buffer)
        if widget is None:
            raise ValueError(f"{file.fileName()}: {loader.errorString()}")
        for sender, signal, receiver, slot in connections:
            _connect(_find(widget, sender), signal, _find(widget, receiver), slot)
        proxy = wrap(widget)
        proxy.__dict__["_owned"] = widget
        return proxy


def find_problems(root: ElementTree.Element) -> list[str]:
    """One sentence for each widget, property or connection of a `.ui` that Slicer does not know."""
    problems = []
    class_of: dict[str, str] = {}
    for element in root.iter("widget"):
        name, recorded = element.get("name"), recording.recorded_class(element.get("class"))
        if recorded is None:
            problems.append(f"the class {element.get('class')} of '{name}' is not recorded")
            continue
        class_of[name] = recorded
        for entry in element.findall("property"):
            dynamic = entry.get("stdset") == "0"
            if not dynamic and entry.get("name") not in recording.properties(recorded):
                problems.append(f"{recorded} '{name}' has no property '{entry.get('name')}'")
        for entry in element.findall("attribute"):
            if entry.get("name") not in _ATTRIBUTES:
                problems.append(f"'{name}' has an attribute '{entry.get('name')}' that Designer does not know")
    for element in root.iter("layout"):
        for entry in element.findall("property"):
            if entry.get("name") not in _LAYOUT_PROPERTIES:
                problems.append(f"the layout '{element.get('name')}' has no property '{entry.get('name')}'")
    for entry in root.iterfind("connections/connection"):
        for who, what, kind in (("sender", "signal", recording.signals), ("receiver", "slot", recording.slots)):
            name, signature = entry.findtext(who), entry.findtext(what)
            if name not in class_of:
                problems.append(f"a connection names '{name}', which is no widget")
            elif signature not in kind(class_of[name]):
                problems.append(f"{class_of[name]} '{name}' has no {what} {signature}")
    return problems


def _translate_enumerations(element: ElementTree.Element) -> None:
    """Qt's enumerations as numbers, which is how the stand-ins take them; they have none of CTK's, which go."""
    for entry in element.findall("property"):
        owner, _, value = (entry.findtext("enum") or entry.findtext("set") or "").partition("::")
        if hasattr(QtWidgets, owner):
            for kind in list(entry):
                entry.remove(kind)
            ElementTree.SubElement(entry, "number").text = str(getattr(getattr(QtWidgets, owner), value).value)
        elif owner.startswith(("ctk", "qMRML")):
            element.remove(entry)


def _find(root: QtWidgets.QWidget, name: str) -> QtWidgets.QWidget:
    return root if root.objectName() == name else root.findChild(QtWidgets.QWidget, name)


def _connect(sender, signal: str, receiver, slot: str) -> None:
    getattr(native(sender), signal.split("(")[0]).connect(getattr(native(receiver), slot.split("(")[0]))
