"""Every method of `side_by_side.py` as a recipe: system, settings, runs and what it is given of the training cases.

All generators are U-Nets of the same width, but for the context-aware GAN, whose network without pooling is part of
the method; a pass of it takes about as many multiplications. All take the same number of steps, one image at a time.
Paired methods share learning rates and differ in their losses alone. So do the unpaired ones, which go in the two runs
of `Resources/Training/training_script.py`; only the reference recipe is the one of Zhu 2017.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from command import ROOT, RUNS
from side_by_side_cases import Task, manifest_rows
from timed_training import medians, timed_runs

sys.path.append(str(ROOT / "Resources" / "Training"))

from training_script import TIE, TURN, show_progress, train_in_runs, write_manifest  # noqa: E402

FOLDER = RUNS / "side-by-side"
FEATURES = "target-segmentor"
TIMED_STEPS = 8
IMAGES = {"source": "source", "target": "target"}
LABELED = {**IMAGES, "labels": "labels"}
RANGE = "window:0:100"

SHARED = {
    "context": "2D", "width": 16, "batch": 1, "intensity": RANGE, "augment_intensity": 0, "validation_fraction": 0,
    "ema": 0.99, "checkpoint_every": 1_000_000,
}
TRANSLATES = {**SHARED, "target_intensity": RANGE, "discriminator_width": 16}
PAIRED = {**TRANSLATES, "learning_rate": 1e-3, "discriminator_learning_rate": 2e-4, "decay_from": 0.3}
NO_EDGES = {"gradient_consistency_weight": 0}
ONE_RUN = ((1.0, {}),)
TWO_RUNS = ((0.375, TURN | NO_EDGES), (0.625, TIE | NO_EDGES))
WITH_EDGES = ((0.375, TURN), (0.625, TIE))


@dataclass(frozen=True)
class Recipe:
    """One row of the table. runs: part of the steps and changes of the settings, one run after the other."""

    name: str
    title: str
    system: str
    settings: Mapping[str, object]
    runs: tuple[tuple[float, Mapping[str, object]], ...] = ONE_RUN
    columns: Mapping[str, str] = field(default_factory=lambda: IMAGES)
    told: str = "pairs"
    labels: bool = False  # the settings name the labels
    features: bool = False  # a frozen segmentor of the target is lent


RECIPES = (
    Recipe(FEATURES, "segmentor of the target (lends its features)", "segmentor",
           {**SHARED, "learning_rate": 1e-3}, columns={"source": "target", "labels": "labels"}, labels=True),
    Recipe("regression", "plain regression", "paired", PAIRED),
    Recipe("pix2pix", "pix2pix (Isola)", "paired", {**PAIRED, "adversarial_weight": 0.01}),
    Recipe("features", "regression with frozen features", "paired", {**PAIRED, "feature_weight": 1},
           told="pairs, target labels", features=True),
    Recipe("deep-supervision", "deep-supervision discriminator (Zhao)", "paired",
           {**PAIRED, "adversarial_weight": 0.01, "discriminator": "features"}, told="pairs, target labels",
           features=True),
    Recipe("context-aware", "context-aware GAN (Nie)", "context_aware", {**PAIRED}),
    Recipe("cyclegan-reference", "CycleGAN, reference recipe (Zhu)", "cyclegan", TRANSLATES, told="no pairs"),
    Recipe("cyclegan", "CycleGAN, two runs (= MR-GAN without pairs)", "cyclegan", TRANSLATES, TWO_RUNS,
           told="no pairs"),
    Recipe("gradient-consistency", "+ gradient consistency (Hiasa)", "cyclegan", TRANSLATES, WITH_EDGES,
           told="no pairs"),
    Recipe("segmentation-loss", "+ segmentation loss (Huo)", "cyclegan", {**TRANSLATES, "segmentation_weight": 1},
           TWO_RUNS, LABELED, "no pairs, source labels", labels=True),
    Recipe("shape-consistency", "+ shape consistency (Zhang)", "shape_consistency",
           {**TRANSLATES, "segmentor_warmup": 100}, TWO_RUNS, {**LABELED, "target_labels": "labels"},
           "no pairs, labels of both", labels=True),
    Recipe("mr-gan-10", "MR-GAN, 10 % of the slices paired (Jin)", "mr_gan", {**TRANSLATES, "paired_fraction": 0.1},
           TWO_RUNS, told="10 % pairs"),
    Recipe("mr-gan-100", "MR-GAN, all paired (Jin)", "mr_gan", {**TRANSLATES, "paired_fraction": 1}, TWO_RUNS),
)


def model_file(task: Task, name: str) -> Path:
    return FOLDER / task.name / f"{name}.safetensors"


def settings_of(recipe: Recipe, task: Task) -> dict:
    translates = "target_intensity" in recipe.settings
    modalities = {"modality": task.modalities[0], "target_modality": task.modalities[1]} if translates else {
        "modality": task.modalities[1]}
    labels = {"labels": task.labels} if recipe.labels else {}
    features = {"feature_model": str(model_file(task, FEATURES))} if recipe.features else {}
    return {**recipe.settings, "patch": task.patch, **modalities, **labels, **features}


def train_recipe(recipe: Recipe, task: Task, slices: Path, steps: int) -> None:
    """Train on the `slices` of the task's training patients, `steps` in all runs together, and write the model."""
    output = model_file(task, recipe.name)
    manifest = write_manifest(output, manifest_rows(slices, recipe.columns))
    card = {"name": f"side-by-side-{task.name}-{recipe.name}",
            "title": f"{recipe.title}: {' to '.join(task.modalities)}", "licence": "not for distribution"}
    runs = [(max(1, round(part * steps)), dict(changes)) for part, changes in recipe.runs]
    arguments = argparse.Namespace(output=output, steps=0, resume=True, progress=show_progress)
    train_in_runs(arguments, recipe.system, manifest, settings_of(recipe, task), runs, card)


def cpu_seconds(task: Task, recipes: Sequence[Recipe], slices: Path) -> dict[str, float]:
    """Name -> CPU seconds of a step of its last run on one thread; all methods take their steps in turn."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = {}
        for recipe in recipes:
            settings = settings_of(recipe, task) | dict(recipe.runs[-1][1])
            if "segmentor_warmup" in settings:
                settings["segmentor_warmup"] = 0  # a step as most are
            output = Path(folder) / f"{recipe.name}.safetensors"
            manifest = write_manifest(output, manifest_rows(slices, recipe.columns))
            jobs[recipe.name] = {"kind": "engine", "system": recipe.system, "data": str(manifest),
                                 "settings": settings, "output": str(output), "precision": "bf16"}
        with timed_runs(jobs, threads=1) as runs:
            rows = [{name: each.step() for name, each in runs.items()} for _ in range(TIMED_STEPS + 2)]
    return {name: medians([row[name] for row in rows[2:]])["cpu"] for name in jobs}  # the first two warm up
