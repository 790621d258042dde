"""A voxel's way through a model: volumes -> working grid -> networks -> physical units -> the inputs' own grid."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.inference.built import built_system
from GANSynthesisLib.inference.memory import fits, halved, is_out_of_memory
from GANSynthesisLib.inference.registration import register
from GANSynthesisLib.inference.report import start_report
from GANSynthesisLib.inference.windows import apply_in_windows
from GANSynthesisLib.models import Card, Model, ModelError, Port
from GANSynthesisLib.options import check_options
from GANSynthesisLib.progress import IsCancelled, Progress, never, silent, stop_if
from GANSynthesisLib.result import Result
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.volumes import Grid, Intensity, Volume, VolumeError, check_volume
from GANSynthesisLib.working import foreground, image_arrays, intensity_range

SLICES_AT_ONCE = 8
OVERLAP = 0.5


def apply_model(
    model: Model,
    inputs: Mapping[str, Volume],
    *,
    outputs: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "32",
    tile: tuple[int, int, int] | None = None,
    seed: int = 0,
    optimize: int = 0,
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
) -> Result:
    """Apply a model to volumes by role.

    outputs: names wanted, by default all that the given inputs allow. tile: window (D, H, W) in working voxels of a
    3D model; by default the whole volume where it fits. precision: `32` or `bf16`. optimize: steps by which a
    registration is improved for this very pair. Results lie on the grid of the input they belong to (registration: of
    the fixed volume). Raises VolumeError, ModelError or DeviceError before any
    work, Cancelled during it.
    """
    progress, cancelled = progress or silent, cancelled or never
    card = model.card
    wanted = _check(card, inputs, outputs, tile)
    check_options(card, precision, optimize)
    where = torch_device(device)
    report = start_report(model, dict(inputs), str(where), precision, seed)
    if card.task == "register":
        report["settings"]["optimize"] = optimize
    torch.manual_seed(seed)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        system = built_system(model, where)
        report["seconds"]["load"] = round(time.perf_counter() - started, 3)
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
            if card.task == "register":
                found = register(card, system, inputs, wanted, where, report, progress, cancelled, optimize)
            else:
                found = _translate(card, system, inputs, wanted, tile, where, report, progress, cancelled)
    report["warnings"] += sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
    report["seconds"]["total"] = round(time.perf_counter() - started, 3)
    progress(1.0, "done")
    return Result({name: found[name] for name in wanted}, report)


def generate(
    model: Model,
    count: int = 1,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
) -> Result:
    """New images from noise: outputs `image`, or `image_1` … for a larger count; the same for the same seed."""
    progress = progress or silent
    card = model.card
    if card.task != "generate":
        raise ModelError(f"The model '{card.name}' does not generate images; its task is: {card.task}.")
    if not 1 <= count <= 10000:
        raise ModelError(f"{count} images were asked for: give a number from 1 to 10000.")
    where = torch_device(device)
    report = start_report(model, {}, str(where), "32", seed)
    started = time.perf_counter()
    system, port = built_system(model, where), card.output("image")
    random = torch.Generator().manual_seed(seed)
    found = {}
    for number in range(count):
        stop_if(cancelled or never)
        noise = torch.randn(1, system.settings.latent, generator=random).to(where)
        with torch.inference_mode():
            image = system.apply({"noise": noise})["image"][0, 0].cpu().numpy()
        name = "image" if count == 1 else f"image_{number + 1}"
        spacing = [value or 1.0 for value in card.spacing or (1.0,) * 3]
        grid = Grid.centred((0, 0, 0), image.shape, spacing)
        values = _output_intensity(port).denormalize(image)
        found[name] = Volume(values, grid.ijk_to_ras, port.unit, f"{card.name} {number + 1}")
        progress((number + 1) / count, f"image {number + 1} of {count}")
    report["seconds"]["total"] = round(time.perf_counter() - started, 3)
    report["outputs"] = sorted(found)
    return Result(found, report)


def available_outputs(card: Card, roles: Sequence[str]) -> list[str]:
    """Outputs that can be computed from inputs of these roles, also by way of another output."""
    known, names = set(roles), []
    for _ in card.outputs:
        for port in card.outputs:
            if port.name not in names and set(port.needs) <= known:
                names.append(port.name)
                known.add(port.name)
    return [port.name for port in card.outputs if port.name in names]


def _check(card: Card, inputs: Mapping[str, Volume], outputs: Sequence[str] | None, tile) -> list[str]:
    """The outputs to compute; ModelError or VolumeError where something does not fit."""
    if card.task == "generate":
        raise ModelError(f"The model '{card.name}' takes no image: use generate.")
    roles = ", ".join(f"{port.name} ({port.modality})" for port in card.inputs)
    for role in inputs:
        if role not in [port.name for port in card.inputs]:
            raise ModelError(f"The model '{card.name}' has no input '{role}'; it takes: {roles}.")
    possible = available_outputs(card, list(inputs))
    names = [port.name for port in card.outputs]
    for name in outputs or ():
        if name not in names:
            raise ModelError(f"The model '{card.name}' has no output '{name}'; it gives: {', '.join(names)}.")
        if name not in possible:
            needs = ", ".join(card.output(name).needs)
            raise ModelError(f"The model '{card.name}' needs {needs} for its output '{name}': give every one.")
    if not possible:
        raise ModelError(f"The model '{card.name}' takes: {roles}; give its inputs by these names.")
    if tile is not None and (len(tile) != 3 or any(int(size) != size or size < 1 for size in tile)):
        raise ModelError(f"tile is {tuple(tile)}: give three sizes (D, H, W) in voxels.")
    for role, volume in inputs.items():
        check_volume(volume, role)
        if volume.label_names:
            raise VolumeError(
                f"The {role} volume '{volume.name}' is a label map, where an image is needed: choose the image."
            )
    return list(outputs or possible)


def _output_intensity(port: Port) -> Intensity:
    """What [−1, 1] stands for; a card may leave it out, and then the values are left as they are."""
    return Intensity(port.intensity.get("lower", -1.0), port.intensity.get("upper", 1.0))


# --- translation and segmentation -----------------------------------------------------------------------------------


def _translate(card, system, inputs, wanted, tile, device, report, progress, cancelled) -> dict[str, Volume]:
    found = {}
    for roles, names in _passes(card, list(inputs), wanted).items():
        part = {role: inputs[role] for role in roles}
        found |= _translate_from(card, system, part, names, tile, device, report, progress, cancelled)
    return found


def _passes(card: Card, given: list[str], wanted: list[str]) -> dict[tuple[str, ...], list[str]]:
    """Input roles -> the outputs computed from them: each result lies on the grid of the image it belongs to.

    What an output needs is an input where it was given, else another output, computed from its own inputs.
    """
    def origin(name: str) -> list[str]:
        needs = card.output(name).needs
        return [role for need in needs for role in ([need] if need in given else origin(need))]

    passes: dict[tuple[str, ...], list[str]] = {}
    for name in wanted:
        used = origin(name)
        roles = tuple(port.name for port in card.inputs if port.name in (used or given))
        passes.setdefault(roles, []).append(name)
    return passes


def _translate_from(card, system, inputs, wanted, tile, device, report, progress, cancelled) -> dict[str, Volume]:
    begin, seconds = time.perf_counter(), report["seconds"]
    roles = list(inputs)
    ranges = {role: intensity_range(card.input(role)) for role in roles}
    arrays, preparation, _ = image_arrays({role: inputs[role] for role in roles}, ranges, card.spacing)
    seconds["prepare"] = round(seconds.get("prepare", 0) + time.perf_counter() - begin, 3)
    stop_if(cancelled)
    begin = time.perf_counter()
    tensors = {role: torch.from_numpy(np.ascontiguousarray(array))[None] for role, array in arrays.items()}
    answers = _run(card, system, tensors, tile, device, report, progress, cancelled)
    seconds["network"] = round(seconds.get("network", 0) + time.perf_counter() - begin, 3)
    stop_if(cancelled)
    begin = time.perf_counter()
    first, found = inputs[roles[0]], {}
    mask = None
    if getattr(system.settings, "mask_background", False) and "target" in wanted:
        mask = foreground(first, preparation.working)
    for name in wanted:
        port, answer = card.output(name), answers[name].numpy()
        title = f"{first.name} [{'synthetic ' + port.modality if name == 'target' else name}]"
        if port.is_segmentation:
            found[name] = preparation.back_labels(answer, title, port.label_names)
            continue
        image = np.maximum(answer[0], -1)
        if mask is not None:
            image[~mask] = -1
        found[name] = preparation.back(image, title, port.unit, _output_intensity(port))
    seconds["back"] = round(seconds.get("back", 0) + time.perf_counter() - begin, 3)
    return found


def _run(card: Card, system: System, tensors, tile, device, report, progress, cancelled) -> dict[str, torch.Tensor]:
    """Whole volume where it fits, else windows; on running out of memory smaller windows, then the CPU."""
    shape = tuple(next(iter(tensors.values())).shape[1:])
    window, stride, batch = _window_plan(card, system, shape, tile, device)
    while True:
        report["settings"]["window"] = list(window)
        try:
            return apply_in_windows(
                system.apply, tensors, window, stride=stride, batch=batch, device=device, progress=progress,
                cancelled=cancelled,
            )
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            smaller = halved(window) if card.context == "3D" else None
            if batch > 1:
                batch = 1
                report["warnings"].append("out of memory: went on with one window at a time")
            elif smaller is not None:
                window, stride = smaller, _stride(smaller)
                report["warnings"].append(f"out of memory: went on with windows of {window} voxels")
            elif device.type != "cpu":
                device = torch.device("cpu")
                system.to(device)
                report["warnings"].append("out of memory on the GPU: went on with the CPU")
            else:
                raise


def _stride(window: tuple[int, int, int]) -> tuple[int, int, int]:
    return tuple(max(1, int(size * (1 - OVERLAP))) for size in window)


def _window_plan(card: Card, system: System, shape, tile, device):
    """Window, stride and batch: whole slices in 2D and 2.5D; in 3D the whole volume if it fits."""
    if card.context == "2D":
        return (1, *shape[1:]), (1, *shape[1:]), SLICES_AT_ONCE
    if card.context == "2.5D":
        return (card.shape[0], *shape[1:]), (1, *shape[1:]), SLICES_AT_ONCE
    width = system.settings.width
    if tile is None and fits(shape, width, device):
        return shape, shape, 1
    window = tile or tuple(max(size, 64) for size in card.shape)
    window = tuple(min(size, whole) for size, whole in zip(window, shape, strict=True))
    return window, _stride(window), 1
