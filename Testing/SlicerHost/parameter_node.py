"""Stand-in of `slicer.parameterNodeWrapper`: a typed view of a `vtkMRMLScriptedModuleNode`, bound to widgets.

Covers what the panel uses: str, int, bool and MRML nodes, with `Choice` (of texts) and `WithinRange`, and widgets for
these; as in Slicer, a widget of a type that there is no connector for is refused.
"""

import typing
from dataclasses import dataclass

import slicer
import vtk


@dataclass
class Choice:
    choices: list

    def allows(self, value) -> bool:
        return value in self.choices


@dataclass
class WithinRange:
    minimum: float
    maximum: float

    def allows(self, value) -> bool:
        return self.minimum <= value <= self.maximum


class _Parameter:
    """Descriptor of one member: its type and checks, and how it is written into the parameter node."""

    def __init__(self, owner: type, name: str, annotated):
        self.name = name
        self.kind, *self.checks = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else (annotated,)
        self.is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        if not (self.is_node or self.kind in (str, int, bool)):
            raise TypeError(f"unable to create a serializer for {owner.__name__} member {name}: {annotated}")
        self.choices = next((each.choices for each in self.checks if isinstance(each, Choice)), [])
        plain = None if self.is_node else self.choices[0] if self.choices else self.kind()
        self.default = getattr(owner, name, plain)

    def __set__(self, instance, value) -> None:
        node = instance.parameterNode
        if not (self.is_node and value is None):
            if not isinstance(value, self.kind) or isinstance(value, bool) != (self.kind is bool):
                raise TypeError(f"{self.name} must be {self.kind.__name__}, not {value!r}")
            if not all(check.allows(value) for check in self.checks):
                raise ValueError(f"{self.name} cannot be {value!r}: {self.checks}")
        node.SetParameter(self.name, "" if self.is_node else str(value))
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)

    def __get__(self, instance, owner=None):
        node = instance.parameterNode
        if not node.HasParameter(self.name):
            self.__set__(instance, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


# Recorded class of a widget, and what it can be bound to -> the widget's property and signal; None: its current node.
_CONNECTORS = {
    ("qt.QCheckBox", bool): ("checked", "toggled(bool)"),
    ("qt.QSpinBox", int): ("value", "valueChanged(int)"),
    ("qt.QComboBox", Choice): ("currentText", "currentTextChanged(QString)"),
    ("slicer.qMRMLNodeComboBox", slicer.vtkMRMLNode): (None, "currentNodeChanged(vtkMRMLNode*)"),
}


def _bind(owner: "_ParameterNode", widget, parameter: _Parameter):
    """Bind a widget and a parameter both ways; gives what shows the parameter again, and what ends the binding."""
    bound = Choice if parameter.choices else slicer.vtkMRMLNode if parameter.is_node else parameter.kind
    recorded = type(widget).recorded
    if (recorded, bound) not in _CONNECTORS:
        raise RuntimeError(f"Unable to create GUI connector from datatype '{bound}' to widget '{recorded}'")
    name, signal = _CONNECTORS[recorded, bound]
    if parameter.choices:
        widget.clear()
        widget.addItems(parameter.choices)
    elif parameter.is_node:
        widget.nodeTypes = [parameter.kind.__name__]
    elif bound is int:
        for check in parameter.checks:
            widget.minimum, widget.maximum = check.minimum, check.maximum

    def take():
        if not owner.showing:
            setattr(owner, parameter.name, getattr(widget, name) if name else widget.currentNode())

    def show():
        value = getattr(owner, parameter.name)
        setattr(widget, name, value) if name else widget.setCurrentNode(value)

    show()
    widget.connect(signal, take)
    return show, lambda: widget.disconnect(signal, take)


class _ParameterNode:
    """What `@parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode):
        self.parameterNode, self.showing, self._bindings = parameterNode, False, {}
        self.AddObserver, self.RemoveObserver = parameterNode.AddObserver, parameterNode.RemoveObserver
        for name in self.allParameters:
            getattr(self, name)  # writes its default

    def connectGui(self, gui) -> int:
        named = [(widget, widget.property("SlicerParameterName")) for widget in vars(gui).values()]
        bindings = [_bind(self, widget, self.allParameters[name]) for widget, name in named if name]
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(bindings))
        self._bindings[tag] = bindings
        return tag

    def disconnectGui(self, tag: int) -> None:
        self.RemoveObserver(tag)
        for _show, end in self._bindings.pop(tag, ()):
            end()

    def _show(self, bindings: list) -> None:
        if not self.showing:
            self.showing = True
            for show, _end in bindings:
                show()
            self.showing = False


def parameterNodeWrapper(classtype: type) -> type:
    """Class decorator that turns annotated members into parameters kept in the scene."""
    members = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(classtype, name, annotated) for name, annotated in members.items()}
    content = {"__doc__": classtype.__doc__, "allParameters": parameters, **parameters}
    return type(classtype.__name__, (_ParameterNode,), content)
