"""How a network gets through a volume, and what is done when memory runs out on the way: one step down, and again.

Thinner slabs and smaller batches first, since they give the same result. Then bf16, if the network is one of ours:
they normalize over what they see, so that in windows they give another image (a third of the range apart at worst,
where bf16 is one percent). Then smaller windows, bf16 for all others, and the CPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from GANSynthesisLib.allocation import freed_memory_kept
from GANSynthesisLib.card import Card
from GANSynthesisLib.inference.memory import USABLE, available_bytes, is_out_of_memory
from GANSynthesisLib.inference.networks import THINNEST, Networks
from GANSynthesisLib.inference.plan import OVERLAP, Sizes, WindowPlan, halved, least_work, slices, whole, windows_of
from GANSynthesisLib.inference.windows import Tensors, apply_in_windows
from GANSynthesisLib.progress import IsCancelled, Progress
from GANSynthesisLib.systems.base import System

MOST_SLICES = 8  # worked through at once: more are no faster
SLAB_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}  # fits a cache; keeps a GPU busy
SLABS = 4  # of that size are in memory at once: read, padded, convolved, added
NORMALIZED_IN_WINDOWS = (
    "the volume was worked through in windows, over each of which the network normalizes: intensities may differ "
    "between them; crop the volume, or use a machine with more memory, for a result in one piece"
)


@dataclasses.dataclass(frozen=True)
class Way:
    """A step of the ladder."""

    plan: WindowPlan
    slab_bytes: int
    precision: str
    device: torch.device


def first_way(card: Card, networks: Networks, shape: Sizes, tile, precision: str, device: torch.device) -> Way:
    """Whole slices, as many as memory holds; a whole volume where it fits, else the windows with the least work.

    A volume that fits in bf16 only is worked through in bf16.
    """
    free = USABLE * available_bytes(device)
    slab_bytes = SLAB_BYTES.get(device.type, SLAB_BYTES["cuda"])
    if card.context != "3D":
        plan = slices(shape, 1 if card.context == "2D" else card.shape[0], MOST_SLICES)
        if not networks.certainly_fits(plan.window, plan.batch, free):
            batch = int(free / networks.memory.window_bytes(plan.window))
            plan = dataclasses.replace(plan, batch=max(1, min(MOST_SLICES, batch)))
    elif tile is not None:
        plan = windows_of(shape, tile, networks.multiple)
    elif networks.certainly_fits(shape, 1, free):
        plan = whole(shape)
    else:
        free, memory = free - SLABS * slab_bytes, networks.memory
        fits = [memory.window_bytes(shape) <= most for most in (free, 2 * free)]  # in fp32, in bf16
        plan = whole(shape) if any(fits) else least_work(shape, memory.most_voxels(free), networks.multiple)
        precision = "bf16" if fits == [False, True] else precision
    return Way(plan, slab_bytes, precision, device)


def next_way(way: Way, card: Card, networks: Networks) -> tuple[Way, str] | None:
    """One step down and what it is called; None at the foot of the ladder."""
    if way.plan.batch > 1:
        plan = dataclasses.replace(way.plan, batch=1)
        return dataclasses.replace(way, plan=plan), "went on with one window at a time"
    if networks.streamed and way.slab_bytes > THINNEST:
        return dataclasses.replace(way, slab_bytes=THINNEST), "went on with the thinnest slabs"
    in_bf16 = None if way.precision == "bf16" else (dataclasses.replace(way, precision="bf16"), "went on in bf16")
    if in_bf16 and networks.streamed:
        return in_bf16
    plan = halved(way.plan, networks.multiple) if card.context == "3D" else None
    if plan is not None:
        return dataclasses.replace(way, plan=plan), f"went on with windows of {plan.window} voxels"
    if in_bf16:
        return in_bf16
    if way.device.type != "cpu":
        cpu = torch.device("cpu")
        return first_way(card, networks, way.plan.shape, None, way.precision, cpu), "went on with the CPU"
    return None


def apply_down_the_ladder(
    card: Card,
    system: System,
    inputs: Tensors,
    names: Sequence[str],
    *,
    tile: Sizes | None,
    precision: str,
    device: torch.device,
    report: dict,
    progress: Progress,
    cancelled: IsCancelled,
    masks: Tensors,
) -> Tensors:
    """What the system gives for images by role, (1, D, H, W) -> (C, D, H, W) in fp32 on the CPU.

    Every step down the ladder, and how the work was done in the end, is written into the report.
    """
    shape = tuple(next(iter(inputs.values())).shape[1:])
    networks = Networks(system, device)
    way = first_way(card, networks, shape, tile, precision, device)
    if way.precision != precision:
        report["warnings"].append("memory is too small for the whole volume in fp32: it was worked through in bf16")
    while True:
        networks.prepare(way.device, way.slab_bytes, way.precision, work=way.plan)
        try:
            in_bf16 = torch.autocast(way.device.type, torch.bfloat16, enabled=way.precision == "bf16")
            with in_bf16, freed_memory_kept():
                answers, left_out = apply_in_windows(
                    system.apply, inputs, way.plan, names, device=way.device, progress=progress, cancelled=cancelled,
                    masks=masks,
                )
        except (RuntimeError, MemoryError) as error:
            step = next_way(way, card, networks) if is_out_of_memory(error) else None
            if step is None:
                raise
            way, words = step
            report["warnings"].append(f"out of memory: {words}")
            continue
        if networks.streamed and len(way.plan.corners) > 1:
            report["warnings"].append(NORMALIZED_IN_WINDOWS)
        report["device"] = str(way.device)
        report["settings"] |= {
            "precision": way.precision, "window": list(way.plan.window), "windows": len(way.plan.corners),
            "windows_left_out": left_out, "work": round(way.plan.work, 2), "batch": way.plan.batch,
            "overlap": OVERLAP if len(way.plan.corners) > 1 and card.context == "3D" else 0,
            "memory_format": networks.memory_format,
        }
        return answers
