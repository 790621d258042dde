"""Qt objects as PythonQt shows them: properties are attributes, signals connect by name, unknown names are refused.

Every Qt object that leaves the host is a `QtObject`, a proxy that lets through what Slicer's recording of its class
has. Recorded properties that a stand-in does not define itself are dynamic properties of its Qt object.
"""

import ctypes
import inspect
import sys
import traceback

from shiboken6 import Shiboken

from . import recording

slot_errors: list[BaseException] = []
"""Exceptions that Python functions raised while a signal called them; Slicer prints these in its console."""

# PySide6 6.12 drops a reference too many to what a slot returns, None, and to what emit() returns, True. Before Python
# 3.12 these can run out and end the process: so there are some millions more of them, for good.
_SPARE_REFERENCES = [None, True] * 2_000_000 if sys.version_info < (3, 12) else []
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_SPARE_REFERENCES))

_ACCEPTED = {"QString": str, "int": int, "bool": (bool, int), "double": (int, float), "QStringList": (list, tuple)}
_proxy_classes: dict[type, "_ProxyClass"] = {}


class _ProxyClass(type):
    """Class of proxy classes: `qt.QComboBox.AdjustToContents` and static methods come from the PySide6 class."""

    def __call__(cls, *arguments):
        return wrap(cls.native_class(*native(arguments)))

    def __getattr__(cls, name):
        if name.startswith("__") or name not in recording.names(cls.recorded):
            raise AttributeError(f"type object '{cls.recorded}' has no attribute '{name}'")
        found = getattr(cls.native_class, name)
        return found if isinstance(found, type) or not callable(found) else _method(found)


class QtObject:
    """A Qt object seen through PythonQt; `native` gives the PySide6 object behind it."""

    def __getattr__(self, name):
        qt_object, recorded = native(self), type(self).recorded
        if name.startswith("__") or name not in recording.names(recorded):
            raise AttributeError(f"{recorded} object has no attribute '{name}'")
        name = "objectName" if name == "name" else name
        if name in recording.properties(recorded):
            defined = qt_object.metaObject().indexOfProperty(name) >= 0
            if not defined and name.encode() not in qt_object.dynamicPropertyNames():
                raise AttributeError(f"the host's {recorded} has no value for '{name}'")
            return wrap(qt_object.property(name))
        signatures = [each for each in recording.members(recorded, "signals") if each.split("(")[0] == name]
        return Signal(self, max(signatures, key=len)) if signatures else _method(getattr(qt_object, name))

    def __setattr__(self, name, value):
        qt_object, recorded = native(self), type(self).recorded
        if name not in recording.properties(recorded):
            raise AttributeError(f"{recorded} object has no property '{name}' that could be set")
        kind = recording.properties(recorded)[name]
        accepted = isinstance(value, _ACCEPTED.get(kind, object))
        defined = qt_object.metaObject().indexOfProperty(name) >= 0
        if not accepted or (not qt_object.setProperty(name, native(value)) and defined):
            raise AttributeError(f"property '{name}' of type '{kind}' is read-only, or does not accept {value!r}")

    def connect(self, signature: str, function) -> bool:
        return Signal(self, signature).connect(function)

    def disconnect(self, signature: str, function) -> bool:
        return Signal(self, signature).disconnect(function)

    def __eq__(self, other):
        return isinstance(other, QtObject) and hash(self) == hash(other)

    def __hash__(self):
        return Shiboken.getCppPointer(native(self))[0]


class Signal:
    """A signal as PythonQt gives it: `button.clicked.connect(function)`."""

    def __init__(self, sender: QtObject, signature: str):
        if signature not in recording.members(type(sender).recorded, "signals"):
            raise ValueError(f"{type(sender).recorded} object has no signal '{signature}'")
        self._sender, (self._name, _, parameters) = native(sender), signature.rstrip(")").partition("(")
        self._count = len(parameters.split(",")) if parameters else 0
        # What Python functions were connected as is kept with the Qt object, since proxies come and go.
        self._slots = vars(self._sender).setdefault("_python_slots", {})

    def connect(self, function) -> bool:
        called = guarded(function)
        slot = (  # PySide6 sends as many arguments as the function names
            lambda: called(),
            lambda a: called(a),
            lambda a, b: called(a, b),
            lambda a, b, c: called(a, b, c),
            lambda a, b, c, d: called(a, b, c, d),
        )[self._count]
        getattr(self._sender, self._name).connect(slot)
        self._slots[self._name, function] = slot
        return True

    def disconnect(self, function) -> bool:
        slot = self._slots.pop((self._name, function), None)
        return slot is not None and getattr(self._sender, self._name).disconnect(slot)


def guarded(function):
    """A Python function as a slot, called as PythonQt does: with as many of a signal's arguments as it takes; what it
    raises Slicer prints, and goes on; tests look at `slot_errors`."""

    def called(*arguments):
        try:
            kinds = [each.kind for each in inspect.signature(function).parameters.values()]
            takes_all = inspect.Parameter.VAR_POSITIONAL in kinds
            count = sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in kinds)
            return function(*wrap(arguments if takes_all else arguments[:count]))
        except Exception as error:
            slot_errors.append(error)
            traceback.print_exc(file=sys.stderr)

    return called


def wrap(value):
    """What Slicer's Python would see: a proxy for a Qt object, None for a missing one, anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(wrap(each) for each in value)
    known = [each for each in type(value).__mro__ if each in _proxy_classes]
    if not known:
        return value
    proxy = object.__new__(_proxy_classes[known[0]])
    proxy.__dict__["_native"] = value
    return proxy


def native(value):
    """The PySide6 object behind a proxy; anything else as it is."""
    if isinstance(value, QtObject):
        return value.__dict__["_native"]
    if isinstance(value, (list, tuple)):
        return type(value)(native(each) for each in value)
    return value


def add_class(recorded: str, native_class: type) -> type:
    """Make the proxy class of a recorded class, `qt.QLabel`, whose objects PySide6's `native_class` makes."""
    members = {"recorded": recorded, "native_class": native_class}
    _proxy_classes[native_class] = _ProxyClass(recorded.split(".")[-1], (QtObject,), members)
    return _proxy_classes[native_class]


def _method(function):
    def called(*arguments):
        given = [guarded(each) if inspect.isroutine(each) else native(each) for each in arguments]
        return wrap(function(*given))

    return called
