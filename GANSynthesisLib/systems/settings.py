"""Typed settings of a system: one dataclass gives the command line, the panel and the model card."""

from __future__ import annotations

import dataclasses
import math
import typing


class SettingsError(ValueError):
    """A setting that does not exist or is outside its documented range; the message says which and what is allowed."""


def setting(default, help: str, *, low=None, high=None, choices: tuple | None = None, common: bool = False):
    """Declare one field of a settings dataclass: default, one-line help, closed range or choices."""
    return dataclasses.field(
        default=default, metadata={"help": help, "low": low, "high": high, "choices": choices, "common": common}
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings every system has. Subclasses add the weights of their losses as `<term>_weight`."""

    context: str = setting(
        "2.5D",
        "slices the networks see at once: 2D one, 2.5D a slab of neighbors, 3D a block",
        choices=("2D", "2.5D", "3D"),
        common=True,
    )
    patch: tuple[int, ...] = setting(
        (160, 160), "rows and columns of a training patch (2D, 2.5D); depth, rows, columns (3D)", low=8, high=512
    )
    slab: int = setting(5, "neighboring slices of a 2.5D slab (odd)", low=3, high=15)
    spacing: tuple[float, ...] = setting(
        (0.0,), "voxel size in mm the networks work at (one number or three); 0 keeps the image's own", low=0, high=20
    )
    width: int = setting(32, "channels of the first layer", low=4, high=256, common=True)
    batch: int = setting(4, "patches per turn", low=1, high=256, common=True)
    learning_rate: float = setting(2e-4, "learning rate of every player", low=1e-7, high=1.0, common=True)
    discriminator_learning_rate: float = setting(
        0.0, "learning rate of discriminators and critics; 0 means the same as the others", low=0, high=1.0
    )
    optimizer: str = setting("adam", "optimizer of every player", choices=("adam", "rmsprop"))
    beta1: float = setting(0.5, "first moment decay of Adam", low=0, high=0.999)
    beta2: float = setting(0.999, "second moment decay of Adam", low=0, high=0.9999)
    weight_decay: float = setting(0.0, "decoupled L2 weight decay", low=0, high=1.0)
    clip_gradient: float = setting(0.0, "largest gradient norm of a turn; 0 switches clipping off", low=0, high=1e4)
    warmup: int = setting(50, "steps over which the learning rate rises from zero", low=0, high=100000)
    decay_from: float = setting(0.5, "fraction of the run after which the rate falls linearly to 0", low=0, high=1)
    ema: float = setting(0.995, "decay of the averaged weights the model is saved with", low=0, high=0.99999)
    pool: int = setting(50, "past fakes shown again to the discriminators (0 none; Shrivastava 2017)", low=0, high=500)
    augment: float = setting(1.0, "strength of random rotation, scaling and flips of training patches", low=0, high=2)
    augment_intensity: float = setting(
        0.3, "strength of random contrast change of input images; more for images from other scanners", low=0, high=2
    )
    validation_fraction: float = setting(0.2, "part of the subjects kept for validation", low=0, high=0.8)
    validate_every: int = setting(200, "steps between validations and previews", low=1, high=1000000)
    patience: int = setting(0, "validations without improvement before stopping early; 0 never", low=0, high=1000)
    checkpoint_every: int = setting(200, "steps between checkpoints", low=1, high=1000000)

    def __post_init__(self):
        kinds = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, kinds[field.name], getattr(self, field.name)))
        if self.slab % 2 == 0:
            raise SettingsError(f"slab is {self.slab}: a slab has a middle slice, so give an odd number.")

    @classmethod
    def parse(cls, values: dict) -> Settings:
        """Settings from names and values (texts as typed on the command line, or numbers from a card)."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingsError(f"unknown setting {', '.join(unknown)}; there are: {', '.join(sorted(known))}.")
        return cls(**values)

    @classmethod
    def describe(cls) -> list[dict]:
        """One JSON-able entry per setting: name, type, default, low, high, choices, help, common."""
        kinds = typing.get_type_hints(cls)
        return [
            {"name": field.name, "type": _type_name(kinds[field.name]), "default": field.default, **field.metadata}
            for field in dataclasses.fields(cls)
        ]

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)

    def window(self) -> tuple[int, int, int]:
        """Depth, rows and columns of a training patch in the chosen context."""
        rows_columns = tuple(self.patch)[-2:] if len(self.patch) >= 2 else (self.patch[0],) * 2
        if self.context == "3D":
            return tuple(self.patch) if len(self.patch) == 3 else (self.patch[0], *rows_columns)
        return (1 if self.context == "2D" else self.slab, *rows_columns)


def _type_name(kind) -> str:
    if typing.get_origin(kind) is tuple:
        return f"list of {typing.get_args(kind)[0].__name__}"
    return kind.__name__


def _checked(field: dataclasses.Field, kind, value):
    try:
        value = _converted(kind, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingsError(f"{field.name} must be {_type_name(kind)}, not {value!r}.") from error
    choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
    if choices and value not in choices:
        raise SettingsError(f"{field.name} is {value!r}; it must be one of {', '.join(map(str, choices))}.")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise SettingsError(f"{field.name} is {number}; it must be a finite number.")
        if (low is not None and number < low) or (high is not None and number > high):
            raise SettingsError(f"{field.name} is {number}; it must be between {low} and {high}.")
    return value


def _converted(kind, value):
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        parts = value.replace("x", ",") if isinstance(value, str) and item is not str else value
        if isinstance(parts, str):
            parts = parts.split(",") if parts else ()
        parts = parts if isinstance(parts, (list, tuple)) else [parts]
        return tuple(_converted(item, part.strip() if isinstance(part, str) else part) for part in parts)
    if kind is bool:
        if isinstance(value, str):
            if value.lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
                raise ValueError(value)
            return value.lower() in ("true", "1", "yes", "on")
        return bool(value)
    if kind is int and not isinstance(value, str) and int(value) != value:
        raise ValueError(value)
    return kind(value)
