"""What the panel costs: how long the windows stand still during a run, and what a run costs beside its network.

    python Testing/Benchmarks/panel.py [--size 256]

Runs the unmodified panel in Testing/SlicerHost on a volume of size³ (int16), with a small untrained network: what is
measured is everything but the network. The peer of the second number does what extensions do that exchange files with
a new process for each run: write NIfTI, start Python, apply the same model, read NIfTI back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from command import ROOT, Entry, parser, print_table, run

from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.models import save_model
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.volumes import Volume

STALL_GOAL, OVERHEAD_GOAL = 0.1, 0.5  # seconds
TICK = 0.01


def small_model(folder: Path) -> Path:
    """A 2D network of a few thousand weights that keeps the grid."""
    settings = {"context": "2D", "patch": [64, 64], "width": 4, "levels": 1}
    system = build_system("paired", settings)
    window = {"kind": "window", "lower": 0.0, "upper": 1000.0}
    card = Card(
        name="small", title="Small", description="Untrained.", system="paired", task="synthesize", settings=settings,
        inputs=(Port("source", "T1", intensity=window),), context="2D", shape=system.settings.window(), spacing=None,
        outputs=(Port("target", "T2", intensity=window, needs=("source",)),),
    )
    state = {name: value for name, value in system.state_dict().items() if name.split(".")[0] in system.deployed()}
    save_model(folder / "small.safetensors", state, card)
    return folder / "small.safetensors"


def head(size: int) -> Volume:
    k, j, i = np.ogrid[-1:1:size * 1j, -1:1:size * 1j, -1:1:size * 1j]
    inside = (i / 0.7) ** 2 + (j / 0.85) ** 2 + (k / 0.8) ** 2 < 1
    waves = 500 + 150 * np.sin(9 * i) * np.cos(7 * j) + 100 * np.sin(11 * k)
    return Volume(np.where(inside, waves, 0).astype(np.int16), name="head")


def in_panel(volume: Volume) -> dict[str, float]:
    """Seconds of the second run from a click to the nodes, of its network, and the longest pause of the windows."""
    import slicer
    from PySide6 import QtCore, QtWidgets

    from GANSynthesisLib import jobs
    from GANSynthesisLib.mrml import volume_to_node
    from SlicerHost.host import open_panel, start_host
    from SlicerHost.scene import start_scene

    start_host()
    start_scene()
    node = volume_to_node(volume)
    panel = open_panel(ROOT / "GANSynthesis" / "GANSynthesis.py")
    tab, ticks = panel.widget.tabs["apply"], []
    timer = QtCore.QTimer()
    timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(round(1000 * TICK))

    def run_once() -> tuple[float, float]:
        ticks.clear()
        begin = time.perf_counter()
        tab.ui.applyButton.click()
        while tab.running:
            QtWidgets.QApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
        end = time.perf_counter()
        return end - begin, max(b - a for a, b in zip([begin, *ticks], [*ticks, end], strict=True))

    run_once()
    seconds, pause = run_once()
    if not tab.ui.statusLabel.text.startswith("Done"):
        raise RuntimeError(tab.ui.statusLabel.text)
    network = jobs.worker("apply").job.result[0]["report"]["seconds"]["network"]
    slicer.mrmlScene.RemoveNode(node)
    panel.close()
    jobs.stop_all()
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
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = small_model(folder)
        os.environ["GANSYNTHESIS_MODELS"] = str(folder)
        import GANSynthesisLib.models as library

        shipped = library.shipped_models_folder
        library.shipped_models_folder = lambda: folder / "none"
        try:
            ours = in_panel(head(size))
        finally:
            library.shipped_models_folder = shipped
            del os.environ["GANSYNTHESIS_MODELS"]
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
    ]


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, default=256)
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.size))


if __name__ == "__main__":
    sys.exit(main())
