"""What the panel costs: how long the windows stand still at each action, and what a run costs beside its network.

    python Testing/Benchmarks/panel.py [--size 256]

Runs the unmodified panel in Testing/SlicerHost on a volume of size³ (int16), with a small untrained network: what is
measured is everything but the network. The peer of the run does what extensions do that exchange files with a new
process for each run: write NIfTI, start Python, apply the same model, read NIfTI back. `pauses.py`, whose table comes
with it, measures the other actions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pauses
from command import ROOT, Entry, parser, print_table, run
from panel_place import PanelPlace, head, small_model

from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.volumes import Volume

STALL_GOAL, OVERHEAD_GOAL = 0.1, 0.5  # seconds


def in_panel(volume: Volume, place: PanelPlace) -> dict[str, float]:
    """Seconds of the second run from a click to the nodes, of its network, and the longest pause of the windows."""
    from GANSynthesisLib import jobs

    place.add(volume, "head")
    place.open()
    tab = place.tab("apply")
    for _ in range(2):
        begin = time.perf_counter()
        pause, _computing = place.pause(tab.ui.applyButton.click, lambda: not tab.running)
        seconds = time.perf_counter() - begin
    if not tab.ui.statusLabel.text.startswith("Done"):
        raise RuntimeError(tab.ui.statusLabel.text)
    network = jobs.worker("apply").job.result[0]["report"]["seconds"]["network"]
    return {"seconds": seconds, "network": network, "pause": pause}


def by_files(volume: Volume, model: Path, folder: Path) -> dict[str, float]:
    """The same by a new process and NIfTI files (not compressed, which is faster)."""
    begin = time.perf_counter()
    write_volume(volume, folder / "in.nii")
    subprocess.run(
        [sys.executable, "-m", "GANSynthesisLib", "apply", str(model), "--input", f"source={folder / 'in.nii'}",
         "--output", f"target={folder / 'out.nii'}", "--report", str(folder / "report.json")],
        check=True, capture_output=True, cwd=ROOT,
    )
    np.array(read_volume(folder / "out.nii").voxels)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "network": json.loads((folder / "report.json").read_text())["seconds"]["network"]}


def measure(size: int = 256) -> list[Entry]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = small_model(folder / "models")
        with PanelPlace.made(folder) as place:
            ours = in_panel(head(size), place)
        peer = by_files(head(size), model, folder)
    extra, theirs = (each["seconds"] - each["network"] for each in (ours, peer))
    print_table(f"A run on {size}³ voxels, second of two", ("", "seconds", "network", "the rest", "longest pause"), [
        ("panel", f"{ours['seconds']:.2f}", f"{ours['network']:.2f}", f"{extra:.2f}", f"{ours['pause']:.3f}"),
        ("files and a new process", f"{peer['seconds']:.2f}", f"{peer['network']:.2f}", f"{theirs:.2f}", ""),
    ])
    return [
        Entry(f"longest pause of the windows, {size}³", ours["pause"], STALL_GOAL, "s", "peer: the goal; lower"),
        Entry(f"run beside its network, {size}³", extra, OVERHEAD_GOAL, "s", "peer: the goal; lower"),
        Entry(f"run beside its network against files, {size}³", extra, theirs, "s",
              "peer: NIfTI files and a new process; lower"),
        *pauses.measure(),
    ]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, default=256)
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.size))


if __name__ == "__main__":
    sys.exit(main())
