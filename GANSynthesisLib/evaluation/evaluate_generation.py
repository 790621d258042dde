"""Models that make new images, held against real ones."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from GANSynthesisLib.devices import torch_device
from GANSynthesisLib.evaluation.encoders import Encoder, load_encoder
from GANSynthesisLib.evaluation.generation import frechet_distance, halves_distance, kernel_distance, manifolds
from GANSynthesisLib.evaluation.tables import text_table
from GANSynthesisLib.files import write_json
from GANSynthesisLib.models import Model, ModelError
from GANSynthesisLib.objectives.diversity import distance_to_nearest, distance_to_others, pairwise_ms_ssim
from GANSynthesisLib.systems.base import Batch, System
from GANSynthesisLib.training.cases import DataError, find_cases
from GANSynthesisLib.training.conditions import of_classes
from GANSynthesisLib.training.copies import CASE_PATCHES, COMPARED, COPIED
from GANSynthesisLib.training.loading import load_case
from GANSynthesisLib.training.patches import PatchSampler

AT_ONCE, COUNT = 64, 500  # images
LEAST = 8  # real images to compare with


def evaluate_generation(
    models: Sequence[Model],
    data: Path,
    encoder: str | Path,
    *,
    count: int = COUNT,
    everything: bool = False,
    output: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> dict:
    """Hold `count` images of every model against the real ones of `data`; returns the numbers by model.

    Real images are those that a model was not trained on; with `everything`, or where there are too few of them, all
    (and then a generator that copies looks good: see `nearest`). encoder: see `encoders.load_encoder`. output: JSON
    file of the numbers. Raises ModelError or DataError before any work.
    """
    describe = load_encoder(encoder, str(torch_device(device)))
    if count < LEAST:
        raise DataError(f"{count} images are too few to hold against real ones: give at least {LEAST}.")
    for model in models:
        if model.card.task != "generate":
            raise ModelError(f"The model '{model.card.name}' does not generate images: name generators only.")
    result = {model.card.name: _evaluated(model, Path(data), describe, count, everything, device, seed, say)
              for model in models}
    rows = [(name, *(_shown(found[key]) for key in COLUMNS)) for name, found in result.items()]
    say(text_table(f"{count} made images of each model against real ones", ("model", *COLUMNS.values()), rows))
    for name, found in result.items():
        for class_name, both in found["class_ms_ssim"].items():
            say(f"  {name}: MS-SSIM within {class_name}: made {both['made']:.3f}, real {both['real']:.3f}")
    if output:
        write_json(result, output)
    return result


COLUMNS = {
    "kernel_distance": "KID", "halves_distance": "real halves", "frechet_distance": "FID", "precision": "precision",
    "recall": "recall", "density": "density", "coverage": "coverage", "ms_ssim_made": "MS-SSIM",
    "ms_ssim_real": "real", "nearest": "nearest", "copied": "copies",
}


def _shown(value: float) -> str:
    return f"{value:.3g}"


def _evaluated(model: Model, data: Path, describe: Encoder, count: int, everything: bool, device, seed, say) -> dict:
    where = torch_device(device)
    system = model.build().to(where).eval()
    seen, unseen = _real_batches(model, system, data, where)
    real = seen + unseen if everything or len(unseen) < LEAST else unseen
    if real is not unseen and not everything:
        say(f"{model.card.name}: {len(unseen)} images of {data} were not seen in training, too few: all are taken")
    if len(real) < LEAST:
        raise DataError(f"{data} has {len(real)} images, too few to hold others against: give at least {LEAST}.")
    made, classes = make_like(system, real, count, seed)
    images = torch.cat([batch["image"] for batch in real]).cpu()
    numbers = against(describe(images), describe(made), seed)
    numbers |= {"ms_ssim_made": pairwise_ms_ssim(made), "ms_ssim_real": pairwise_ms_ssim(images)}
    numbers |= likeness_to_training(made, torch.cat([batch["image"] for batch in seen or real]).cpu())
    numbers["class_ms_ssim"] = _class_diversity(system, made, classes, images, real)
    return {**numbers, "real_images": len(images), "made_images": len(made)}


def _real_batches(model: Model, system: System, data: Path, device) -> tuple[list[Batch], list[Batch]]:
    """Real images as the system saw them, batches of one: of the training's subjects, and of others."""
    groups: tuple[list[Batch], list[Batch]] = [], []
    subjects = set(model.card.training.get("subjects", ()))  # those held out have chosen nothing of a generator
    for case in of_classes(find_cases(data, system.roles), system.settings, data):
        loaded = load_case(case, system)
        batches = PatchSampler([loaded], system, 0).validation_batches(device, CASE_PATCHES)
        groups[case.subject not in subjects].extend(batches)
    return groups


@torch.inference_mode()
def make_like(
    system: System, real: Sequence[Batch], count: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """`count` new images (N, 1, D, H, W), asked for as real ones are, in turn; and their classes (N,), if any."""
    torch.manual_seed(seed)
    images, classes = [], []
    order = [real[number % len(real)] for number in torch.randperm(max(count, len(real)))[:count].tolist()]
    for first in range(0, count, AT_ONCE):
        together = order[first : first + AT_ONCE]
        asked = system.asked({role: torch.cat([batch[role] for batch in together]) for role in together[0]})
        images.append(system.apply(asked)["image"].cpu())
        classes += [asked["class"].cpu()] if "class" in asked else []
    return torch.cat(images), torch.cat(classes) if classes else None


def against(real, made, seed: int = 0) -> dict[str, float]:
    """All distances of made images to real ones, from their features (N, F), scaled so that those of the real images
    have the mean square 1: the kernel distance of an encoder of any scale can then be read."""
    scale = float((real**2).mean()) ** 0.5 or 1.0
    real, made = real / scale, made / scale
    kernel, low, high = kernel_distance(real, made, seed=seed)
    return {
        "kernel_distance": kernel, "kernel_distance_low": low, "kernel_distance_high": high,
        "halves_distance": halves_distance(real, seed=seed), "frechet_distance": frechet_distance(real, made),
        **asdict(manifolds(real, made)),
    }


def likeness_to_training(made: torch.Tensor, training: torch.Tensor) -> dict[str, float]:
    """`nearest`: median distance of a made image to the nearest training image, over that of a training image to the
    nearest other one; `copied`: part of the made images that lie nearer than a quarter of that."""
    near, _ = distance_to_nearest(made, training)
    some = torch.linspace(0, len(training) - 1, min(len(training), COMPARED)).long()
    apart = distance_to_others(training, torch.arange(len(training)), some).tolist()
    usual = max(statistics.median(apart), 1e-9)
    return {"nearest": float(near.median()) / usual, "copied": float((near < COPIED * usual).float().mean())}


def _class_diversity(system: System, made, classes, real, batches: Sequence[Batch]) -> dict[str, dict[str, float]]:
    """Class -> mean MS-SSIM between two of its images, made and real: higher where a class has collapsed."""
    if classes is None:
        return {}
    found, truth = {}, torch.cat([batch["class"] for batch in batches]).cpu()
    for number, name in enumerate(system.settings.classes):
        sets = {"made": made[classes == number], "real": real[truth == number]}
        if min(map(len, sets.values())) > 1:
            found[name] = {kind: pairwise_ms_ssim(images) for kind, images in sets.items()}
    return found
