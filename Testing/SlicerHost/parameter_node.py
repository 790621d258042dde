"""Stand-in of `slicer.parameterNodeWrapper`: a typed view of a `vtkMRMLScriptedModuleNode`, bound to widgets.

Covers the types that the panel uses: str, int, float, bool and MRML nodes, with `Choice` and `WithinRange`; a widget
of a type that Slicer has no connector for is refused as in Slicer.
"""

import typing
from dataclasses import dataclass
from types import ModuleType

import slicer
import vtk

from . import recording


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
    """One member: its type and checks, and how it is written into the parameter node."""

    def __init__(self, owner: type, name: str, annotated):
        self.name = name
        self.kind, *self.checks = typing.get_args(annotated) if hasattr(annotated, "__metadata__") else (annotated,)
        self.is_node = issubclass(self.kind, slicer.vtkMRMLNode)
        if not (self.is_node or self.kind in (str, int, float, bool)):
            raise TypeError(f"unable to create a serializer for {owner.__name__} member {name}: {annotated}")
        self.choices = next((each.choices for each in self.checks if isinstance(each, Choice)), [])
        plain = None if self.is_node else self.choices[0] if self.choices else self.kind()
        self.default = getattr(owner, name, plain)

    def write(self, node, value) -> None:
        if self.is_node and value is None:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None)
            return
        allowed = {float: (float, int), int: int}.get(self.kind, self.kind)
        if not isinstance(value, allowed) or (isinstance(value, bool) and self.kind is not bool):
            raise TypeError(f"{self.name} must be {self.kind.__name__}, not {value!r}")
        for check in self.checks:
            check.validate(value)
        node.SetParameter(self.name, "" if self.is_node else str(value))
        if self.is_node:
            node.SetNodeReferenceID(self.name, value.GetID())

    def read(self, node):
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return text == "True" if self.kind is bool else self.kind(text)


class _Connector:
    """Two-way binding of one widget; as in Slicer, only for pairs of widget and type that it has a connector for."""

    def __init__(self, widget, parameter: _Parameter):
        self.widget, self.parameter, kind = widget, parameter, parameter.kind
        widget_class = type(widget).recorded
        known, self.property, self.signal = {
            "qt.QCheckBox": (kind is bool, "checked", "toggled"),
            "qt.QPushButton": (kind is bool, "checked", "toggled"),
            "qt.QSpinBox": (kind is int, "value", "valueChanged"),
            "qt.QDoubleSpinBox": (kind is float, "value", "valueChanged"),
            "qt.QLineEdit": (kind is str, "text", "textChanged"),
            "qt.QComboBox": (bool(parameter.choices), "currentIndex", "currentIndexChanged"),
            "slicer.qMRMLNodeComboBox": (parameter.is_node, "", "currentNodeChanged"),
        }.get(widget_class, (False, "", ""))
        if not known:
            raise RuntimeError(f"Unable to create GUI connector from datatype '{kind}' to widget '{widget_class}'")
        if parameter.choices:
            widget.clear()
            widget.addItems([str(choice) for choice in parameter.choices])
        elif kind in (int, float):
            for check in parameter.checks:
                widget.minimum, widget.maximum = check.minimum, check.maximum
        elif parameter.is_node:
            widget.nodeTypes = [kind.__name__]

    def read(self):
        if self.parameter.is_node:
            return self.widget.currentNode()
        value = getattr(self.widget, self.property)
        return self.parameter.choices[value] if self.parameter.choices else self.parameter.kind(value)

    def write(self, value) -> None:
        if self.parameter.is_node:
            self.widget.setCurrentNode(value)
        else:
            choices = self.parameter.choices
            setattr(self.widget, self.property, choices.index(value) if choices else value)


class _ParameterNode:
    """What `@parameterNodeWrapper` adds to a class."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis, self._next_tag, self._updating = {}, 0, False
        for parameter in self.allParameters.values():
            parameter.read(parameterNode)

    def getValue(self, name: str):
        return self.allParameters[name].read(self.parameterNode)

    def setValue(self, name: str, value) -> None:
        self.allParameters[name].write(self.parameterNode, value)

    def connectGui(self, gui) -> int:
        connectors = []
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name and name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
            if name:
                connectors.append((_Connector(widget, self.allParameters[name]), name))
        connected = []
        for connector, name in connectors:
            connector.write(self.getValue(name))
            changed = self._changed_by_widget(connector, name)
            getattr(connector.widget, connector.signal).connect(changed)
            connected.append((connector, name, changed))
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui(tag))
        self._guis[tag] = (connected, observer)
        return tag

    def disconnectGui(self, tag: int) -> None:
        connected, observer = self._guis.pop(tag, ([], None))
        for connector, _, changed in connected:
            getattr(connector.widget, connector.signal).disconnect(changed)
        if observer is not None:
            self.RemoveObserver(observer)

    def _changed_by_widget(self, connector: _Connector, name: str):
        def changed():
            if not self._updating:
                self.setValue(name, connector.read())

        return changed

    def _update_gui(self, tag: int) -> None:
        if self._updating or tag not in self._guis:
            return
        self._updating = True
        try:
            for connector, name, _ in self._guis[tag][0]:
                connector.write(self.getValue(name))
        finally:
            self._updating = False

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        self.parameterNode.Modified()


def parameterNodeWrapper(classtype: type) -> type:
    """Class decorator that turns annotated members into parameters kept in the scene."""
    members = typing.get_type_hints(classtype, include_extras=True)
    parameters = {name: _Parameter(classtype, name, annotated) for name, annotated in members.items()}
    made = type(classtype.__name__, (_ParameterNode,), {"__doc__": classtype.__doc__, "allParameters": parameters})
    for name in parameters:
        setattr(
            made,
            name,
            property(
                lambda self, name=name: self.getValue(name), lambda self, value, name=name: self.setValue(name, value)
            ),
        )
    return made


def make_module() -> ModuleType:
    """The module `slicer.parameterNodeWrapper`, with recorded names only."""
    module = ModuleType("slicer.parameterNodeWrapper")
    for each in (Choice, WithinRange, parameterNodeWrapper):
        assert each.__name__ in recording.MODULES[module.__name__], each
        setattr(module, each.__name__, each)
    return module
