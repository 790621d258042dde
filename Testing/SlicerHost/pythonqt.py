"""Qt objects as PythonQt shows them: properties are attributes, signals connect by name, unknown names are refused.

Every Qt object that leaves the host is a `QtObject`, a proxy of a PySide6 object that lets through what Slicer's
recording of its class has, and nothing else.
"""

import ctypes
import inspect
import sys
import traceback
import weakref
from types import ModuleType

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken

from . import recording

slot_errors: list[BaseException] = []
"""Exceptions that Python functions raised while a signal called them; Slicer prints these in its console."""

# PySide6 6.12 drops a reference too many to what a slot returns, None, and to what emit() returns, True. Before Python
# 3.12 these can run out and end the process: so there are some millions more of them, for good.
_SPARE_REFERENCES = [None, True] * 2_000_000 if sys.version_info < (3, 12) else []
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_SPARE_REFERENCES))

_proxies: "weakref.WeakValueDictionary[int, QtObject]" = weakref.WeakValueDictionary()
_proxy_classes: dict[str, type] = {}
_CHECKED_TYPES = {
    "QString": str,
    "int": int,
    "bool": (bool, int),
    "double": (int, float),
    "QStringList": (list, tuple),
}


class _ProxyClass(type):
    """Class of proxy classes: `qt.QComboBox.AdjustToContents` and static methods come from the PySide6 class."""

    def __getattr__(cls, name):
        if name.startswith("__") or name not in recording.names(cls.recorded):
            raise AttributeError(f"type object '{cls.recorded}' has no attribute '{name}'")
        found = getattr(cls.native_class, name)
        return found if isinstance(found, type) or not callable(found) else _method(found)

    def __instancecheck__(cls, instance):
        return isinstance(instance, QtObject) and isinstance(instance.__dict__["_native"], cls.native_class)


class QtObject:
    """A Qt object seen through PythonQt; `native` gives the PySide6 object behind it."""

    def __getattr__(self, name):
        qt_object = self.__dict__["_native"]
        recorded = type(self).recorded
        if name.startswith("__") or name not in recording.names(recorded):
            if name.encode() in qt_object.dynamicPropertyNames():
                return qt_object.property(name)
            raise AttributeError(f"{recorded} object has no attribute '{name}'")
        if name == "name":
            return qt_object.objectName()
        if name == "className":
            return lambda: recorded.split(".")[-1]
        if name == "connect":
            return lambda signature, function: _signal(self, signature).connect(function)
        if name == "disconnect":
            return lambda signature, function: _signal(self, signature).disconnect(function)
        if name in recording.properties(recorded):
            return wrap(qt_object.property(name))
        if any(signature.split("(")[0] == name for signature in recording.signals(recorded)):
            return Signal(self, name)
        return _method(getattr(qt_object, name))

    def __setattr__(self, name, value):
        recorded = type(self).recorded
        kind = recording.properties(recorded).get(name)
        if kind is None:
            raise AttributeError(f"{recorded} object has no property '{name}' that could be set")
        expected = _CHECKED_TYPES.get(kind)
        if expected and not isinstance(value, expected):
            raise AttributeError(f"property '{name}' of type '{kind}' does not accept {value!r}")
        qt_object = self.__dict__["_native"]
        index = qt_object.metaObject().indexOfProperty(name)
        if not qt_object.metaObject().property(index).isWritable():
            raise AttributeError(f"property '{name}' of {recorded} object is not writable")
        if not qt_object.setProperty(name, native(value)):
            raise AttributeError(f"property '{name}' of type '{kind}' does not accept {value!r}")

    def __eq__(self, other):
        return isinstance(other, QtObject) and _address(self) == _address(other)

    def __hash__(self):
        return hash(_address(self))

    def __repr__(self):
        return f"{type(self).recorded} (name '{self.__dict__['_native'].objectName()}')"


class Signal:
    """A signal as PythonQt gives it: `button.clicked.connect(function)`."""

    def __init__(self, sender: QtObject, name: str, signature: str = ""):
        self._sender, self._name = sender, name
        recorded = [each for each in recording.signals(type(sender).recorded) if each.split("(")[0] == name]
        text = (signature or max(recorded, key=len)).split("(")[1].rstrip(")")
        self._count = len(text.split(",")) if text else 0

    def connect(self, function) -> bool:
        called = guarded(function)
        slot = (  # PySide6 sends as many arguments as the function names
            lambda: called(),
            lambda a: called(a),
            lambda a, b: called(a, b),
            lambda a, b, c: called(a, b, c),
            lambda a, b, c, d: called(a, b, c, d),
        )[self._count]
        _connections(self._sender).append((self._name, function, slot))
        getattr(native(self._sender), self._name).connect(slot)
        return True

    def disconnect(self, function) -> bool:
        for entry in _connections(self._sender):
            if entry[:2] == (self._name, function):
                getattr(native(self._sender), self._name).disconnect(entry[2])
                _connections(self._sender).remove(entry)
                return True
        return False


