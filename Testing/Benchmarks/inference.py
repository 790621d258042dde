"""How fast and how exactly a network is applied to a volume, beside the sliding windows of MONAI and TorchIO.

    python Testing/Benchmarks/inference.py [--size 160]
    BENCH=full python Testing/Benchmarks/inference.py        # 192³ and 256³, the residual network, 2D and 2.5D

All apply the same untrained networks to the same volume, in turns; the peers as `plain_networks.py` writes them down,
in windows of 96³ that overlap by a quarter with equal weights (MONAI's default) or by a half with Gaussian ones. The
ends of a run: seconds, and how far the answer is from one plain pass in fp32, as a fraction of its range; the seam
metric of evaluation/seams.py; peak memory, of processes of their own, beyond what they take before; and where the
seconds of a whole run go.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timed_training
import torch
from command import Entry, parser, print_table, run
from panel import head
from plain_networks import PlainTranslator

from GANSynthesisLib.allocation import freed_memory_kept
from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.evaluation.seams import seam_ratio, window_planes
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.inference.ladder import apply_down_the_ladder
from GANSynthesisLib.models import load_model, save_model
from GANSynthesisLib.progress import never, silent
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.volumes import Volume

CPU = torch.device("cpu")
WINDOW = 96
UNET = {"context": "3D", "width": 16, "levels": 3, "patch": (64, 64, 64)}  # 16, 32, 64, 128 channels
RESNET = {"context": "3D", "width": 16, "backbone": "resnet", "blocks": 9, "patch": (64, 64, 64)}
SLICES = {"context": "2D", "width": 32, "backbone": "resnet", "blocks": 9, "patch": (64, 64)}
SLABS = {"context": "2.5D", "width": 16, "slab": 3, "patch": (64, 64)}
RANGE = {"kind": "window", "lower": 0.0, "upper": 1000.0}
HEADER = ("", "seconds", "ours is faster by", "bf16 by", "largest difference, % of range", "seam")


@dataclass(frozen=True)
class Case:
    """A network, its card, and an image (1, D, H, W) in [−1, 1]."""

    name: str
    system: torch.nn.Module
    card: Card
    image: torch.Tensor
    plain: torch.nn.Module  # the same network for the peers, without anything of the engine


def case_of(name: str, settings: dict, shape: tuple[int, int, int]) -> Case:
    torch.manual_seed(0)
    system = build_system("paired", settings).eval()
    card = Card(
        name="bench", title="Bench", description="Untrained.", system="paired", task="synthesize", settings=settings,
        inputs=(Port("source", "T1", intensity=RANGE),), spacing=None, shape=system.settings.window(),
        outputs=(Port("target", "T2", intensity=RANGE, needs=("source",)),), context=system.settings.context,
    )
    noise = torch.randn(1, 1, *[-(-size // 4) for size in shape])
    image = torch.nn.functional.interpolate(noise, size=shape, mode="trilinear")[0].clamp(-3, 3) / 3
    return Case(name, system, card, image, PlainTranslator(copy.deepcopy(system.generator)))


def ours(case: Case, precision: str = "32", tile=None) -> tuple[torch.Tensor, dict]:
    """The engine's answer (1, D, H, W) and its report."""
    report = {"settings": {}, "warnings": [], "seconds": {}}
    with torch.inference_mode():
        found = apply_down_the_ladder(
            case.card, case.system, {"source": case.image}, ["target"], tile=tile, precision=precision, device=CPU,
            report=report, progress=silent, cancelled=never, masks={},
        )
    return found["target"], report


def plain(case: Case) -> torch.Tensor:
    """One pass of the network as it is (3D), or slice by slice (2D)."""
    with torch.inference_mode():
        if case.card.context == "3D":
            return case.plain(case.image[None])[0]
        return torch.cat([case.plain(case.image[None, :, at : at + 1])[0]
                          for at in range(case.image.shape[1])], 1)


def monai(overlap: float, mode: str) -> Callable[[Case], torch.Tensor]:
    def apply(case: Case) -> torch.Tensor:
        inferers = importlib.import_module("monai.inferers")
        inferer = inferers.SlidingWindowInferer(WINDOW, sw_batch_size=1, overlap=overlap, mode=mode)
        with torch.inference_mode():
            return inferer(case.image[None], case.plain)[0]
    return apply


