"""What images of a GAN add to the training of a classifier, measured on real images.

    python Testing/Benchmarks/augmentation.py [--data DIR] [--folds 2] [--seeds 1] [--full] [--workers N]

MedNIST (six classes) and breast ultrasound (BUSI, three classes), made scarce and imbalanced on purpose. Each of five
folds is tested once, on all of its real images; of the others a few are trained on, more of some classes than of
others. The same classifier is trained without augmentation, with classic augmentation (mirrored, turned, scaled,
shifted, other contrast), and with classic augmentation and images of a conditional GAN: those that fill all classes up
to the largest (Salehinejad 2018), or equally many of each class (Frid-Adar 2018). The GAN is trained inside the fold,
on the same few images. Classes are weighted, so that all of them know how rare a class is.

Balanced accuracy, and the paired difference to classic augmentation, averaged over seeds and with a 95 % t-interval
over folds. Patients of these images are not told: an image counts as one, and patients with several images make all
arms look better. Runs are kept in runs/augmentation, and what is there is not run again.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from command import RUNS, Entry, LeftOut, parser, text_table

from GANSynthesisLib.evaluation.classification import balanced_accuracy, sensitivities
from GANSynthesisLib.files import write_json
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training.conditions import balancing
from GANSynthesisLib.training.in_memory import image_cases, train_in_memory

FOLDS, SEEDS = 5, 3
ARMS = ("none", "classic", "GAN fills classes", "GAN for all classes")  # the last two beside classic augmentation
T_QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t at 97.5 %, by the number of folds
CLAIM = ("Frid-Adar 2018, liver lesions in CT, 182 lesions of three kinds, a DCGAN for each: sensitivity 78.6 % with "
         "classic augmentation, 85.7 % with GAN images added; specificity 88.4 % and 92.4 %.")


@dataclass(frozen=True, eq=False)
class Trial:
    """A data set made scarce: images of each class to train on, size of the images (pixels), and steps."""

    name: str
    archive: str
    counts: dict[str, int]
    size: int = 32
    classifier_steps: int = 300
    generator_steps: int = 1000


TRIALS = (
    Trial("MedNIST", "MedNIST_6x500_64px.zip",
          {"AbdomenCT": 40, "CXR": 40, "Hand": 40, "BreastMRI": 5, "ChestCT": 5, "HeadCT": 5}),
    Trial("BUSI", "breast_US_BUSI_780_128px.zip", {"benign": 120, "malignant": 30, "normal": 15}),
)


def read_images(archive: Path, classes: list[str], size: int) -> tuple[torch.Tensor, np.ndarray]:
    """(N, 1, 1, size, size) in [−1, 1] and the number of each image's class; images of one gray value left out."""
    from PIL import Image

    images, labels = [], []
    with zipfile.ZipFile(archive) as content:
        for name in sorted(content.namelist()):
            class_name = name.split("/")[0]
            if class_name not in classes or name.endswith("/"):
                continue
            picture = Image.open(BytesIO(content.read(name))).convert("L").resize((size, size), Image.Resampling.BOX)
            pixels = np.asarray(picture, np.float32)
            if pixels.max() > pixels.min():
                images.append(torch.from_numpy(pixels / 127.5 - 1)[None, None])
                labels.append(classes.index(class_name))
    return torch.stack(images), np.array(labels)


def folds_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Fold of each image, of each class the same part."""
    random, folds = np.random.default_rng(seed), np.zeros(len(labels), int)
    for number in np.unique(labels):
        at = random.permutation(np.flatnonzero(labels == number))
        folds[at] = np.arange(len(at)) % FOLDS
    return folds


def run(trial: Trial, data: Path, fold: int, seed: int, device: str = "cpu") -> dict:
    """Arm -> confusion matrix on the fold's real images."""
    classes = sorted(trial.counts)
    images, labels = read_images(data / "classes_2d" / trial.archive, classes, trial.size)
    folds, random = folds_of(labels), np.random.default_rng((fold, seed))
    kept = np.concatenate([
        random.choice(np.flatnonzero((labels == number) & (folds != fold)), trial.counts[name], replace=False)
        for number, name in enumerate(classes)
    ])
    few, few_labels = images[kept], labels[kept]
    test, truth = images[folds == fold], labels[folds == fold]
    made, made_labels = generated(trial, few, few_labels, classes, seed, device)
    counts = np.bincount(few_labels)
    missing = np.concatenate([np.flatnonzero(made_labels == number)[: counts.max() - count]
                              for number, count in enumerate(counts)])
    sets = dict(zip(ARMS, (
        (few, few_labels, 0.0), (few, few_labels, 1.0),
        (torch.cat([few, made[missing]]), np.concatenate([few_labels, made_labels[missing]]), 1.0),
        (torch.cat([few, made]), np.concatenate([few_labels, made_labels]), 1.0),
    ), strict=True))
    return {arm: classified(trial, *sets[arm], classes, test, truth, seed, device).tolist() for arm in ARMS}


def generated(trial: Trial, images, labels, classes, seed: int, device: str) -> tuple[torch.Tensor, np.ndarray]:
    """Images of a GAN trained on these, as many of each class as the largest has."""
    settings = {"context": "2D", "patch": (trial.size,) * 2, "classes": classes, "augment": 1.0, "width": 16,
                "critic_width": 16, "batch": 16}
    system = train_in_memory(build_system("cgan", settings), image_cases(images, labels), trial.generator_steps, seed,
                             device)
    wanted = np.repeat(np.arange(len(classes)), np.bincount(labels).max())
    torch.manual_seed(seed)
    made = []
    with torch.inference_mode():
        for part in torch.from_numpy(wanted).split(64):
            where = next(system.parameters()).device
            asked = {"noise": torch.randn(len(part), system.settings.latent).to(where), "class": part.to(where)}
            made.append(system.apply(asked)["image"].float().cpu())
    return torch.cat(made), wanted


