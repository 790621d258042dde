"""The card of a model that has just been trained: only what the run knows."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from GANSynthesisLib.appearance import summarize
from GANSynthesisLib.models import Card, Port
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.loading import LoadedCase
from GANSynthesisLib.versions import software_versions
from GANSynthesisLib.working import parse_range, parse_spacing

DESCRIPTIONS = {
    "source": "image to be translated", "target": "image of the target modality", "fixed": "image that stays in place",
    "moving": "image that is aligned to the fixed one", "warped": "moving image on the fixed image's grid",
    "transform": "maps fixed points to moving points", "segmentation": "label of every voxel",
    "image": "generated image", "labels": "structures that the image is to have",
    "linear": "the linear part of the transform alone",
    "deformation": "how far the transform moves a point beyond its linear part",
    "jacobian": "local change of volume from fixed to moving image; where it is not positive, the transform folds",
    "warped_segmentation": "label of every voxel of the moving image, on the fixed image's grid",
    "class": "the class of the image, with the probability of each",
    "thick": "volume of thick slices", "second": "volume of thick slices across those of the first",
    "thin": "volume of thin slices, the thick ones among them", "low": "volume of low resolution",
    "high": "volume of high resolution",
}


def training_card(
    system: System, output: Path, *, loaded: list[LoadedCase], validation: list[LoadedCase], engine, subjects,
    held_out, data_hash: str, precision: str, machine: str, changes: dict,
) -> Card:
    """Card of a finished run; `changes` sets fields (title, description, licence, anatomy, …) on top."""
    settings = system.settings
    needs = type(system).needs(settings)
    used = [role for wanted in needs.values() for role in wanted]
    roles = [role for role in dict.fromkeys((*system.roles, *used)) if role in used]
    needed = type(system).needed(settings)
    inputs = tuple(_input(system, role, optional=role not in needed) for role in roles)
    outputs = tuple(_output(system, name, wanted, loaded) for name, wanted in needs.items())
    best = engine.best
    stem = re.sub(r"[^A-Za-z0-9._+-]", "-", output.name.removesuffix(".safetensors")).lstrip(".-_+")
    spacing = (settings.spacing[0],) * 3 if system.task == "register" else parse_spacing(
        settings.spacing, settings.context)
    shape = settings.window()
    if system.task == "reconstruct":  # a card tells of the images given; the networks work on finer voxels
        spacing, shape = system.coarse(spacing, shape)
    fields = {
        "name": stem or "model",
        "title": system.title,
        "description": f"{system.title}, trained by the user. Research only, not for diagnosis.",
        "system": system.name, "task": system.task, "settings": _plain(settings.as_dict()), "inputs": inputs,
        "outputs": outputs, "spacing": spacing, "shape": shape, "context": settings.context,
        "anatomy": getattr(settings, "anatomy", ""),
        "training": {
            "subjects": subjects, "held_out_subjects": held_out, "cases": len(loaded),
            "validation_cases": len(validation), "steps": engine.step,
            "kept_step": best["step"] if best else engine.step, "precision": precision, "data_sha256": data_hash,
            "machine": machine, "alerts": engine.alerts, "inputs": _appearances(system, roles, loaded),
        },
        "metrics": {"validation": _finite(best["numbers"] if best else _last_validation(engine.history))},
        "citations": tuple(re.split(r"(?<=\d\.)\s+(?=[A-Z][a-z]+ [A-Z])", system.citation)),
        "versions": software_versions(), "seed": engine.run.seed,
    }
    return Card(**{**fields, **changes})


def _appearances(system: System, roles: list[str], loaded: list[LoadedCase]) -> dict[str, dict]:
    """What the training images of each input look like; the guard compares a user's images with it."""
    shown = {role: type(system).role_of(role) for role in roles}
    images = {role: [case.appearance[kind] for case in loaded if kind in case.appearance]
              for role, kind in shown.items()}
    return {role: summarize(found) for role, found in images.items() if found}


def _plain(settings: dict) -> dict:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    """What was measured; a number that is NaN or infinite was not, and a card takes none."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}


def _last_validation(history: list[dict]) -> dict:
    for row in reversed(history):
        found = {name.split("/", 1)[1]: value for name, value in row.items() if name.startswith("validation/")}
        if found:
            return found
    return {}


def _input(system: System, role: str, optional: bool) -> Port:
    settings = system.settings
    if role == "labels":
        names = dict(enumerate(settings.labels[1:], start=1))
        return Port(role, "mask", description=DESCRIPTIONS[role], label_names=names, optional=optional)
    if role in ("fixed", "moving", "target"):
        modality, text = getattr(settings, f"{role}_modality"), getattr(settings, f"{role}_intensity")
    else:
        modality, text = _source_modality(settings, type(system).role_of(role)), settings.intensity
    chosen = parse_range(text)
    intensity = {"kind": chosen.kind, "lower": chosen.lower, "upper": chosen.upper}
    return Port(role, modality, description=DESCRIPTIONS.get(role, ""), intensity=intensity, optional=optional)


def _source_modality(settings, role: str) -> str:
    """Roles that a system calls its sources are called after their modalities, unless there is one alone."""
    return role if role in getattr(settings, "sources", ()) and role != "source" else settings.modality


def _output(system: System, name: str, needs: tuple[str, ...], loaded: list[LoadedCase]) -> Port:
    settings, description = system.settings, DESCRIPTIONS.get(name, "")
    if name in ("segmentation", "warped_segmentation"):
        titles = system.structures if system.task == "register" else settings.labels[1:]
        names = dict(enumerate(titles, start=1))
        return Port(name, "", description=description, label_names=names, needs=needs)
    if name in ("transform", "linear", "deformation"):
        return Port(name, "", "mm", description, needs=needs)
    if name in ("jacobian", "class"):
        return Port(name, "", "", description, needs=needs)
    if name == "warped":
        return Port(name, settings.moving_modality, description=description, needs=needs)
    if system.task == "reconstruct":  # in the unit and range of the very image that is given
        return Port(name, settings.modality, description=description, needs=needs)
    role = type(system).role_of(name)
    modality = settings.target_modality if role == "target" else _source_modality(settings, role)
    text = settings.target_intensity if role == "target" else settings.intensity
    ranges = [case.intensity[role] for case in loaded if role in case.intensity]
    lower, upper = (float(value) for value in np.mean(ranges, 0))
    unit = getattr(settings, "target_unit", "") or ("HU" if parse_range(text).kind == "hounsfield" else "")
    return Port(name, modality, unit, description, {"kind": "window", "lower": lower, "upper": upper}, needs=needs)
