"""Train a coverage check: does a stack of slices reach from end to end of the brain, or of the lungs?

    python Resources/Training/stack_coverage.py --data DIR --output FILE.safetensors [--chest] [--leave-out PATIENT]
    [--steps N] [--resume]

Slices of 3 and 6 mm of complete stacks, each with its position, are written beside the model. `--leave-out` names a
patient whose images are not trained on; Testing/Benchmarks/coverage.py leaves out one after the other and measures.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from training_script import show_progress, write_manifest
from whole_stacks import Stack, brains, chests, write_slices

from GANSynthesisLib.training import train

SETTINGS = {
    "patch": "48,48", "batch": 24, "width": 8, "feature_steps": 120, "learning_rate": 2e-3, "augment": 0.5,
    "augment_intensity": 1, "validation_fraction": 0, "decay_from": 0.6, "ema": 0.99, "checkpoint_every": 500,
}
BRAIN = {"lower_end": "base", "upper_end": "apex", "modality": "MR", "anatomy": "brain, skull-stripped"}
CHEST = {"lower_end": "lung base", "upper_end": "lung apex", "modality": "MR or CT", "anatomy": "chest"}
STEPS = 900


def train_coverage(
    stacks: list[Stack], region: dict, output: Path, *, steps: int = STEPS, resume: bool = False,
    progress: Callable[[float, str], None] | None = None, **changes,
) -> Path:
    """A model of complete stacks of a region (BRAIN or CHEST); changes: of the settings."""
    rows = write_slices(stacks, output.with_suffix(".slices"))
    return train("coverage", write_manifest(output, rows), output, settings=SETTINGS | region | changes, steps=steps,
                 resume=resume, progress=progress)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the development images")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--chest", action="store_true", help="the lungs; by default the brain")
    parser.add_argument("--leave-out", default="", metavar="PATIENT")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    stacks = (chests if arguments.chest else brains)(arguments.data)
    train_coverage([stack for stack in stacks if stack.subject != arguments.leave_out],
                   CHEST if arguments.chest else BRAIN, arguments.output, steps=arguments.steps,
                   resume=arguments.resume, progress=show_progress)


if __name__ == "__main__":
    main()
