"""A form for the typed settings of a system, made from their description: a widget per setting, by its type."""

import dataclasses

import qt

from GANSynthesisLib.presentation import _, sentence
from GANSynthesisLib.systems.settings import Settings, SettingsError, setting

_KINDS = {"int": int, "float": float, "bool": bool, "str": str, "list of int": tuple[int, ...],
          "list of float": tuple[float, ...], "list of str": tuple[str, ...]}
_LARGEST = 2**31 - 1
_FEWEST_DECIMALS, _MOST_DECIMALS = 3, 5


class SettingsForm:
    """Rows in two form layouts, below those they have: common settings, and all others.

    onChange(): called when the user has changed a value.
    """

    def __init__(self, commonForm, moreForm, onChange):
        self._forms, self._onChange, self._quiet = (commonForm, moreForm), onChange, False
        self._above = [form.rowCount() for form in self._forms]
        self._entries, self._widgets, self._untouched, self._class = {}, {}, {}, Settings

    def show(self, described: list[dict]) -> None:
        """Make the rows for settings as `Settings.describe` describes them; all have their defaults."""
        for form, above in zip(self._forms, self._above, strict=True):
            while form.rowCount() > above:
                form.removeRow(above)
        self._entries = {entry["name"]: entry for entry in described}
        self._class = _settings_class(described)
        self._widgets = {}
        for name, entry in self._entries.items():
            label, widget = qt.QLabel(_title(name) + ":"), self._makeWidget(entry)
            label.toolTip = widget.toolTip = _tip(entry)
            widget.setObjectName(name)
            self._forms[0 if entry["common"] else 1].addRow(label, widget)
            self._widgets[name] = widget
        # What a widget makes of a default (rounded, spelled otherwise) is no change of the user's.
        self._untouched = {name: self._read(name) for name in self._widgets}

    def problem(self) -> str:
        """One sentence on what is entered wrongly; empty where nothing is."""
        try:
            self._class.parse(self._changed())
        except SettingsError as error:
            return sentence(str(error))
        return ""

    def values(self) -> dict:
        """JSON-able values of the settings that differ from their defaults. Raises SettingsError."""
        parsed = self._class.parse(self._changed()).as_dict()
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in parsed.items()}
        return {name: values[name] for name in self._changed() if values[name] != _plain(self._entries[name])}

    def setValues(self, values: dict) -> None:
        """Enter values, by name; settings not named get their defaults."""
        self._quiet = True
        for name, entry in self._entries.items():
            self._write(name, values.get(name, entry["default"]))
        self._quiet = False
        self._onChange()

    def _changed(self) -> dict:
        found = {name: self._read(name) for name in self._widgets}
        return {name: value for name, value in found.items() if value != self._untouched[name]}

    def _makeWidget(self, entry: dict):
        kind, low, high = entry["type"], entry["low"], entry["high"]
        if entry["choices"]:
            widget, signal = qt.QComboBox(), "currentIndexChanged(int)"
            widget.addItems([str(choice) for choice in entry["choices"]])
        elif kind == "bool":
            widget, signal = qt.QCheckBox(), "toggled(bool)"
        elif kind == "int":
            widget, signal = qt.QSpinBox(), "valueChanged(int)"
            widget.setRange(-_LARGEST if low is None else int(low), _LARGEST if high is None else int(high))
        elif kind == "float" and not _is_small(entry):
            widget, signal = qt.QDoubleSpinBox(), "valueChanged(double)"
            widget.decimals = _decimals(entry)
            widget.setRange(-1e9 if low is None else low, 1e9 if high is None else high)
            widget.singleStep = 0.1 if high is None or high > 1 else 0.01
        else:
            widget, signal = qt.QLineEdit(), "textChanged(QString)"
        self._widgets[entry["name"]] = widget
        self._write(entry["name"], entry["default"])
        widget.connect(signal, self._onEdited)
        return widget

    def _onEdited(self, *_arguments) -> None:
        if not self._quiet:
            self._onChange()

    def _write(self, name: str, value) -> None:
        widget, entry = self._widgets[name], self._entries[name]
        if entry["choices"]:
            widget.currentIndex = widget.findText(str(value))
        elif entry["type"] == "bool":
            widget.checked = bool(value)
        elif entry["type"] == "int":
            widget.value = int(value)
        elif entry["type"] == "float" and not _is_small(entry):
            widget.value = float(value)
        else:
            parts = value if isinstance(value, (list, tuple)) else [value]
            widget.text = ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in parts)

    def _read(self, name: str):
        widget, entry = self._widgets[name], self._entries[name]
        if entry["choices"]:
            return widget.currentText
        if entry["type"] == "bool":
            return widget.checked
        if entry["type"] == "int":
            return widget.value
        if entry["type"] == "float" and not _is_small(entry):
            return round(widget.value, widget.decimals)
        return widget.text.strip()


def _is_small(entry: dict) -> bool:
    """Whether a number is better written as 2e-4 than in a box of fixed decimals."""
    return any(0 < abs(value) < 1e-3 for value in (entry["default"], entry["low"]) if isinstance(value, float))


def _decimals(entry: dict) -> int:
    """Digits after the point that the default and the limits need."""
    texts = [f"{value:.{_MOST_DECIMALS}f}".rstrip("0") for value in (entry["default"], entry["low"], entry["high"])
             if value is not None]
    return max(_FEWEST_DECIMALS, *(len(text.partition(".")[2]) for text in texts))


def _settings_class(described: list[dict]) -> type[Settings]:
    """The settings as a class of their own, so that what is entered is checked by the rules of the library."""
    fields = []
    for entry in described:
        default = tuple(entry["default"]) if isinstance(entry["default"], list) else entry["default"]
        choices = tuple(entry["choices"]) if entry["choices"] else None
        declared = setting(default, entry["help"], low=entry["low"], high=entry["high"], choices=choices,
                           common=entry["common"])
        fields.append((entry["name"], _KINDS[entry["type"]], declared))
    return dataclasses.make_dataclass("DescribedSettings", fields, bases=(Settings,), frozen=True)


def _plain(entry: dict):
    return list(entry["default"]) if isinstance(entry["default"], tuple) else entry["default"]


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _tip(entry: dict) -> str:
    """What a setting does and what it may be."""
    limits = [f"{value:g}" for value in (entry["low"], entry["high"]) if value is not None]
    allowed = _(" ({low} to {high})").format(low=limits[0], high=limits[1]) if len(limits) == 2 else ""
    return f"{entry['name']}: {entry['help']}{allowed}"
