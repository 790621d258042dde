"""Applying a model to volumes: what was asked for is checked, the task does its work, the report says how."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence

import torch

from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.inference.built import built_system
from GANSynthesisLib.inference.classification import classify
from GANSynthesisLib.inference.coverage import check_coverage
from GANSynthesisLib.inference.reconstruction import reconstruct
from GANSynthesisLib.inference.refinement import refinement
from GANSynthesisLib.inference.registration import register
from GANSynthesisLib.inference.report import start_report
from GANSynthesisLib.inference.translation import translate
from GANSynthesisLib.models import Card, Model, ModelError
from GANSynthesisLib.options import check_options, uncertainty_of
from GANSynthesisLib.progress import IsCancelled, Progress, never, silent
from GANSynthesisLib.result import Result
from GANSynthesisLib.volumes import Volume, VolumeError, check_volume


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
    samples: int = 0,
    refine: str = "",
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
) -> Result:
    """Apply a model to volumes by role.

    outputs: names wanted, by default all that the given inputs allow. tile: window (D, H, W) in working voxels of a
    3D model; by default the whole volume where it fits. precision: `32` or `bf16`. optimize: steps by which a
    registration is improved for this very pair. samples: varied copies of the input, by which `NAME_uncertainty` is
    found for each output NAME (see `inference.uncertainty`); the outputs themselves stay as they are. refine: last
    step of a segmentation, `crf` or `shape=FILE` (see `inference.refinement`). Results lie on the grid of the input
    they belong to (registration: of the fixed volume; reconstruction: on a finer one). Raises VolumeError, ModelError
    or DeviceError before any work, Cancelled during it.
    """
    progress, cancelled = progress or silent, cancelled or never
    card = model.card
    wanted = _check(card, inputs, outputs, tile)
    check_options(card, precision, optimize, samples)
    refining = refinement(refine, card)
    where = torch_device(device)
    report = start_report(model, dict(inputs), str(where), precision, seed)
    if card.task == "register":
        report["settings"]["optimize"] = optimize
    if samples:
        report["settings"]["samples"] = samples
    if refine:
        report["settings"]["refine"] = refine
    torch.manual_seed(seed)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        system = built_system(model, where)
        report["seconds"]["load"] = round(time.perf_counter() - started, 3)
        with torch.inference_mode():
            if card.task == "register":
                with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
                    found = register(card, system, inputs, wanted, where, report, progress, cancelled, optimize)
            elif card.task == "classify":
                with torch.autocast(where.type, torch.bfloat16, enabled=precision == "bf16"):
                    work = check_coverage if card.system == "coverage" else classify
                    found = work(card, system, inputs, where, report, progress, cancelled)
            else:
                options = {"tile": tile, "precision": precision, "device": where, "report": report,
                           "progress": progress, "cancelled": cancelled}
                if card.task == "reconstruct":
                    found = reconstruct(card, system, inputs, wanted, **options)
                else:
                    found = translate(card, system, inputs, wanted, samples=samples, refine=refining, **options)
    report["warnings"] += sorted({str(w.message) for w in caught if issubclass(w.category, UserWarning)})
    report["seconds"]["total"] = round(time.perf_counter() - started, 3)
    progress(1.0, "done")
    uncertain = [uncertainty_of(name) for name in wanted] if samples else []
    return Result({name: found[name] for name in (*wanted, *uncertain)}, report)


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
        needs = "; or ".join(dict.fromkeys(", ".join(port.needs) for port in card.outputs if port.needs))
        raise ModelError(f"The model '{card.name}' takes: {roles}; it needs {needs}: give its inputs by these names.")
    if tile is not None and (len(tile) != 3 or any(int(size) != size or size < 1 for size in tile)):
        raise ModelError(f"tile is {tuple(tile)}: give three sizes (D, H, W) in voxels.")
    for role, volume in inputs.items():
        check_volume(volume, role)
        if volume.label_names:
            raise VolumeError(
                f"The {role} volume '{volume.name}' is a label map, where an image is needed: choose the image."
            )
    return list(outputs or possible)