def guarded(function):
    """A Python function as a slot: Slicer prints what it raises and goes on; tests look at `slot_errors`."""

    def called(*arguments):
        try:
            return call_with_as_many(function, [wrap(argument) for argument in arguments])
        except Exception as error:
            slot_errors.append(error)
            traceback.print_exc(file=sys.stderr)

    return called


def call_with_as_many(function, arguments: list):
    """Call a slot with as many of the signal's arguments as it takes, as PythonQt does."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return function(*arguments)
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    return function(*arguments[: len(positional)])


def wrap(value):
    """What Slicer's Python would see: a proxy for a Qt object, None for a missing one, anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(wrap(each) for each in value)
    if not isinstance(value, QtCore.QObject):
        return value
    meta = value.metaObject()
    while meta is not None and recording.recorded_class(meta.className()) is None:
        meta = meta.superClass()
    recorded = recording.recorded_class(meta.className()) if meta else None
    if recorded is None:
        return value
    address = Shiboken.getCppPointer(value)[0]
    known = _proxies.get(address)
    if known is not None and Shiboken.isValid(native(known)) and type(known).recorded == recorded:
        return known
    proxy = object.__new__(_proxy_classes[recorded])
    proxy.__dict__["_native"] = value
    _proxies[address] = proxy
    return proxy


def native(value):
    """The PySide6 object or class behind a proxy; anything else as it is."""
    if isinstance(value, QtObject):
        return value.__dict__["_native"]
    if isinstance(value, _ProxyClass):
        return value.native_class
    if isinstance(value, (list, tuple)):
        return type(value)(native(each) for each in value)
    return value


def add_class(recorded: str, native_class: type) -> type:
    """Make the proxy class of a recorded class, `qt.QLabel`, whose objects PySide6's `native_class` makes."""

    def new(cls, *arguments):
        made = native_class(*[native(argument) for argument in arguments])
        proxy = wrap(made)
        proxy.__dict__["_owned"] = made
        return proxy

    members = {"recorded": recorded, "native_class": native_class, "__new__": new}
    _proxy_classes[recorded] = _ProxyClass(recorded.split(".")[-1], (QtObject,), members)
    return _proxy_classes[recorded]


def make_module(name: str, classes: dict[str, type], others: dict[str, object]) -> ModuleType:
    """A `qt` or `ctk` module of the recorded classes and a few other recorded names; anything else is refused."""
    module = ModuleType(name)
    for class_name, native_class in classes.items():
        setattr(module, class_name, add_class(f"{name}.{class_name}", native_class))
    vars(module).update(others)
    return module


def qt_class(name: str) -> type:
    """PySide6's class of that name, whichever of its modules has it."""
    for module in (QtWidgets, QtGui, QtCore):
        if hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"PySide6 has no class '{name}'")


def _address(proxy: QtObject) -> int:
    return Shiboken.getCppPointer(native(proxy))[0]


def _connections(sender: QtObject) -> list:
    """Connections made through Python; kept on the Qt object, since proxies come and go."""
    qt_object = native(sender)
    if not hasattr(qt_object, "_python_connections"):
        qt_object._python_connections = []
    return qt_object._python_connections


def _signal(sender: QtObject, signature: str) -> Signal:
    recorded = type(sender).recorded
    if signature not in recording.signals(recorded):
        raise ValueError(f"{recorded} object has no signal '{signature}'")
    return Signal(sender, signature.split("(")[0], signature)


def _method(function):
    def called(*arguments):
        given = [guarded(each) if inspect.isroutine(each) else native(each) for each in arguments]
        return wrap(function(*given))

    return called


_STORED_TYPES = {"bool": bool, "int": int, "double": float, "QString": str, "QStringList": list}


def stored_properties(recorded: str, base: type, changed=lambda self: None, **defaults) -> dict[str, QtCore.Property]:
    """Qt properties for all that a class was recorded with and its base lacks: each keeps what it is given.

    A stand-in puts them into its class body and overrides those that do something more; `changed` is called after each
    setting. Properties of other types than text, lists of text and numbers hold any value.
    """
    missing = set(recording.CLASSES[recorded]["properties"]) - {
        base.staticMetaObject.property(index).name() for index in range(base.staticMetaObject.propertyCount())
    }
    return {name: _stored(recorded, name, changed, defaults.get(name)) for name in missing}


def _stored(recorded: str, name: str, changed, default) -> QtCore.Property:
    kind = _STORED_TYPES.get(recording.CLASSES[recorded]["properties"][name])
    default = kind() if default is None and kind else default

    def put(self, value) -> None:
        setattr(self, f"_{name}", value)
        changed(self)

    qt_type = "QStringList" if kind is list else kind or "QVariant"
    return QtCore.Property(qt_type, lambda self: getattr(self, f"_{name}", default), put)
