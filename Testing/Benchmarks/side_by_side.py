"""Every translation method on the same images, with networks of one size and the same steps, side by side.

    python Testing/Benchmarks/side_by_side.py --train [--steps N] [--task NAME …] [--methods NAME …]
    python Testing/Benchmarks/side_by_side.py [--page DIR] [--time]

The first command trains what is missing in runs/side-by-side (about 50 minutes of one core), as BENCH=full does; the
second measures the models that are there on patients that they have not seen. The images are described in
`side_by_side_cases.py`, the methods in `side_by_side_recipes.py`.

Measures, of every axial slice of the test patients: mean absolute error in percent of the range over the head, PSNR
and SSIM there, and the mean absolute error of the edges: of the tenth of the head where the true image changes most,
and the voxels around it (bone and skull, fluid and cortex). In brackets the 95 % bootstrap interval over slices: how
sure the mean is for these two patients, not what a third one would show. Peers: the source as it is, and the best
mapping of its intensities, fitted on the training slices. Where a method differs from another by one loss, the
difference is given, slice by slice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from command import RUNS, Entry, LeftOut, parser, print_table, refuse_test_subjects, run
from intensity_mapping import IntensityMapping
from side_by_side_cases import TASKS, Head, Task, write_slices
from side_by_side_recipes import FEATURES, FOLDER, RECIPES, Recipe, cpu_seconds, model_file, train_recipe
from side_by_side_scores import MEASURES, Scores, joined, score, with_interval

from GANSynthesisLib.evaluation.page import write_page, write_picture
from GANSynthesisLib.evaluation.synthesis import KnownCase
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model
from GANSynthesisLib.volumes import Volume

IDENTITY, MAPPING = "source as it is", "intensity mapping"
# What one loss brings: the method with it, and the one without.
ONE_LOSS = (
    ("pix2pix", "regression"), ("features", "regression"), ("deep-supervision", "regression"),
    ("gradient-consistency", "cyclegan"), ("segmentation-loss", "cyclegan"), ("shape-consistency", "cyclegan"),
    ("cyclegan", "cyclegan-reference"), ("mr-gan-10", "cyclegan"), ("mr-gan-10", "mr-gan-100"),
)


def train_missing(data: Path | None, labels: Path, task: Task, recipes: Sequence[Recipe], steps: int = 0) -> None:
    """Train those of the recipes that have no model yet; steps: of each, 0 takes the task's."""
    missing = [recipe for recipe in recipes if not model_file(task, recipe.name).exists()]
    slices = training_slices(data, labels, task) if missing else None
    for recipe in missing:
        print(f"\ntraining {recipe.title}: {task.name}, {steps or task.steps} steps", flush=True)
        train_recipe(recipe, task, slices, steps or task.steps)


def training_slices(data: Path | None, labels: Path, task: Task) -> Path:
    folder = FOLDER / task.name / "slices"
    folder.mkdir(parents=True, exist_ok=True)
    write_slices(task.read(data, labels, task.training), folder)
    return folder


def chosen_recipes(names: Sequence[str]) -> list[Recipe]:
    """In the order of the list; with any that needs features, the segmentor that lends them."""
    lent = any(recipe.features for recipe in RECIPES if recipe.name in names)
    return [recipe for recipe in RECIPES if not names or recipe.name in names or (lent and recipe.name == FEATURES)]


def answers(task: Task, training: Sequence[Head], test: Sequence[Head], recipes: Sequence[Recipe], device: str
            ) -> dict[str, list[np.ndarray]]:
    """Name of a method or peer -> its translation of each test patient; says what has no model."""
    values = [np.concatenate([getattr(head, role).voxels[head.mask] for head in training]) / 100
              for role in ("source", "target")]
    mapping = IntensityMapping.fit(*values)
    found = {IDENTITY: [head.source.voxels for head in test],
             MAPPING: [100 * mapping(head.source.voxels / 100) for head in test]}
    for recipe in recipes:
        path = model_file(task, recipe.name)
        if recipe.name == FEATURES:
            continue
        if not path.exists():
            print(f"left out: {recipe.title} has no model for {task.name}: train it with --train", file=sys.stderr)
            continue
        model = load_model(path)
        refuse_test_subjects(model, task.test)
        found[recipe.name] = [apply_model(model, {"source": head.source}, outputs=["target"], device=device)
                              .outputs["target"].voxels for head in test]
    return found


def table_rows(scores: Mapping[str, Scores], recipes: Sequence[Recipe]) -> list[tuple[str, ...]]:
    known = {recipe.name: (recipe.title, recipe.told) for recipe in recipes} | {
        IDENTITY: (IDENTITY, "nothing"), MAPPING: (MAPPING, "pairs")}
    return [(*known[name], *(with_interval(each[measure], digits) for measure, digits in MEASURES.items()))
            for name, each in scores.items()]


def print_differences(task: Task, scores: Mapping[str, Scores]) -> None:
    rows = [(f"{name} minus {peer}", *(with_interval(scores[name][measure] - scores[peer][measure], digits, "+")
                                       for measure, digits in MEASURES.items()))
            for name, peer in ONE_LOSS if name in scores and peer in scores]
    if rows:
        print_table(f"{task.name}: what one change brings, slice by slice", ("difference", *MEASURES), rows)