def torchio(case: Case) -> torch.Tensor:
    tio = importlib.import_module("torchio")
    subject = tio.Subject(source=tio.ScalarImage(tensor=case.image))
    sampler = tio.GridSampler(subject, [min(WINDOW, size) for size in case.image.shape[1:]], WINDOW // 4)
    aggregator = tio.GridAggregator(sampler, overlap_mode="average")
    with torch.inference_mode():
        for patch in tio.SubjectsLoader(sampler, batch_size=1):
            aggregator.add_batch(case.plain(patch["source"][tio.DATA]), patch[tio.LOCATION])
    return aggregator.get_output_tensor()


def peers() -> dict[str, Callable[[Case], torch.Tensor]]:
    """Those that are installed; the others are left out by name."""
    found: dict[str, Callable[[Case], torch.Tensor]] = {"one plain pass": plain}
    libraries = {
        "monai": {"MONAI, 25 % constant": monai(0.25, "constant"), "MONAI, 50 % Gaussian": monai(0.5, "gaussian")},
        "torchio": {"TorchIO, 25 %": torchio},
    }
    for library, theirs in libraries.items():
        if importlib.util.find_spec(library):
            found |= theirs
        else:
            print(f"left out: {library} is not installed (pip install {library})", file=sys.stderr)
    return found


def seconds_of(call: Callable[[], object]) -> tuple[float, object]:
    begin = time.perf_counter()
    answer = call()
    return time.perf_counter() - begin, answer


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


def against_peers(case: Case, full: bool) -> list[Entry]:
    """Ours before and after every peer, so that what else the machine does meets all of them."""
    volumetric = case.card.context == "3D"
    chosen = peers() if volumetric else {"one slice at a time": plain}
    for apply in (ours, *chosen.values()):  # libraries are imported and kernels chosen once
        apply(dataclasses.replace(case, image=case.image[:, :32, :64, :64]))
    expected, rows, entries = None, [], []
    for name, apply in chosen.items():
        first, (fp32, report) = seconds_of(lambda: ours(case))
        theirs, answer = seconds_of(lambda apply=apply: apply(case))
        half, (bf16, _) = seconds_of(lambda: ours(case, "bf16"))
        last, _ = seconds_of(lambda: ours(case)) if full else (first, None)
        seconds = (first + last) / 2
        expected = answer if expected is None else expected
        seam = ""
        if name != "one plain pass" and volumetric:
            step = WINDOW - round(WINDOW * (0.5 if "50" in name else 0.25))
            starts = [[*range(0, size - WINDOW, step), size - WINDOW] for size in case.image.shape[1:]]
            planes = window_planes(starts, (WINDOW,) * 3)
            seam = f"{seam_ratio(answer[0].numpy(), planes, expected[0].numpy()):.3f}"
            if name == "MONAI, 25 % constant":
                ours_seam = seam_ratio(fp32[0].numpy(), planes, expected[0].numpy())
                entries.append(Entry(f"seam metric, {case.name}", ours_seam, float(seam), "ratio", f"{name}; lower"))
        rows.append((name, f"{theirs:.2f}", f"{theirs / seconds:.2f}", f"{theirs / half:.2f}",
                     f"{100 * difference(answer, expected):.3g}", seam))
        for label, value in (("fp32", seconds), ("bf16", half)):
            entries.append(Entry(f"{label}, {case.name}, against {name}", value, theirs, "s", f"peer: {name}; lower"))
    error, rounding = difference(fp32, expected), difference(bf16, fp32)
    usual = float((bf16 - fp32).abs().mean() / (fp32.max() - fp32.min()))
    rows += [("ours", f"{seconds:.2f}", "", "", f"{100 * error:.3g}", ""),
             ("ours in bf16", f"{half:.2f}", "", "", f"{100 * rounding:.3g}", "")]
    entries += [
        Entry(f"difference from one pass, {case.name}", error, 1e-4, "fraction of range", "peer: the goal; lower"),
        Entry(f"largest bf16 difference, {case.name}", rounding, 5e-3, "fraction of range", "peer: the goal; lower"),
        Entry(f"mean bf16 difference, {case.name}", usual, 5e-3, "fraction of range", "peer: the goal; lower"),
    ]
    settings = report["settings"]
    print_table(f"{case.name}: windows of {settings['window']}, work {settings['work']}, {settings['memory_format']}",
                HEADER, rows)
    return entries


def overhead(case: Case) -> list[Entry]:
    """What the engine adds to the passes of the network that it makes: the same windows, without anything around."""
    network = case.system.generator
    ours(case)
    whole, bare = [], []
    for _ in range(2):
        whole.append(seconds_of(lambda: ours(case))[0])
        with torch.inference_mode(), freed_memory_kept():
            bare.append(seconds_of(lambda: network(case.image[None]))[0])
    share = min(whole) / min(bare) - 1
    return [Entry(f"engine beside its network, {case.name}", share, 0.05, "fraction", "peer: the goal; lower")]


def peak_megabytes(settings: dict, size: int, how: str) -> float:
    """Of a process of its own that applies a network to size³ voxels, beyond what it takes before."""
    code = f"import inference; inference.print_peak({settings!r}, {size}, {how!r})"
    answer = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, capture_output=True,
                            text=True)
    return float(answer.stdout.split()[-1])


