"""What the training scripts of the shipped models share: arguments, progress, a manifest of cases, runs in a row."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from GANSynthesisLib.training import train  # noqa: E402

# A CycleGAN in two runs: first a loose cycle, in which the translation turns to the other contrast, then one that ties
# the anatomy.
TURN = {
    "learning_rate": 5e-4, "discriminator_learning_rate": 5e-4, "cycle_weight": 1.5,
    "gradient_consistency_weight": 0.1, "decay_from": 1,
}
TIE = {
    "learning_rate": 2e-4, "discriminator_learning_rate": 1e-4, "cycle_weight": 5, "gradient_consistency_weight": 0.3,
    "decay_from": 0.3,
}
MODELS = Path(__file__).resolve().parents[1] / "Models"


def parse_arguments(
    doc: str, model: str, steps: int = 0, options: Sequence[str] = ("--all-subjects",), folders: Sequence[str] = ()
):
    """--data and other `folders`, --output, --steps (0: as many as each run has), --resume, and the switches in
    `options`."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    folders = ("--data", *folders)
    for folder in folders:
        parser.add_argument(folder, type=Path, required=True, help="folder with training images or labels")
    parser.add_argument("--output", type=Path, default=MODELS / f"{model}.safetensors")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--resume", action="store_true")
    for option in options:
        parser.add_argument(option, action="store_true")
    arguments = parser.parse_args()
    for folder in folders:
        path = getattr(arguments, folder.removeprefix("--")).resolve()
        if not path.is_dir():
            parser.error(f"there is no folder {path}")
        setattr(arguments, folder.removeprefix("--"), path)
    arguments.progress = show_progress
    return arguments


def show_progress(fraction: float, text: str) -> None:
    """A line every 50 steps, and everything that is not a step."""
    step = text.removeprefix("step ").split("/")[0]
    if not step.isdigit() or int(step) % 50 == 0:
        print(f"{fraction:6.1%}  {text}", flush=True)


def write_manifest(output: Path, rows: list[dict]) -> Path:
    """A CSV manifest beside the model to be made: one row per case, one column per role."""
    output.parent.mkdir(parents=True, exist_ok=True)
    manifest = output.with_suffix(".csv")
    names = list(dict.fromkeys(name for row in rows for name in row))
    with manifest.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def train_in_runs(
    arguments, system: str, manifest: Path, settings: dict, runs: Sequence[tuple[int, dict]], card: dict
) -> None:
    """Runs of (steps, changes of the settings), each from the weights of the one before; the last makes the model.

    The others leave their models beside it (`.1.safetensors`, …). With --resume, those that are there are kept.
    """
    before = None
    for number, (steps, changes) in enumerate(runs, start=1):
        output = arguments.output.with_suffix(f".{number}.safetensors") if number < len(runs) else arguments.output
        if not (arguments.resume and output.exists()):
            train(
                system, manifest, output, settings=settings | changes, steps=arguments.steps or steps,
                precision="bf16", initial=before, card=card, resume=arguments.resume, progress=arguments.progress,
            )
        before = output
