"""One training run from a folder of cases to a model file."""

from __future__ import annotations

import hashlib
import math
import platform
import shutil
import time
from collections.abc import Callable, Collection
from contextlib import closing
from pathlib import Path

import numpy as np
import torch

from GANSynthesisLib.allocation import freed_memory_kept
from GANSynthesisLib.models import Card, Model, load_model, save_model
from GANSynthesisLib.progress import Cancelled, IsCancelled, Progress, never, silent
from GANSynthesisLib.systems import build_system, system_class
from GANSynthesisLib.systems.base import System
from GANSynthesisLib.training.cards import training_card
from GANSynthesisLib.training.cases import Case, DataError, find_cases, split_subjects
from GANSynthesisLib.training.checkpoint import load_checkpoint
from GANSynthesisLib.training.conditions import check_enough, learned_settings, of_classes
from GANSynthesisLib.training.copies import find_copies
from GANSynthesisLib.training.engine import Alert, Engine, Run
from GANSynthesisLib.training.features import lend_features
from GANSynthesisLib.training.patches import PatchSampler, check_roles
from GANSynthesisLib.training.prepared import FOLDER as PREPARED
from GANSynthesisLib.training.prepared import prepared_cases
from GANSynthesisLib.training.processes import Processes, launched_fabric
from GANSynthesisLib.training.unfinished import ENDING

__all__ = ["Alert", "Cancelled", "run_folder", "train"]

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}


def run_folder(output: Path) -> Path:
    """Where a run keeps checkpoint, curves and previews: beside the model it makes."""
    output = Path(output)
    return output.with_name(output.name.removesuffix(".safetensors") + ENDING)


def train(
    system_name: str,
    data: Path,
    output: Path,
    *,
    settings: dict | None = None,
    steps: int = 2000,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    resume: bool = False,
    initial: str | Path | Model | None = None,
    card: dict | None = None,
    progress: Progress | None = None,
    cancelled: IsCancelled | None = None,
    log: Callable[[str], None] | None = None,
    leave_out: Collection[str] = (),
) -> Path:
    """Train a system on the cases of `data` and write a model with its card to `output` (`.safetensors`).

    data: a folder with one subfolder per role, or a CSV manifest. settings: names and values of the system's settings.
    initial: a model, its name or its file, of the same system and networks, whose weights the run starts from.
    card: fields of the card to set (title, description, licence, …). progress(fraction 0…1, text) is called after
    every step; cancelled() is asked before. log(line) is called with every alert. leave_out: names of cases not to
    train on. With `resume` a run goes on from its last checkpoint; on a CPU it ends
    with the same bits as an uninterrupted one. Raises SettingsError, DataError, CheckpointError (before any work),
    Alert (training broke down), Cancelled.

    Started by torchrun or srun, all processes together train the one model: `batch` patches per turn are shared among
    them, and the first process reports and writes. The folder of `output` must be one that all of them see.
    """
    output = Path(output)
    if output.suffix != ".safetensors":
        raise DataError(f"The model file {output} must end in .safetensors.")
    if steps < 1:
        raise DataError(f"steps is {steps}: give at least one step.")
    if seed < 0:
        raise DataError(f"seed is {seed}: give a whole number from 0 on.")
    if precision not in PRECISIONS:
        raise DataError(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}.")
    chosen = system_class(system_name)
    parsed = learned_settings(chosen, chosen.Settings.parse(settings or {}), Path(data))
    fabric = launched_fabric(device, PRECISIONS[precision])
    processes = Processes(fabric)
    if parsed.batch % processes.share.count:
        raise DataError(f"batch is {parsed.batch}, for {processes.share.count} processes together: set batch to a "
                        f"multiple of {processes.share.count}.")
    torch.manual_seed(seed)
    system = build_system(system_name, parsed.as_dict())
    if initial is not None:
        _take_weights(system, initial if isinstance(initial, Model) else load_model(initial))
    features = lend_features(system)
    optional = tuple(role for role in chosen.optional_roles if role not in system.roles)
    found = find_cases(data, system.roles, optional, system.paired, system.advice)
    found = [case for case in of_classes(found, parsed, data) if case.name not in leave_out]
    if not found:
        raise DataError(f"All cases in {data} are left out: mend their problems, or give other data.")
    check_enough(found, system, data)
    if not system.paired:
        _forget_unwanted_labels(found, system)
    training, held_out = split_subjects(found, parsed.validation_fraction, seed)
    folder = run_folder(output)
    say, tell = (progress or silent, log or _unheard) if processes.first else (silent, _unheard)

    def reading(number: int) -> None:
        say(0.0, f"reading case {number + 1} of {math.ceil(len(found) / processes.share.count)}")

    with prepared_cases([*training, *held_out], system, folder, processes, reading) as cases, freed_memory_kept():
        loaded, kept = cases[: len(training)], cases[len(training) :]
        check_roles(loaded, system)
        if features:
            features.network.to(fabric.device)
        sampler = PatchSampler(loaded, system, seed, processes.share)
        batches = PatchSampler(kept, system, seed).validation_batches(fabric.device) if kept else []
        started = time.monotonic()
        first = 0

        def report(step: int, text: str) -> None:
            left = (time.monotonic() - started) / max(step - first, 1) * (steps - step)
            say(step / steps, f"step {step}/{steps}, {_clock(left)} left: {text}")

        run = Run(folder, steps, seed, report, cancelled or never, tell)
        engine = Engine(system, sampler, batches, fabric, run)
        data_hash = _data_hash(found) if processes.first else ""

        def describe() -> Card:
            described = training_card(
                system, output, loaded=loaded, validation=kept, engine=engine, subjects=_subjects(training),
                held_out=_subjects(held_out), data_hash=data_hash, precision=precision,
                machine=f"{platform.machine()} {fabric.device.type}", changes=card or {},
            )
            return features.noted(described) if features else described

        describe()  # a field that no card takes must stop the run before it starts, not when it is finished
        checkpoint = folder / "checkpoint.pt"
        if processes.any(resume and checkpoint.exists()):
            engine.load(load_checkpoint(checkpoint))
            first = engine.step
            say(first / steps, f"resumed at step {first}")
        else:
            if processes.first:
                _clear(folder)
            engine.save()
        with closing(sampler):
            weights = engine.train()
            copies = find_copies(system, weights, loaded, fabric.device)
            if copies:
                engine.alert("memorization", copies)
    if processes.first:
        save_model(output, system.deployed_state(weights), describe())
        say(1.0, f"wrote {output}")
    return output


