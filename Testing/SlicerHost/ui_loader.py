"""Loads a `.ui` file as Slicer does, but refuses widgets, properties and connections that Slicer's recording lacks.

Qt's own loader only warns about these, and PySide6's cannot wire signals of MRML types: the connections are made here.
"""

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import ctk_widgets, mrml_widgets, recording
from .pythonqt import wrap

# What Designer writes of a layout in parts, and of a widget for the tab, group or table that it lies in.
_PARTS = {*(f"{side}Margin" for side in ("left", "top", "right", "bottom")), "horizontalSpacing", "verticalSpacing"}
_ATTRIBUTES = {"title", "toolTip", "buttonGroup", "verticalHeaderVisible", "horizontalHeaderStretchLastSection"}


class QUiLoader:
    """Stand-in of `qt.QUiLoader`."""

    def load(self, file: QtCore.QFile):
        """The root widget of an opened `.ui` file; raises `ValueError` where the file asks for what Slicer lacks."""
        root = ElementTree.fromstring(bytes(file.readAll().data()))
        problems = find_problems(root)
        if problems:
            raise ValueError(f"{file.fileName()}: " + "; ".join(problems))
        connections = root.findall("connections/connection")
        root[:] = [part for part in root if part.tag != "connections"]
        for element in root.iter("widget"):
            for entry in element.findall("property"):
                if (entry.findtext("enum") or entry.findtext("set") or "").startswith(("ctk", "qMRML")):
                    element.remove(entry)  # the stand-ins have no enumerations of their own
        buffer, loader = QtCore.QBuffer(), QtUiTools.QUiLoader()
        buffer.setData(ElementTree.tostring(root))
        for widget_class in (*ctk_widgets.CLASSES, *mrml_widgets.CLASSES):
            loader.registerCustomWidget(widget_class)
        widget = loader.load(buffer)
        if widget is None:
            raise ValueError(f"{file.fileName()}: {loader.errorString()}")
        named = {each.objectName(): each for each in (widget, *widget.findChildren(QtWidgets.QWidget))}
        for entry in connections:
            signal, slot = (entry.findtext(end).split("(")[0] for end in ("signal", "slot"))
            sender, receiver = (named[entry.findtext(end)] for end in ("sender", "receiver"))
            getattr(sender, signal).connect(getattr(receiver, slot))
        return wrap(widget)


def find_problems(root: ElementTree.Element) -> list[str]:
    """One sentence for each widget, property or connection of a `.ui` that Slicer does not know."""
    problems, class_of = [], {}
    for element in (*root.iter("widget"), *root.iter("layout")):
        name, recorded = element.get("name"), recording.recorded_class(element.get("class"))
        if recorded is None:
            problems.append(f"the class {element.get('class')} of '{name}' is not recorded")
            continue
        class_of[name] = recorded
        known = set(recording.properties(recorded)) | (_PARTS if element.tag == "layout" else set())
        for kind, allowed in (("property", known), ("attribute", _ATTRIBUTES)):
            for entry in element.findall(kind):
                if entry.get("stdset") != "0" and entry.get("name") not in allowed:  # "0": a dynamic property
                    problems.append(f"{recorded} '{name}' has no {kind} '{entry.get('name')}'")
    for entry in root.iterfind("connections/connection"):
        for who, what in (("sender", "signal"), ("receiver", "slot")):
            name, signature = entry.findtext(who), entry.findtext(what)
            if name not in class_of:
                problems.append(f"a connection names '{name}', which is no widget")
            elif signature not in recording.members(class_of[name], f"{what}s"):
                problems.append(f"{class_of[name]} '{name}' has no {what} {signature}")
    return problems
