"""How well a system does on batches it has not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.training.monitors import image_monitors
from GANSynthesisLib.training.processes import Processes

LOOKED_AT = 8  # validation batches whose previews are compared with each other


@contextmanager
def with_weights(system: System, weights: dict[str, torch.Tensor]) -> Iterator[None]:
    """Within, the system has these weights and is applied, not trained."""
    own = {name: value.detach().clone() for name, value in system.state_dict().items()}
    system.load_state_dict(weights)
    system.eval()
    yield
    system.train()
    system.load_state_dict(own)


@torch.no_grad()
def validated(
    system: System, weights: dict[str, torch.Tensor], batches: list[Batch], processes: Processes
) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Numbers with these weights, for `losses.csv` (`validation/…`, `diversity/…`), the same on all processes, which
    share the batches; and a preview. The system and the random state of training are left as they were."""
    fabric, first = processes.fabric, processes.first
    devices = [fabric.device] if fabric.device.type == "cuda" else []
    with with_weights(system, weights), torch.random.fork_rng(devices=devices), fabric.autocast():
        rows = {}
        for number in processes.share.of(range(len(batches))):
            torch.manual_seed(number)  # simulated misalignment is the same at every validation
            rows[number] = system.validate(batches[number])
        preview = system.preview(batches[len(batches) // 2]) if first else {}
        spaced = batches[:: max(1, len(batches) // LOOKED_AT)][:LOOKED_AT] if first else []
        diversity = image_monitors([system.preview(batch) for batch in spaced])
    parts = processes.gathered((rows, diversity))
    together = {number: row for rows, _ in parts for number, row in rows.items()}
    return _means([together[number] for number in sorted(together)]) | parts[0][1], preview


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Over the batches that have a number which is one."""
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]
        if values:
            found[f"validation/{name}"] = sum(values) / len(values)
    return found