def _clear(folder: Path) -> None:
    """Remove an older run, but not the cases that were prepared for this one."""
    for path in folder.iterdir():
        if path.is_dir() and path.name != PREPARED:
            shutil.rmtree(path)
        elif path.name != PREPARED:
            path.unlink()


def _take_weights(system: System, model: Model) -> None:
    """Start from a model's weights; what it does not have (a discriminator, say) starts afresh."""
    if model.card.system != system.name:
        raise DataError(f"The model '{model.card.name}' is of the system {model.card.system}, not {system.name}.")
    given, own = model.build().deployed_state(), system.state_dict()
    unfit = [name for name, value in given.items() if name not in own or own[name].shape != value.shape]
    if unfit:
        raise DataError(
            f"The weights of the model '{model.card.name}' do not fit networks of these settings ({unfit[0]}): give "
            "the settings it was trained with, which its card lists."
        )
    system.load_state_dict(given, strict=False)
    system.start_anew()


def _forget_unwanted_labels(cases: list[Case], system) -> None:
    """Labels count only where the system's settings ask for them."""
    if "labels" not in system.roles:
        for case in cases:
            case.files.pop("labels", None)


def _subjects(cases: list[Case]) -> list[str]:
    return sorted({case.subject for case in cases})


def _data_hash(cases: list[Case]) -> str:
    """SHA-256 over the bytes of all training files, in the order of their names."""
    digest = hashlib.sha256()
    for case in cases:
        for role in sorted(case.files):
            path = case.files[role]
            if path.is_file():
                digest.update(f"{case.name}/{role}".encode())
                digest.update(np.frombuffer(path.read_bytes(), np.uint8))
    return digest.hexdigest()


def _unheard(line: str) -> None:
    """For a log that nobody keeps."""


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
