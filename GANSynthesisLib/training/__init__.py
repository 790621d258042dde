"""Training: cases, patches, the engine that plays the turns, checkpoints and the finished model.

What needs torch is imported when it is asked for: a panel looks at cases, curves and advice without it.
"""

from importlib import import_module

_PLACES = {"Alert": "engine", "Cancelled": "run", "train": "run", "extract_segmentor": "segmentors"}


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