def print_seconds(task: Task, recipes: Sequence[Recipe], slices: Path) -> None:
    spent = cpu_seconds(task, recipes, slices)
    least = min(spent.values())
    print_table(f"{task.name}: a step", ("method", "CPU s", "times the least"), [
        (recipe.title, f"{spent[recipe.name]:.3f}", f"{spent[recipe.name] / least:.1f}") for recipe in recipes])


def write_comparison(folder: Path, task: Task, test: Sequence[Head], found: Mapping[str, list[np.ndarray]],
                     rows: Sequence[Sequence[str]]) -> None:
    """A page with the table and a slice of each test patient; images in their own percentiles, as in `evaluate`."""
    pictures = {}
    for number, head in enumerate(test):
        shown = head.shown()
        at = slice(shown[len(shown) // 2], shown[len(shown) // 2] + 1)
        images = {name: Volume(np.where(head.mask, np.clip(each[number], 0, 100), 0)[at].astype(np.float32),
                               head.target.ijk_to_ras) for name, each in found.items()}
        case = KnownCase(head.name, head.name, {task.modalities[0]: head.source.with_voxels(head.source.voxels[at])},
                         head.target.with_voxels(head.target.voxels[at]), head.mask[at])
        pictures[head.name] = write_picture(folder, number, case, images)
    write_page(folder, ("method", "told", *MEASURES), rows, pictures)
    print(f"  wrote {folder / 'index.html'}")


def entries_of(task: Task, scores: Mapping[str, Scores]) -> list[Entry]:
    def mean(name: str, measure: str) -> float:
        return float(np.nanmean(scores[name][measure]))

    entries = [Entry(f"{task.name} MAE, {name}", mean(name, "MAE %"), mean(MAPPING, "MAE %"), "%",
                     f"peer: {MAPPING}; 2 test patients; lower; goal: below 1")
               for name in scores if name not in (IDENTITY, MAPPING)]
    goals = (("gradient-consistency", "cyclegan", "edge MAE %", "below 1"), ("mr-gan-10", "mr-gan-100", "MAE %",
             "at most 1.10"), ("mr-gan-10", "cyclegan", "MAE %", "below 1"))
    return entries + [
        Entry(f"{task.name} {measure.removesuffix(' %')}, {name} against {peer}", mean(name, measure),
              mean(peer, measure), "%", f"peer: {peer}; 2 test patients; lower; goal: {goal}")
        for name, peer, measure, goal in goals if name in scores and peer in scores]


def measure(data: Path | None, tasks: Sequence[str] = tuple(TASKS), recipes: Sequence[Recipe] = RECIPES,
            labels: Path = RUNS / "tissue", page: Path | None = None, device: str = "auto") -> list[Entry]:
    if not any(model_file(TASKS[name], recipe.name).exists() for name in tasks for recipe in recipes):
        raise LeftOut("none of the methods has a model in runs/side-by-side: train them with "
                      "Testing/Benchmarks/side_by_side.py --train (about 50 minutes of one core)")
    entries = []
    for task in (TASKS[name] for name in tasks):
        training, test = (task.read(data, labels, names) for names in (task.training, task.test))
        found = answers(task, training, test, recipes, device)
        scores = {name: joined([score(*each) for each in zip(images, test, strict=True)])
                  for name, images in found.items()}
        rows = table_rows(scores, recipes)
        print_table(f"{task.name}: {' to '.join(task.modalities)} on {' and '.join(task.test)}",
                    ("method", "told", *MEASURES), rows)
        print_differences(task, scores)
        if page:
            write_comparison(page / task.name, task, test, found, rows)
        entries += entries_of(task, scores)
    return entries


def trained_and_measured(data: Path | None, device: str = "auto") -> list[Entry]:
    """What BENCH=full runs."""
    for task in TASKS.values():
        train_missing(data, RUNS / "tissue", task, RECIPES)
    return measure(data, device=device)


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--labels", type=Path, default=RUNS / "tissue", metavar="DIR",
                           help="folder of PATIENT/tissue.nii.gz (default: runs/tissue)")
    arguments.add_argument("--task", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    arguments.add_argument("--methods", nargs="+", default=(), choices=[recipe.name for recipe in RECIPES])
    arguments.add_argument("--train", action="store_true", help="train the models that are missing, first")
    arguments.add_argument("--steps", type=int, default=0, help="of each method (default: 800 for MR to CT, 600)")
    arguments.add_argument("--time", action="store_true", help="measure the seconds of a step, and nothing else")
    arguments.add_argument("--page", type=Path, metavar="DIR", help="folder for a page with pictures of each task")
    chosen = arguments.parse_args()
    recipes = chosen_recipes(chosen.methods)

    def work() -> Sequence[Entry]:
        if chosen.train or os.environ.get("BENCH") == "full":
            for name in chosen.task:
                train_missing(chosen.data, chosen.labels, TASKS[name], recipes, chosen.steps)
        if chosen.time:
            for name in chosen.task:
                task = TASKS[name]
                print_seconds(task, recipes, training_slices(chosen.data, chosen.labels, task))
            return ()
        return measure(chosen.data, chosen.task, recipes, chosen.labels, chosen.page, chosen.device)

    return run(work)


if __name__ == "__main__":
    sys.exit(main())
