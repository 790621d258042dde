"""The record of how a result came about."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any

import numpy as np

from GANSynthesisLib.models import Model
from GANSynthesisLib.versions import software_versions
from GANSynthesisLib.volumes import Volume

NOTICE = "Synthetic result of a research model; not for diagnosis."


def volume_hash(volume: Volume) -> str:
    """SHA-256 over type, shape, voxels and geometry."""
    digest = hashlib.sha256(f"{volume.voxels.dtype}{volume.shape}".encode())
    digest.update(np.ascontiguousarray(volume.voxels).data)
    digest.update(np.ascontiguousarray(np.round(volume.ijk_to_ras, 6)).data)
    return digest.hexdigest()


def start_report(model: Model, inputs: dict[str, Volume], device: str, precision: str, seed: int) -> dict[str, Any]:
    card = model.card
    return {
        "model": card.name, "model_hash": model.sha256, "system": card.system, "task": card.task,
        "licence": card.licence, "notice": NOTICE,
        "inputs": {
            role: {"name": volume.name, "hash": volume_hash(volume), "shape": list(volume.shape),
                   "spacing": [round(value, 4) for value in volume.spacing]}
            for role, volume in inputs.items()
        },
        "settings": {"precision": precision, "seed": seed},
        "versions": software_versions(), "device": device,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": {}, "warnings": [],
    }
