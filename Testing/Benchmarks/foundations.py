"""The adversarial foundations on MedNIST at 32²: distances of 2,000 made images from the real ones, classes, codes.

    python Testing/Benchmarks/foundations.py --train [NAME …] [--data DIR]    # trains, minutes for each; then measures
    python Testing/Benchmarks/foundations.py [--data DIR] [--models DIR]      # measures what was trained

Names and settings are in `foundation_recipes.py`; without names, all are trained that are not there yet. Everything
is kept in runs/foundations: models, a sheet of samples of each (NAME.png), of InfoGAN one row for each code. Distances
are between features of `classifier`, trained on the same images, which also says whether images are of the class that
was asked for; the same distance between two halves of the real images is printed above the table.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from command import RUNS, Entry, LeftOut, existing_folder, parser, print_table, run
from foundation_recipes import ENCODER, RECIPES

from GANSynthesisLib.evaluation.encoders import load_encoder
from GANSynthesisLib.evaluation.evaluate_generation import against
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.inference import generate
from GANSynthesisLib.models import Model, load_model
from GANSynthesisLib.objectives.diversity import pairwise_ms_ssim
from GANSynthesisLib.pictures import gray_levels, write_sheet
from GANSynthesisLib.training import train
from GANSynthesisLib.training.cases import find_cases
from GANSynthesisLib.training.loading import load_case

ARCHIVE = "MedNIST_6x500_64px.zip"
COUNT, SHOWN, SHOWN_CODES, SEED = 2000, 48, 8, 1


def images_folder(data: Path | None, place: Path) -> Path:
    """The images by class, unpacked once, without those that are of one gray level throughout."""
    folder = place / "mednist"
    if not folder.is_dir():
        archive = existing_folder(data, "classes_2d") / ARCHIVE
        if not archive.is_file():
            raise LeftOut(f"the archive {archive} is missing: name the folder of the images with --data DIR")
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        for path in folder.rglob("*.jpeg"):
            if np.ptp(read_volume(path).voxels) == 0:
                path.unlink()
    return folder


def train_model(name: str, images: Path, place: Path, device: str) -> None:
    system, settings, steps = RECIPES[name]

    def say(fraction: float, text: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{name} {fraction:5.1%} {text[:100]}", end="", file=sys.stderr, flush=True)

    train(system, images, place / f"{name}.safetensors", settings=settings, steps=steps, device=device, progress=say,
          log=lambda line: print(f"{name}: {line}"))


def real_images(images: Path, classifier: Model) -> torch.Tensor:
    """(N, 1, 1, H, W) in [−1, 1], as every one of the systems saw them."""
    system = classifier.build()
    return torch.stack([load_case(case, system).tensors["image"] for case in find_cases(images, ("image", "class"))])


def made_images(model: Model, count: int, device: str):
    """(N, 1, 1, H, W) in [−1, 1], and what each was to be."""
    result = generate(model, count, seed=SEED, at_once=64, device=device)
    voxels = np.stack([volume.voxels for volume in result.outputs.values()])
    return torch.from_numpy(voxels)[:, None] / 127.5 - 1, list(result.report["images"].values())


def classes_of(images: torch.Tensor, classifier: Model) -> list[str]:
    """The class that each image looks like."""
    system = classifier.build().eval()
    with torch.inference_mode():
        found = torch.cat([system.apply({"image": part})["class"] for part in images.split(64)]).argmax(1)
    return [system.settings.classes[index] for index in found]


def as_asked(told: Sequence[dict], found: Sequence[str]) -> float | None:
    """Part of the images that look like the class they were asked for; None where none was."""
    if not all("class" in each for each in told):
        return None
    return float(np.mean([each["class"] == kind for each, kind in zip(told, found, strict=True)]))


def code_error(told: Sequence[dict], found: Sequence[str]) -> float | None:
    """Part of the made images that look like another class than most of their category; None where there is none."""
    if not all("code" in each for each in told):
        return None
    by_category = defaultdict(Counter)
    for each, kind in zip(told, found, strict=True):
        by_category[each["code"][0]][kind] += 1
    return 1 - sum(counts.most_common(1)[0][1] for counts in by_category.values()) / len(found)


def draw_sheet(model: Model, place: Path, device: str) -> None:
    codes = "categories" in model.card.settings
    options = {"count": SHOWN_CODES, "way": "sweep"} if codes else {"count": SHOWN}
    result = generate(model, seed=SEED, device=device, **options)
    titles = [each.get("class", "") for each in result.report["images"].values()]
    pictures = [gray_levels(volume, model.card.output("image")) for volume in result.outputs.values()]
    write_sheet(pictures, titles, place / f"{model.path.stem}.png", SHOWN_CODES if codes else 12)


def measure(
    data: Path | None = None, place: Path = RUNS / "foundations", device: str = "auto", count: int = COUNT,
    to_train: Sequence[str] | None = None,
) -> list[Entry]:
    """to_train: names of models to train first; an empty list stands for all that are missing."""
    place.mkdir(parents=True, exist_ok=True)
    images = images_folder(data, place)
    if to_train is not None:
        for name in to_train or [name for name in RECIPES if not (place / f"{name}.safetensors").exists()]:
            train_model(name, images, place, device)
    there = [name for name in RECIPES if (place / f"{name}.safetensors").exists()]
    if ENCODER not in there or len(there) < 2:
        raise LeftOut(f"{place} has no {ENCODER} and generator: train them with --train")
    classifier = load_model(place / f"{ENCODER}.safetensors")
    describe, real = load_encoder(classifier), real_images(images, classifier)
    features, entries, rows = describe(real), [], []
    diverse = pairwise_ms_ssim(real)
    for name in (name for name in there if name != ENCODER):
        model = load_model(place / f"{name}.safetensors")
        draw_sheet(model, place, device)
        made, told = made_images(model, count, device)
        found = classes_of(made, classifier)
        numbers = against(features, describe(made))
        right, wrong = as_asked(told, found), code_error(told, found)
        alerts = ", ".join(dict.fromkeys(alert["name"] for alert in model.card.training["alerts"])) or "none"
        rows.append((
            name, model.card.training["steps"], *(f"{numbers[key]:.3f}" for key in ("kernel_distance",
            "frechet_distance", "precision", "recall")), f"{pairwise_ms_ssim(made):.3f}",
            *("" if value is None else f"{value:.3f}" for value in (right, wrong)), alerts,
        ))
        entries.append(Entry(f"KID of {name}", numbers["kernel_distance"], numbers["halves_distance"], "KID",
                             "peer: two halves of the real images; lower; goal: ratio below 3"))
        if right is not None:
            entries.append(Entry(f"{name}, images of the class asked for", right, 0.95, "part", "higher; goal: 0.95"))
        if wrong is not None:
            tested = model.card.metrics["validation"]["code_error"]
            entries.append(Entry(f"{name}, code against class of real images", tested, 0.1, "part",
                                 f"validation images; lower; goal: 0.1; of made images {wrong:.3f}"))
            print(f"{name}: the code of real validation images is another class's: {tested:.3f}")
    accuracy = classifier.card.metrics["validation"]["accuracy"]
    print(f"\nreal images: {len(real)}; KID between halves {numbers['halves_distance']:.4f}; MS-SSIM {diverse:.3f}; "
          f"accuracy of the classifier on its validation images {accuracy:.3f}")
    header = ("model", "steps", "KID", "FID", "precision", "recall", "MS-SSIM", "class as asked", "code error",
              "alerts")
    print_table(f"{count} made images of each model", header, rows)
    return entries


def main() -> int:
    arguments = parser(__doc__)
    arguments.add_argument("--train", nargs="*", choices=tuple(RECIPES), metavar="NAME",
                           help="train these first, or all that are missing")
    arguments.add_argument("--models", type=Path, default=RUNS / "foundations", metavar="DIR")
    arguments.add_argument("--count", type=int, default=COUNT, help=argparse.SUPPRESS)
    chosen = arguments.parse_args()
    return run(lambda: measure(chosen.data, chosen.models, chosen.device, chosen.count, chosen.train))


if __name__ == "__main__":
    sys.exit(main())
