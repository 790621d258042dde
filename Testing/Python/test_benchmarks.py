"""The instruments of the benchmarks: what they measure with must itself be right."""

import numpy as np
import pytest
import torch
from Benchmarks.displacement import mean_displacement
from Benchmarks.intensity_mapping import IntensityMapping
from Benchmarks.plain_networks import PlainTranslator

from GANSynthesisLib.evaluation.bootstrap import interval
from GANSynthesisLib.networks.translation import Translator


def waves(shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    k, j, i = np.indices((24, 30, 34)) - np.reshape(shift, (3, 1, 1, 1))
    return np.sin(0.35 * k) + np.sin(0.3 * j + 1) * np.cos(0.25 * i) + np.cos(0.4 * i - 0.2 * k)


@pytest.mark.parametrize("shift", [(0.5, 0, 0), (0, -0.5, 0), (0, 0, 0.3), (0.3, 0.4, 0), (0, 0, 0)])
def test_displacement_is_found_from_the_content(shift):
    assert mean_displacement(waves(shift), waves()) == pytest.approx(np.linalg.norm(shift), abs=0.04)


def test_displacement_of_a_single_slice_and_of_nothing():
    assert mean_displacement(waves((0, 0.5, 0))[:1], waves()[:1]) == pytest.approx(0.5, abs=0.05)
    assert mean_displacement(np.ones((9, 9, 9)), np.ones((9, 9, 9))) == 0


def test_mapping_takes_the_median_of_each_bin():
    # Two bins: 0 … 0.5 and 0.5 … 1 with medians 2 and 9; between their centers 0.25 and 0.75 it is linear.
    mapping = IntensityMapping.fit([0.1, 0.2, 0.4, 0.6, 1.0], [1, 2, 30, 8, 10], bins=2)
    assert mapping([0, 0.25, 0.5, 0.75, 1]) == pytest.approx([2, 2, 5.5, 9, 9])


def test_mapping_passes_over_empty_bins():
    mapping = IntensityMapping.fit([0.05, 0.95], [0, 9], bins=10)
    assert mapping([0.05, 0.5, 0.95]) == pytest.approx([0, 4.5, 9])


def test_interval_draws_whole_cases():
    # Two cases: the mean of a draw is 0, 5 or 10, with probability 1/4, 1/2 and 1/4.
    low, high = interval([np.zeros(7), np.full(7, 10.0)], np.mean)
    assert (low, high) == (0, 10)
    low, high = interval([np.array([4.0]), np.array([]), np.array([4.0])], np.mean)
    assert (low, high) == (4, 4)


def test_interval_of_distances_that_may_be_infinite_has_no_nan():
    low, high = interval([np.array([5.0]), np.array([7.0]), np.array([np.inf])], np.mean)
    assert 5 <= low < np.inf and high == np.inf


@pytest.mark.parametrize("backbone", ["unet", "resnet"])
@pytest.mark.parametrize(("context", "slab", "shape"), [("2D", 1, (1, 21, 30)), ("2.5D", 3, (3, 21, 30)),
                                                        ("3D", 1, (9, 14, 11))])
def test_the_networks_of_the_peers_give_what_ours_give(backbone, context, slab, shape):
    torch.manual_seed(0)
    ours, image = Translator(1, 1, context, slab, 4, backbone, levels=2, blocks=2), torch.randn(2, 1, *shape)
    with torch.no_grad():
        found = ours(image)
        expected = PlainTranslator(ours)(image)
    assert torch.allclose(found, expected, atol=1e-4)
