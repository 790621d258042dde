"""Measures of similarity: aligned beats misaligned, whatever the intensities mean."""

import pytest
import torch
from synthetic_cases import head, other_contrast

from GANSynthesisLib.networks.registration import grid_points, sample
from GANSynthesisLib.objectives.similarity import mind_distance, normalized_mutual_information, self_similarity

SPACING = 4.0


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """A head and another modality of it, (1, 1, 24, 24, 24) in [−1, 1]."""
    volume = head(3, (24, 24, 24))
    found = []
    for each in (volume, other_contrast(volume)):
        found.append(torch.from_numpy(each.voxels / each.voxels.max() * 2 - 1).float()[None, None])
    return tuple(found)


def shifted(image: torch.Tensor, by: float) -> torch.Tensor:
    points = grid_points(tuple(image.shape[2:]), SPACING)
    return sample(image, points + torch.tensor([by, 0, 0]).view(1, 3, 1, 1, 1), SPACING, -1)


def nmi(first: torch.Tensor, second: torch.Tensor) -> float:
    return float(normalized_mutual_information(first, second))


def mind(first: torch.Tensor, second: torch.Tensor) -> float:
    return 1 - float(mind_distance(self_similarity(first), self_similarity(second)))


@pytest.mark.parametrize("similarity", [nmi, mind])
def test_images_of_two_modalities_are_most_alike_where_they_are_aligned(similarity):
    fixed, moving = images()
    scores = [similarity(fixed, shifted(moving, by)) for by in (0.0, 3.0, 6.0, 12.0)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[1] > 0.2 * (scores[0] - scores[3])


@pytest.mark.parametrize("similarity", [nmi, mind])
def test_inverted_intensities_change_nothing(similarity):
    fixed, moving = images()
    moving = shifted(moving, 3.0)
    assert similarity(fixed, -moving) == pytest.approx(similarity(fixed, moving), abs=1e-4)


def test_mutual_information_is_high_for_an_image_with_itself_and_one_for_noise():
    torch.manual_seed(0)
    levels = torch.randint(0, 10, (2, 40000)) * 0.2 - 0.9
    # Not quite 2: the windows are wider than a bin, and leave some doubt about every value.
    assert nmi(levels[:1], levels[:1]) > 1.5
    assert nmi(levels[:1], levels[1:]) == pytest.approx(1, abs=0.01)


def test_descriptors_do_not_see_brightness_or_gain_and_call_air_flat():
    fixed, _ = images()
    described = self_similarity(fixed)
    assert described.shape == (1, 12, 24, 24, 24)
    assert float((described - self_similarity(0.5 * fixed + 0.2)).abs().max()) < 1e-3
    assert 0 <= described.min() and described.max() == 1
    assert torch.equal(self_similarity(torch.full_like(fixed, 0.3)), torch.ones_like(described))


@pytest.mark.parametrize("image", ["tissue", "constant"])
def test_gradients_are_finite(image):
    fixed, moving = images()
    moving = (moving if image == "tissue" else torch.zeros_like(moving)).requires_grad_(True)
    loss = -normalized_mutual_information(fixed, moving) + mind_distance(
        self_similarity(fixed), self_similarity(moving))
    (gradient,) = torch.autograd.grad(loss.sum(), moving)
    assert torch.isfinite(gradient).all()
    assert image == "constant" or gradient.abs().max() > 0


def test_both_work_in_full_precision_under_autocast():
    fixed, moving = images()
    with torch.autocast("cpu", torch.bfloat16):
        under = nmi(fixed, moving), mind(fixed, moving)
    assert under == pytest.approx((nmi(fixed, moving), mind(fixed, moving)), abs=1e-5)
