"""The model card: what a model is for, what it takes and gives, how it was trained, what it scored.

The card travels as JSON inside the model file. Whoever builds a card, a training run or a file from elsewhere, passes
the same checks: every field has its type and range, and a wrong one is named in one sentence (`ModelError`).
"""

import json
import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

CARD_FORMAT = 1
TASKS = ("synthesize", "segment", "register", "reconstruct", "generate", "classify")
CONTEXTS = ("2D", "2.5D", "3D")
INTENSITY_KINDS = ("percentile", "median", "window", "hounsfield", "as_is")

_PORT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


class ModelError(ValueError):
    """A model or its card cannot be used; the message says which, why, and what to do, in one sentence."""


@dataclass(frozen=True)
class Port:
    """One named input or output of a model.

    name: role of an input (`source`, `fixed`, …) or name of an output (`target`, `segmentation`, `transform`, …).
    intensity: empty, or `kind`, `lower`, `upper` as of `volumes.IntensityRange`: percentiles in %, all else in `unit`.
        Of an output: the physical values that -1 and 1 stand for, so never percentiles.
    label_names: label value -> structure, where the voxels are labels.
    needs: of an output, the input roles that it is computed from.
    optional: of an input, whether the model can do without.
    """

    name: str
    modality: str
    unit: str = ""
    description: str = ""
    intensity: dict = field(default_factory=dict)
    label_names: dict[int, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self):
        _text(self.name, "a port's name", pattern=_PORT_NAME)
        where = f"port '{self.name}'"
        for name in ("modality", "unit", "description"):
            _text(getattr(self, name), f"{name} of {where}")
        _set(self, "intensity", _intensity(self.intensity, f"intensity of {where}"))
        _set(self, "label_names", _label_names(self.label_names, f"label_names of {where}"))
        _set(self, "needs", _texts(self.needs, f"needs of {where}"))
        if not isinstance(self.optional, bool):
            raise ModelError(f"optional of {where} must be true or false, not {self.optional!r}.")

    @property
    def is_transform(self) -> bool:
        """Whether it is a map of points rather than a volume."""
        return self.name in ("transform", "linear")

    @property
    def is_class(self) -> bool:
        """Whether it is the class of an image rather than a volume."""
        return self.name == "class"

    @property
    def is_segmentation(self) -> bool:
        """Whether the voxels are labels rather than intensities."""
        return bool(self.label_names) or self.name == "segmentation"


