"""Results stay in place whatever the order and sense of the input's axes.

    python Testing/Benchmarks/geometry.py [--model MODEL …] [--image FILE]     # BENCH=full: models of runs/, too

An anisotropic oblique head (synthetic unless --image names one) goes through a model in all 48 ways to store it. Each
result, brought back to the first order with numpy alone, is held against the result of the first: by how much it is
displaced (from where its grid says the voxels are, and from what the voxels show), and by how much intensities differ
away from the border, as a fraction of the range; of labels, the fraction of voxels that differ. A registration model
gets two heads, and the transform's displacements are compared too. Goal: below 0.5 voxel on average, below 2 %.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from axis_orders import AXIS_ORDERS, AxisOrder
from command import Entry, LeftOut, parser, print_table, run, trained_models
from displacement import mean_displacement
from synthetic_head import synthetic_head

from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model, available_outputs
from GANSynthesisLib.models import Model, load_model, shipped_models_folder
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import Volume

DISPLACEMENT_GOAL, INTENSITY_GOAL = 0.5, 0.02
BORDER = 2  # voxels
HEADER = ("model", "output", "displacement, voxels", "worst order", "largest difference", "worst order")


@dataclass(frozen=True)
class Difference:
    """Between a result and the one it should equal: mean displacement in voxels, largest difference of intensity.

    A transform has no intensities.
    """

    displacement: float
    intensity: float = 0.0


def volume_difference(found: Volume, order: AxisOrder, first: Volume) -> Difference:
    """`found` comes from the input in this `order`, `first` from the input as it is."""
    expected = order.turned(first)
    if found.shape != expected.shape:
        return Difference(float("inf"), float("inf"))
    apart = np.linalg.norm(found.grid.points() - expected.grid.points(), axis=-1).mean() / min(first.spacing)
    a, b = (np.asarray(each, np.float64) for each in (order.back(found.voxels), first.voxels))
    inner = tuple(slice(BORDER, -BORDER) if size > 2 * BORDER else slice(None) for size in b.shape)
    if first.label_names:
        return Difference(apart + mean_displacement(a, b), float(np.mean(a[inner] != b[inner])))
    width = max(float(np.ptp(b)), 1e-12)
    return Difference(apart + mean_displacement(a, b), float(np.abs(a - b)[inner].max()) / width)


def transform_difference(found: SpatialTransform, first: SpatialTransform, fixed: Volume) -> Difference:
    """Where the two take the voxels of the fixed image."""
    points = fixed.grid.points().reshape(-1, 3)
    apart = np.linalg.norm(found.points(points) - first.points(points), axis=1)
    return Difference(float(apart.mean()) / min(fixed.spacing))


def inputs_of(model: Model, image: Volume | None) -> dict[str, Volume]:
    """A head for every input the model needs; of two images to be registered, one is moved by some mm."""
    card = model.card
    if card.task == "generate":
        raise LeftOut(f"the model '{card.name}' takes no image")
    first = image or synthetic_head()
    if card.task != "register":
        needed = {port.name for port in card.inputs if not port.optional}
        return dict.fromkeys(needed or card.outputs[0].needs, first)  # none needed: any one may be missing
    if image is None:
        return {"fixed": first, "moving": synthetic_head((3, -2, 2), "moved head")}
    matrix = np.array(first.ijk_to_ras)
    matrix[:3, 3] += (3, -2, 2)
    return {"fixed": first, "moving": first.with_voxels(first.voxels, ijk_to_ras=matrix)}


def results(model: Model, inputs: Mapping[str, Volume], device: str) -> dict[str, Volume | SpatialTransform]:
    return apply_model(model, inputs, outputs=available_outputs(model.card, list(inputs)), device=device).outputs


def differences(model: Model, inputs: Mapping[str, Volume], device: str) -> dict[str, dict[AxisOrder, Difference]]:
    """Output name -> axis order -> difference from the result of the inputs as they are."""
    first = results(model, inputs, device)
    found: dict[str, dict[AxisOrder, Difference]] = {name: {} for name in first}
    for order in AXIS_ORDERS:
        answer = results(model, {role: order.turned(volume) for role, volume in inputs.items()}, device)
        for name, value in answer.items():
            found[name][order] = (
                volume_difference(value, order, first[name]) if isinstance(value, Volume)
                else transform_difference(value, first[name], inputs["fixed"])
            )
    return found


def measure(models: Sequence[str | Path] = (), image: str | Path | None = None, device: str = "auto") -> list[Entry]:
    shipped = [model for model in trained_models() if model.path.parent == shipped_models_folder()]
    usual = trained_models() if os.environ.get("BENCH") == "full" else shipped
    chosen = [load_model(each) for each in models] or [model for model in usual if model.card.task != "generate"]
    if not chosen:
        raise LeftOut("no model is shipped: name one with --model FILE")
    picture = read_volume(image) if image else None
    rows, entries = [], []
    for model in chosen:
        for name, by_order in differences(model, inputs_of(model, picture), device).items():
            far, unlike = (max(by_order, key=lambda order, what=what: getattr(by_order[order], what))
                           for what in ("displacement", "intensity"))
            displacement, intensity = by_order[far].displacement, by_order[unlike].intensity
            seen = (f"{intensity:.2%}", unlike) if name != "transform" else ("", "")
            rows.append((model.card.name, name, f"{displacement:.2g}", far, *seen))
            note = f"worst of {len(by_order)} axis orders; peer: the goal; lower"
            label = f"{model.card.name} {name}"
            entries.append(Entry(f"displacement, {label}", displacement, DISPLACEMENT_GOAL, "voxels", note))
            if name != "transform":
                entries.append(Entry(f"difference, {label}", intensity, INTENSITY_GOAL, "fraction of range", note))
    print_table(f"Worst of {len(AXIS_ORDERS)} axis orders", HEADER, rows)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--model", nargs="+", action="extend", default=[], metavar="MODEL",
                           help="names or files (default: the shipped models; with BENCH=full those in runs/, too)")
    arguments.add_argument("--image", metavar="FILE", help="an image to use in place of the synthetic head")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.model, chosen.image, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