def print_peak(settings: dict, size: int, how: str) -> None:
    case, small = case_of("", settings, (size,) * 3), case_of("", settings, (32,) * 3)
    apply = ours if how == "ours" else plain
    apply(small)  # libraries and kernels
    before = timed_training.memory()["resident"]
    apply(case)
    print(timed_training.memory()["peak"] - before)


def memory(settings: dict, size: int, name: str) -> list[Entry]:
    if not timed_training.memory()["peak"]:
        print("left out: peak memory, which this system does not tell", file=sys.stderr)
        return []
    found, naive = (peak_megabytes(settings, size, how) for how in ("ours", "plain"))
    print_table(f"Peak memory, {name}", ("", "MB"), [("ours", f"{found:.0f}"), ("one plain pass", f"{naive:.0f}")])
    return [Entry(f"peak memory, {name}", found, naive, "MB", "one plain pass; lower, goal 0.6")]


def node_to_node(shape: tuple[int, int, int], settings: dict, name: str) -> list[Entry]:
    """Where the seconds of a run go, from a scalar volume node to the node of the result."""
    from SlicerHost.host import start_host
    from SlicerHost.scene import start_scene

    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    start_host()
    start_scene()
    import slicer

    from GANSynthesisLib.mrml import volume_from_node, volume_to_node

    cube = head(max(shape)).voxels
    voxels = np.ascontiguousarray(cube[tuple(slice((n - s) // 2, (n + s) // 2) for n, s in zip(cube.shape, shape,
                                                                                             strict=True))])
    case = case_of(name, settings, (8, 16, 16))
    with tempfile.TemporaryDirectory() as folder:
        state = {key: value for key, value in case.system.state_dict().items()
                 if key.split(".")[0] in case.system.deployed()}
        save_model(Path(folder) / "bench.safetensors", state, case.card)
        model = load_model(Path(folder) / "bench.safetensors")
        node = volume_to_node(Volume(voxels, name="head"))
        whole, result = seconds_of(lambda: _through(model, node, volume_from_node, volume_to_node))
        steps, made = result
    slicer.mrmlScene.RemoveNode(made)
    slicer.mrmlScene.RemoveNode(node)
    share = 1 - steps["network"] / whole
    rows = [(step, f"{value:.2f}", f"{value / whole:.1%}") for step, value in steps.items()]
    print_table(f"From node to node, {name} ({'×'.join(map(str, shape))} int16)", ("", "seconds", "share"),
                [*rows, ("all", f"{whole:.2f}", "")])
    return [Entry(f"share beside the network, {name}", share, 0.1, "fraction", "peer: the goal; lower")]


def _through(model, node, volume_from_node, volume_to_node) -> tuple[dict[str, float], object]:
    read, volume = seconds_of(lambda: volume_from_node(node))
    applied, result = seconds_of(lambda: apply_model(model, {"source": volume}, device="cpu"))
    written, made = seconds_of(lambda: volume_to_node(result.outputs["target"]))
    inner = result.report["seconds"]
    rest = applied - sum(inner.get(step, 0) for step in ("load", "prepare", "network", "back"))
    return {"scene to array": read, "checks and record": rest, "load the model": inner["load"],
            "axes, range, mask": inner["prepare"], "network": inner["network"], "back to the grid": inner["back"],
            "array to scene": written}, made


def measure(size: int = 160) -> list[Entry]:
    full = os.environ.get("BENCH") == "full"
    unet = case_of(f"U-Net 16–128, {size}³", UNET, (size,) * 3)
    entries = against_peers(unet, full) + overhead(unet)
    entries += memory(UNET, size, unet.name)
    if full:
        for side in (192, 256):
            entries += against_peers(case_of(f"U-Net 16–128, {side}³", UNET, (side,) * 3), full)
            entries += against_peers(case_of(f"ResNet-9, {side}³", RESNET, (side,) * 3), full)
        entries += against_peers(case_of("2D ResNet-9, 256 slices", SLICES, (256, 256, 256)), full)
        entries += node_to_node((256, 256, 256), UNET, "U-Net 16–128, 256³")
        entries += node_to_node((300, 512, 512), SLABS, "2.5D U-Net, 512² × 300")
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--size", type=int, default=160)
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.size))


if __name__ == "__main__":
    sys.exit(main())