@dataclass(frozen=True)
class Card:
    """What a model is (see the module's docstring). Fields that are not as described raise `ModelError`.

    name: what users type: letters, digits and `._+-`. title: one line. description: what it is and is not for.
    system, settings: name in `systems.systems()` and the settings that the architecture was built with.
    spacing: mm along the canonical axes (i, j, k); None for an axis, or for all, keeps the input's spacing there.
    shape: (D, H, W) of the working grid or window that the networks saw in training.
    training, metrics: what it learned from and scored, in plain JSON values; what was not measured is left out.
    versions: software -> version. format: of the card itself.
    """

    name: str
    title: str
    description: str
    system: str
    task: str
    settings: dict
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    spacing: tuple[float | None, float | None, float | None] | None
    shape: tuple[int, int, int]
    context: str
    anatomy: str = ""
    training: dict = field(default_factory=dict)
    metrics: dict = field(default_factory=dict)
    licence: str = ""
    citations: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    format: int = CARD_FORMAT

    def __post_init__(self):
        _check_format(self.format)
        _text(self.name, "name", pattern=_MODEL_NAME)
        _text(self.title, "title", filled=True)
        _text(self.system, "system", filled=True)
        for name in ("description", "anatomy", "licence"):
            _text(getattr(self, name), name)
        _choice(self.task, "task", TASKS)
        _choice(self.context, "context", CONTEXTS)
        for name in ("settings", "training", "metrics", "versions"):
            _set(self, name, _plain_dict(getattr(self, name), name))
        for software, version in self.versions.items():
            _text(version, f"versions['{software}']")
        _set(self, "citations", _texts(self.citations, "citations"))
        _integer(self.seed, "seed", at_least=0)
        _set(self, "shape", _shape(self.shape))
        _set(self, "spacing", _spacing(self.spacing))
        _set(self, "inputs", _ports(self.inputs, "inputs"))
        _set(self, "outputs", _ports(self.outputs, "outputs"))
        self._check_wiring()

    def _check_wiring(self) -> None:
        """Raise `ModelError` unless the outputs can be computed from the inputs."""
        if not self.outputs:
            raise ModelError("outputs must name at least one output.")
        if not self.inputs and self.task != "generate":
            raise ModelError(f"inputs must name at least one input for the task '{self.task}'.")
        roles = [port.name for port in self.inputs]
        for port in self.inputs:
            if port.needs:
                raise ModelError(f"needs of input '{port.name}' must be empty: only outputs are computed.")
        for port in self.outputs:
            unknown = [role for role in port.needs if role not in roles]
            if unknown:
                raise ModelError(f"output '{port.name}' needs '{unknown[0]}', which is not among the inputs {roles}.")
            if port.intensity.get("kind") in ("percentile", "median"):
                raise ModelError(f"intensity of output '{port.name}' must be physical values, not percentiles.")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Everything a user can ask of the model: its task, and `segment` where an output is a segmentation."""
        segments = any(port.is_segmentation for port in self.outputs)
        return (self.task, "segment") if segments and self.task != "segment" else (self.task,)

    def input(self, role: str) -> Port:
        """The input of that role, else `ModelError`."""
        return _port(self.inputs, role, f"model '{self.name}' has no input")

    def output(self, name: str) -> Port:
        """The output of that name, else `ModelError`."""
        return _port(self.outputs, name, f"model '{self.name}' has no output")

    def to_json(self) -> str:
        """The card as JSON; `from_json` gives an equal card back."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> "Card":
        """Card of a JSON text; raises `ModelError` on anything missing, unknown, mistyped or newer than this."""
        try:
            content = json.loads(text)
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelError(f"the model card is not JSON ({error}).") from error
        if not isinstance(content, dict):
            raise ModelError("the model card is not a JSON object.")
        _check_format(content.get("format"))
        _check_keys(content, Card, "the model card")
        for side in ("inputs", "outputs"):
            content[side] = _ports_of_json(content[side], side)
        return Card(**content)


def _check_format(value) -> None:
    _integer(value, "format", at_least=1)
    if value > CARD_FORMAT:
        raise ModelError(
            f"it was made by a newer GANSynthesis: update the extension (card format {value}, this version reads "
            f"up to {CARD_FORMAT})."
        )


def _check_keys(content: Mapping, kind: type, where: str) -> None:
    """Raise `ModelError` unless the keys are exactly the dataclass's fields."""
    names = [each.name for each in fields(kind)]
    missing = [name for name in names if name not in content]
    unknown = [name for name in content if name not in names]
    if missing:
        raise ModelError(f"{where} lacks the field '{missing[0]}'.")
    if unknown:
        raise ModelError(f"{where} has a field '{unknown[0]}', which is unknown to this version.")


def _ports_of_json(content, side: str) -> tuple[Port, ...]:
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise ModelError(f"{side} must be a list of ports.")
    for index, each in enumerate(content):
        _check_keys(each, Port, f"{side}[{index}] of the model card")
    return tuple(Port(**each) for each in content)


def _ports(ports, side: str) -> tuple[Port, ...]:
    if not isinstance(ports, (tuple, list)) or not all(isinstance(port, Port) for port in ports):
        raise ModelError(f"{side} must be a list of ports.")
    names = [port.name for port in ports]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ModelError(f"{side} name '{twice[0]}' twice.")
    return tuple(ports)


def _port(ports: tuple[Port, ...], name: str, problem: str) -> Port:
    for port in ports:
        if port.name == name:
            return port
    raise ModelError(f"{problem} '{name}' (it has: {', '.join(port.name for port in ports) or 'none'}).")