def classified(trial: Trial, images, labels, augment: float, classes, test, truth, seed: int, device) -> np.ndarray:
    """(K, K) images of the test by true and said class, of a classifier trained on these images."""
    settings = {"context": "2D", "patch": (trial.size,) * 2, "classes": classes, "width": 8, "batch": 16,
                "augment": augment, "augment_intensity": augment,
                "class_weights": balancing(np.bincount(labels, minlength=len(classes)))}
    torch.manual_seed(seed)
    system = train_in_memory(build_system("classifier", settings), image_cases(images, labels), trial.classifier_steps,
                             seed, device)
    where = next(system.parameters()).device
    with torch.inference_mode():
        said = torch.cat([system.scores(part.to(where)).argmax(1).cpu() for part in test.split(128)]).numpy()
    confusion = np.zeros((len(classes),) * 2, int)
    np.add.at(confusion, (truth, said), 1)
    return confusion


def kept_run(trial: Trial, data: Path, fold: int, seed: int, device: str = "cpu") -> dict:
    """As `run`, or what an earlier run of the same trial has left."""
    recipe = hashlib.sha256(json.dumps([asdict(trial), ARMS], sort_keys=True).encode()).hexdigest()[:8]
    path = RUNS / "augmentation" / f"{trial.name}-{recipe}-fold{fold}-seed{seed}.json"
    if not path.exists():
        torch.set_num_threads(1)
        write_json(run(trial, data, fold, seed, device), path)
    return json.loads(path.read_text())


def interval_over_folds(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % t-interval of values (folds, seeds): seeds of a fold share its images, and are averaged first."""
    by_fold = values.mean(1)
    if len(by_fold) < 2:
        return float(by_fold.mean()), float("nan"), float("nan")
    half = T_QUANTILE[len(by_fold)] * by_fold.std(ddof=1) / len(by_fold) ** 0.5
    return float(by_fold.mean()), float(by_fold.mean() - half), float(by_fold.mean() + half)


def report(trial: Trial, runs: dict[tuple[int, int], dict]) -> list[Entry]:
    classes = sorted(trial.counts)
    folds, seeds = sorted({fold for fold, _ in runs}), sorted({seed for _, seed in runs})
    tables = np.array([[[runs[fold, seed][arm] for arm in ARMS] for seed in seeds] for fold in folds], float)
    flat = tables.reshape(-1, *tables.shape[-2:])
    scores = balanced_accuracy(flat).reshape(tables.shape[:3])
    found = np.nanmean(sensitivities(flat).reshape(*tables.shape[:3], -1), axis=(0, 1))
    rows = [
        (arm, _shown(interval_over_folds(scores[..., number])), *(f"{value:.3f}" for value in found[number]))
        for number, arm in enumerate(ARMS)
    ]
    few = ", ".join(f"{name} {trial.counts[name]}" for name in classes)
    title = f"\n{trial.name}, {len(folds)} folds × {len(seeds)} seeds; trained on {few}"
    print(text_table(title, ("augmentation", "balanced accuracy", *(f"found: {name}" for name in classes)), rows))
    for number in (0, 2, 3):
        gain = interval_over_folds(scores[..., number] - scores[..., 1])
        print(f"  {ARMS[number]} − classic: {_shown(gain)}")
    note = "balanced accuracy on real images; peer: classic augmentation alone; higher is better"
    return [Entry(f"{arm}, {trial.name}", scores[..., number].mean(), scores[..., 1].mean(), "", note)
            for number, arm in enumerate(ARMS) if number > 1]


def _shown(rated: tuple[float, float, float]) -> str:
    return "{:.3f} [{:.3f}, {:.3f}]".format(*rated)


def measure(data: Path | None, folds: int = 2, seeds: int = 1, workers: int = 1, names=None) -> list[Entry]:
    if data is None or not (data / "classes_2d").is_dir():
        raise LeftOut("the folder classes_2d of the development images is not there")
    trials = [trial for trial in TRIALS if names is None or trial.name in names]
    keys = [(trial, fold, seed) for seed in range(seeds) for fold in range(folds) for trial in trials]
    if workers == 1:
        runs = {key: kept_run(key[0], data, *key[1:]) for key in keys}
    else:
        with ProcessPoolExecutor(workers) as pool:
            jobs = {key: pool.submit(kept_run, key[0], data, *key[1:]) for key in keys}
            runs = {key: job.result() for key, job in jobs.items()}
    entries = []
    for trial in trials:
        entries += report(trial, {key[1:]: run for key, run in runs.items() if key[0] is trial})
    print(f"\nBeside it: {CLAIM}")
    return entries


def main() -> None:
    words = parser(__doc__)
    words.add_argument("--folds", type=int, default=2, choices=range(1, FOLDS + 1))
    words.add_argument("--seeds", type=int, default=1)
    words.add_argument("--full", action="store_true", help=f"{FOLDS} folds and {SEEDS} seeds")
    words.add_argument("--workers", type=int, default=1, help="processes side by side")
    words.add_argument("--only", nargs="+", choices=[trial.name for trial in TRIALS])
    chosen = words.parse_args()
    folds, seeds = (FOLDS, SEEDS) if chosen.full else (chosen.folds, chosen.seeds)
    measure(chosen.data, folds, seeds, chosen.workers, chosen.only)


if __name__ == "__main__":
    main()
