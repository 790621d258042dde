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

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {self.choices}")


@dataclass
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value!r} is not within {self.minimum} and {self.maximum}")


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
            for check in self.checks:
                check.validate(value)
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


class _Connector:
    """Two-way binding of one widget and one parameter."""

    def __init__(self, owner: "_ParameterNode", widget, parameter: _Parameter):
        self.owner, self.widget, self.parameter, kind = owner, widget, parameter, parameter.kind
        bound = Choice if parameter.choices else slicer.vtkMRMLNode if parameter.is_node else kind
        widget_class = type(widget).recorded
        if (widget_class, bound) not in _CONNECTORS:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget '{widget_class}'")
        self.property, self.signal = _CONNECTORS[widget_class, bound]
        if parameter.choices:
            widget.clear()
            widget.addItems(parameter.choices)
        elif kind is int:
            for check in parameter.checks:
                widget.minimum, widget.maximum = check.minimum, check.maximum
        elif parameter.is_node:
            widget.nodeTypes = [kind.__name__]

    def take(self) -> None:
        """Keep what the user chose in the widget."""
        if not self.owner.showing:
            value = getattr(self.widget, self.property) if self.property else self.widget.currentNode()
            setattr(self.owner, self.parameter.name, value)

    def show(self) -> None:
        """Show the parameter's value in the widget."""
        value = getattr(self.owner, self.parameter.name)
        if self.property:
            setattr(self.widget, self.property, value)
        else:
            self.widget.setCurrentNode(value)


class _ParameterNode:
    """What `@parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode):
        self.parameterNode, self.showing, self._connectors = parameterNode, False, {}
        self.AddObserver, self.RemoveObserver = parameterNode.AddObserver, parameterNode.RemoveObserver
        for name in self.allParameters:
            getattr(self, name)  # writes its default

    def connectGui(self, gui) -> int:
        named = [(widget, widget.property("SlicerParameterName")) for widget in vars(gui).values()]
        connectors = [_Connector(self, widget, self.allParameters[name]) for widget, name in named if name]
        for connector in connectors:
            connector.show()
            connector.widget.connect(connector.signal, connector.take)
        tag = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show(connectors))
        self._connectors[tag] = connectors
        return tag

    def disconnectGui(self, tag: int) -> None:
        self.RemoveObserver(tag)
        for connector in self._connectors.pop(tag, ()):
            connector.widget.disconnect(connector.signal, connector.take)

    def _show(self, connectors: list[_Connector]) -> None:
        if self.showing:
            return
        self.showing = True
        try:
            for connector in connectors:
                connector.show()
        finally:
            self.showing = False


def parameterNodeWrapper(classtype: type) -> type:
    """Class decorator that turns annotated members into parameters kept in the scene."""
    members = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(classtype, name, annotated) for name, annotated in members.items()}
    content = {"__doc__": classtype.__doc__, "allParameters": parameters, **parameters}
    return type(classtype.__name__, (_ParameterNode,), content)
