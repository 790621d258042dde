"""How time and memory grow: with the size of a volume, the number of training volumes, and the number of processes.

    python Testing/Benchmarks/growth.py [--sizes 64 … 384] [--counts 1 … 1000] [--steps 8]

Every number is of a process of its own. Sizes: a 3D U-Net with 8 channels in the first layer, untrained, applied to
cubes. Counts: `paired` on pairs of 48³ files, the memory it holds after the steps and what preparing took per case.
Processes: the same batch of CycleGAN on one thread, and on two processes of one thread each; the runs take turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from command import Entry, LeftOut, print_table
from command import run as run_benchmark
from timed_training import TimedRun, medians, memory
from training import smooth_volume, write_volumes

SIZES = (64, 128, 192, 256, 320, 384)
COUNTS = (1, 10, 100, 1000)
CUBE = 48
SMALL = {
    "context": "3D", "patch": (32, 32, 32), "width": 8, "levels": 2, "batch": 2, "validation_fraction": 0,
}
GAME = {
    "context": "2D", "patch": (128, 128), "width": 32, "discriminator_width": 32, "backbone": "resnet", "blocks": 9,
    "batch": 2, "validation_fraction": 0,
}


def forget_peak() -> None:
    """Peak memory counts from here on. Raises LeftOut where the system cannot do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        raise LeftOut("peak memory is measured on Linux only") from error


def measure(sizes=SIZES, counts=COUNTS, steps: int = 8) -> list[Entry]:
    forget_peak()
    with tempfile.TemporaryDirectory() as folder:
        return [*_over_sizes(Path(folder), sizes), *_over_counts(Path(folder), counts, steps),
                *_over_processes(Path(folder), steps)]


def _over_sizes(folder: Path, sizes) -> list[Entry]:
    from GANSynthesisLib.training import train

    model = train("paired", write_volumes(folder / "for model", 1, (32,) * 3), folder / "model.safetensors",
                  settings={**SMALL, "batch": 1}, steps=1, device="cpu")
    found = {size: _applied(model, size) for size in sizes}
    rows = [(f"{size}³", f"{each['seconds']:.1f}", f"{1e9 * each['seconds'] / size**3:.0f}", f"{each['peak']:.0f}",
             f"{1e6 * (each['peak'] - each['before']) / size**3:.0f}") for size, each in found.items()]
    print_table("One volume", ("voxels", "s", "ns/voxel", "peak MB", "bytes/voxel above the start"), rows)
    small, large = min(sizes), max(sizes)
    per_voxel = [1e9 * found[size]["seconds"] / size**3 for size in (large, small)]
    memory = [1e6 * (found[size]["peak"] - found[size]["before"]) / size**3 for size in (large, small)]
    note = f"{large}³ against {small}³, 1 is linear; lower is better"
    return [Entry("time of a volume", *per_voxel, "ns/voxel", note),
            Entry("memory of a volume", *memory, "bytes/voxel", note)]


def _applied(model: Path, size: int) -> dict[str, float]:
    words = [sys.executable, str(Path(__file__).resolve()), "--apply", str(model), str(size)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{size}³ could not be applied: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def apply_once(model: str, size: int) -> None:
    """In a process of its own: print the seconds and the peak memory (MB) of one volume, and the memory before it."""
    from GANSynthesisLib.inference import apply_model
    from GANSynthesisLib.models import load_model

    loaded = load_model(model)
    apply_model(loaded, {"source": smooth_volume(0, (32,) * 3)}, device="cpu")
    volume = smooth_volume(1, (size,) * 3)
    forget_peak()
    before, began = memory()["resident"], time.perf_counter()
    apply_model(loaded, {"source": volume}, device="cpu")
    print(json.dumps({"seconds": time.perf_counter() - began, "before": before, "peak": memory()["peak"]}))


def _over_counts(folder: Path, counts, steps: int) -> list[Entry]:
    found = {}
    for count in counts:
        data = write_volumes(folder / f"{count} cases", count, (CUBE,) * 3)
        run = TimedRun({"kind": "engine", "system": "paired", "data": str(data), "settings": SMALL,
                        "output": str(folder / f"{count}.safetensors")})
        began = time.perf_counter()
        first = run.step()
        preparing = time.perf_counter() - began
        found[count] = {**medians([run.step() for _ in range(steps)]), "preparing": preparing - first["seconds"]}
        run.end()
    megabytes = 2 * 4 * CUBE**3 / 1e6
    rows = [(count, f"{megabytes * count:.0f}", f"{each['anonymous']:.0f}", f"{each['resident']:.0f}",
             f"{1000 * each['seconds']:.0f}", f"{each['waiting'] / each['seconds']:.1%}", f"{each['preparing']:.0f}")
            for count, each in found.items()]
    header = ("pairs", "MB prepared", "MB held", "with files looked at", "ms/step", "waiting for data", "s to start")
    print_table("Training volumes", header, rows)
    few, many = min(counts), max(counts)
    note = f"{many} training pairs against {few}; lower is better"
    return [Entry("memory of training", found[many]["anonymous"], found[few]["anonymous"], "MB", note),
            Entry("time of a step", 1000 * found[many]["seconds"], 1000 * found[few]["seconds"], "ms", note)]


def _over_processes(folder: Path, steps: int) -> list[Entry]:
    data = str(write_volumes(folder / "shared", 2, (8, 144, 144)))
    runs = {count: TimedRun({"kind": "engine", "system": "cyclegan", "data": data, "settings": GAME,
                             "output": str(folder / f"{count}-processes.safetensors")}, threads=1, processes=count)
            for count in (1, 2)}
    taken = {count: [] for count in runs}
    for _ in range(1 + steps):
        for count, run in runs.items():
            taken[count].append(run.step())
    for run in runs.values():
        run.end()
    found = {count: medians(rows[1:]) for count, rows in taken.items()}
    rows = [(count, f"{each['seconds']:.2f}", f"{each['cpu']:.2f}", f"{found[1]['seconds'] / each['seconds']:.2f}")
            for count, each in found.items()]
    print_table("Processes of one thread, the same batch of 2", ("processes", "s/step", "CPU s of the first", "times "
                "as fast"), rows)
    return [Entry("two processes", 1 / found[2]["seconds"], 1 / found[1]["seconds"], "steps/s",
                  "one process of one thread, the same batch; higher is better")]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    arguments.add_argument("--steps", type=int, default=8, help="training steps that count")
    arguments.add_argument("--apply", nargs=2, metavar=("MODEL", "SIZE"), help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    if chosen.apply:
        apply_once(chosen.apply[0], int(chosen.apply[1]))
        return 0
    return run_benchmark(lambda: measure(chosen.sizes, chosen.counts, chosen.steps))


if __name__ == "__main__":
    sys.exit(main())
