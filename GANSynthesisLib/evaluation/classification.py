"""How well classes are told apart: from a confusion matrix of each subject to numbers with intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from GANSynthesisLib.evaluation.bootstrap import DRAWS


@dataclasses.dataclass(frozen=True)
class Rated:
    """A number, and the ends of its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """How well a classifier does. confusion (K, K): images by true class (rows) and said class (columns).

    balanced_accuracy: mean sensitivity of the classes that there are images of. sensitivity: part of a class's images
    that are found; specificity: part of all others that are not said to be of it; both by class, those without an
    image (or without any other) left out.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    accuracy: Rated
    balanced_accuracy: Rated
    sensitivity: dict[str, Rated]
    specificity: dict[str, Rated]

    def as_json(self) -> dict:
        """Everything in plain JSON values."""
        return dataclasses.asdict(self) | {"confusion": self.confusion.tolist(), "classes": list(self.classes)}


def score_classes(
    truth: Sequence[int], said: Sequence[int], subjects: Sequence[str], classes: Sequence[str], seed: int = 0
) -> ClassScores:
    """Scores of images (N): true and said class by number, and the subject of each.

    Intervals are percentiles over draws of subjects with replacement (Efron 1979), since the images of one patient
    depend on each other. Raises ValueError where there is no image.
    """
    if not len(truth):
        raise ValueError("There are no images to score a classifier on.")
    names, owner = np.unique(np.asarray(subjects), return_inverse=True)
    by_subject = np.zeros((len(names), len(classes), len(classes)))
    np.add.at(by_subject, (owner, np.asarray(truth), np.asarray(said)), 1)
    random = np.random.default_rng(seed)
    counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    drawn = np.tensordot(counts, by_subject, 1)
    whole = by_subject.sum(0)

    def rated(measure) -> Rated:
        value, values = float(measure(whole[None])[0]), measure(drawn)
        low, high = np.nanpercentile(values, [2.5, 97.5])
        return Rated(value, float(low), float(high))

    present = np.flatnonzero(whole.sum(1))
    opposed = [number for number in range(len(classes)) if whole.sum() > whole[number].sum()]
    return ClassScores(
        tuple(classes), whole.astype(int), rated(accuracy), rated(balanced_accuracy),
        {classes[n]: rated(lambda tables, n=n: sensitivities(tables)[:, n]) for n in present},
        {classes[n]: rated(lambda tables, n=n: _specificity(tables, n)) for n in opposed},
    )


def accuracy(tables: np.ndarray) -> np.ndarray:
    """(M,) of confusion matrices (M, K, K)."""
    return np.trace(tables, axis1=1, axis2=2) / tables.sum((1, 2))


def sensitivities(tables: np.ndarray) -> np.ndarray:
    """(M, K) of confusion matrices (M, K, K); NaN for classes without an image."""
    with np.errstate(invalid="ignore"):
        return np.diagonal(tables, axis1=1, axis2=2) / tables.sum(2)


def balanced_accuracy(tables: np.ndarray) -> np.ndarray:
    """(M,) mean sensitivity of the classes of confusion matrices (M, K, K) that there are images of."""
    return np.nanmean(sensitivities(tables), axis=1)


def _specificity(tables: np.ndarray, number: int) -> np.ndarray:
    others = tables.sum((1, 2)) - tables[:, number].sum(1)
    wrongly = tables[:, :, number].sum(1) - tables[:, number, number]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(others > 0, 1 - wrongly / others, np.nan)
