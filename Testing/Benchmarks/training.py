"""Steps per second of CycleGAN's training, against the paper's recipe written down plainly.

    python Testing/Benchmarks/training.py [--steps 5]

Residual generators of 9 blocks and PatchGANs, batch 1: slices of 256² (32 channels in the first layer) and blocks of
64³ (8 channels), widths at which a step takes seconds on a CPU. Both sides use the same networks, losses, pool and
images; `reference` is `reference_cyclegan.py` in fp32, `engine` what `python -m GANSynthesisLib train cyclegan` does,
with the averaged weights, checks and logs that come with it. The runs take turns step by step; medians after the first
step. KonfAI is not among them: it trains networks that are written as graphs of its own modules.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from command import Entry, print_table
from command import run as run_benchmark
from timed_training import medians, timed_runs

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.volumes import Volume

GAMES = {  # name: context, patch, channels of the first layer, shape of the volumes
    "2D 256²": ("2D", (1, 256, 256), 32, (12, 288, 288)),
    "3D 64³": ("3D", (64, 64, 64), 8, (80, 80, 80)),
}
PRECISIONS = {"engine fp32": "32", "engine bf16": "bf16"}


def smooth_volume(seed: int, shape: tuple[int, int, int]) -> Volume:
    """Blobs above 0 everywhere, so that no patch is empty; of another contrast with another seed."""
    generator = np.random.default_rng(seed)
    axes = [np.linspace(0, 6, size, dtype=np.float32) for size in shape]
    phases = generator.uniform(0, 6, 3)
    parts = [np.sin(axis * generator.uniform(1, 3) + phase) for axis, phase in zip(axes, phases, strict=True)]
    voxels = 500 + 300 * parts[0][:, None, None] * parts[1][:, None] * parts[2]
    voxels += 10 * generator.standard_normal(shape, np.float32)
    return Volume(voxels.astype(np.float32), np.eye(4), name=f"volume {seed}")


def write_volumes(folder: Path, count: int, shape: tuple[int, int, int]) -> Path:
    for number in range(count):
        for offset, role in enumerate(("source", "target")):
            write_volume(smooth_volume(2 * number + offset, shape), folder / role / f"{number:04d}.nii.gz")
    return folder


def measure(steps: int = 5) -> list[Entry]:
    entries, rows = [], []
    for name, (context, window, width, shape) in GAMES.items():
        with tempfile.TemporaryDirectory() as folder:
            found = _race(Path(folder), context, window, width, shape, steps)
        for side, numbers in found.items():
            rows.append((name, side, f"{numbers['seconds']:.2f}", f"{numbers['cpu']:.2f}",
                         f"{found['reference']['seconds'] / numbers['seconds']:.2f}",
                         f"{numbers['waiting'] / numbers['seconds']:.1%}"))
        for side in PRECISIONS:
            note = "the paper's recipe in fp32, same networks; higher is better"
            entries.append(Entry(f"CycleGAN {name} {side}", 1 / found[side]["seconds"],
                                 1 / found["reference"]["seconds"], "steps/s", note))
        waiting = max(found[side]["waiting"] / found[side]["seconds"] for side in PRECISIONS)
        entries.append(Entry(f"CycleGAN {name} waiting for data", waiting, 0.05, "share of time",
                             "the limit; lower is better"))
    header = ("game", "run", "s/step", "CPU s/step", "times as fast", "waiting for data")
    print_table("CycleGAN, batch 1", header, rows)
    return entries


def _race(folder: Path, context: str, window, width: int, shape, steps: int) -> dict[str, dict[str, float]]:
    data = str(write_volumes(folder / "cases", 2, shape))
    patch = window[1:] if context == "2D" else window
    settings = {
        "context": context, "patch": patch, "width": width, "discriminator_width": width, "backbone": "resnet",
        "blocks": 9, "batch": 1, "validation_fraction": 0,
    }
    jobs = {"reference": {"kind": "reference", "data": data, "context": context, "window": window, "width": width}}
    for side, precision in PRECISIONS.items():
        jobs[side] = {"kind": "engine", "system": "cyclegan", "data": data, "settings": settings,
                      "output": str(folder / f"{side.replace(' ', '-')}.safetensors"), "precision": precision}
    taken = {name: [] for name in jobs}
    with timed_runs(jobs) as runs:
        for _ in range(1 + steps):
            for name, each in runs.items():
                taken[name].append(each.step())
    return {name: medians(numbers[1:]) for name, numbers in taken.items()}


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=5, help="steps of each run that count")
    chosen = arguments.parse_args()
    return run_benchmark(lambda: measure(chosen.steps))


if __name__ == "__main__":
    sys.exit(main())