def _set(instance, name: str, value) -> None:
    """Assign a field of a frozen dataclass while it is being made."""
    object.__setattr__(instance, name, value)


def _text(value, where: str, *, filled: bool = False, pattern: re.Pattern | None = None) -> str:
    if not isinstance(value, str):
        raise ModelError(f"{where} must be text, not {value!r}.")
    if filled and not value.strip():
        raise ModelError(f"{where} must not be empty.")
    if pattern and not pattern.fullmatch(value):
        raise ModelError(f"{where} must match {pattern.pattern}, not {value!r}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ModelError(f"{where} has characters that cannot be written as UTF-8.") from error
    return value


def _texts(values, where: str) -> tuple[str, ...]:
    if not isinstance(values, (tuple, list)):
        raise ModelError(f"{where} must be a list of texts, not {values!r}.")
    return tuple(_text(value, f"every entry of {where}") for value in values)


def _choice(value, where: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ModelError(f"{where} must be one of {', '.join(choices)}, not {value!r}.")


def _integer(value, where: str, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ModelError(f"{where} must be a whole number of at least {at_least}, not {value!r}.")


def _finite(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _shape(shape) -> tuple[int, int, int]:
    if not isinstance(shape, (tuple, list)) or len(shape) != 3:
        raise ModelError(f"shape must be three sizes (D, H, W), not {shape!r}.")
    for size in shape:
        _integer(size, "every size of shape", at_least=1)
    return tuple(shape)


def _spacing(spacing) -> tuple[float | None, ...] | None:
    if spacing is None:
        return None
    good = isinstance(spacing, (tuple, list)) and len(spacing) == 3
    if not good or not all(step is None or (_finite(step) and step > 0) for step in spacing):
        raise ModelError(f"spacing must be null or three positive sizes in mm (i, j, k), not {spacing!r}.")
    return tuple(None if step is None else float(step) for step in spacing)


def _intensity(intensity, where: str) -> dict:
    if not isinstance(intensity, Mapping):
        raise ModelError(f"{where} must be an object, not {intensity!r}.")
    if not intensity:
        return {}
    if set(intensity) != {"kind", "lower", "upper"}:
        raise ModelError(f"{where} must have kind, lower and upper, not {sorted(map(str, intensity))}.")
    kind, lower, upper = intensity["kind"], intensity["lower"], intensity["upper"]
    _choice(kind, f"kind of {where}", INTENSITY_KINDS)
    if not (_finite(lower) and _finite(upper) and lower < upper):
        raise ModelError(f"{where} must have lower < upper, two finite numbers, not {lower!r} and {upper!r}.")
    if kind == "percentile" and not 0 <= lower < upper <= 100:
        raise ModelError(f"{where} must have percentiles between 0 and 100, not {lower!r} and {upper!r}.")
    return {"kind": kind, "lower": float(lower), "upper": float(upper)}


def _label_names(names, where: str) -> dict[int, str]:
    if not isinstance(names, Mapping):
        raise ModelError(f"{where} must be an object of label: name, not {names!r}.")
    result = {}
    for label, name in names.items():
        value = int(label) if isinstance(label, str) and re.fullmatch(r"[0-9]{1,9}", label) else label
        _integer(value, f"every label of {where}", at_least=0)
        result[value] = _text(name, f"{where} for label {value}", filled=True)
    return result


def _plain_dict(value, where: str) -> dict:
    if not isinstance(value, Mapping):
        raise ModelError(f"{where} must be an object, not {value!r}.")
    return _plain(value, where)


def _plain(value, where: str):
    """The value as JSON would give it back: dict, list, text, finite number, boolean or None; else `ModelError`."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise ModelError(f"{where} is {float(value)}: the model card holds finite numbers only.")
        return float(value)
    if isinstance(value, Mapping):
        return {_text(key, f"every key of {where}"): _plain(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(each, f"{where}[{index}]") for index, each in enumerate(value)]
    raise ModelError(f"{where} must be plain JSON data, not a {type(value).__name__}.")
