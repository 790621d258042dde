"""Checkpoints: everything a run needs to go on as if it had never stopped, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import torch


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed; the message says why and what to do."""


def save_checkpoint(path: Path, content: dict) -> None:
    """Write beside and rename: a kill at any moment leaves the old checkpoint or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".writing")
    with beside.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)


def check_same_run(folder: Path, content: dict, identity: dict) -> None:
    """Raises CheckpointError where a checkpoint's system, settings, steps or seed are not those of `identity`."""
    for name, value in identity.items():
        then = content.get(name)
        if then != value:
            if isinstance(then, dict):
                changed = sorted(key for key in {**then, **value} if then.get(key) != value.get(key))
                name, then, value = (", ".join(part) for part in (
                    changed, [str(then.get(key)) for key in changed], [str(value.get(key)) for key in changed]))
            raise CheckpointError(
                f"The checkpoint in {folder} was made with other {name} ({then}, not {value}): give the same as then, "
                "or start without --resume."
            )


def load_checkpoint(path: Path) -> dict:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"The checkpoint {path} cannot be read ({type(error).__name__}): delete it and start without --resume."
        ) from error
