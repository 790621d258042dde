"""Simulated acquisition against its formulas: slice profiles, k-space truncation, noise, and interpolation back."""

import math

import pytest
import torch

from GANSynthesisLib.systems.acquisition import (
    PROFILES,
    interpolated,
    slice_profile,
    thick_slices,
    truncated,
    with_rician_noise,
    zero_filled,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def mode(size: int, periods: float, steps: int = 1) -> torch.Tensor:
    """(1, 1, n, 1, 1): a cosine with so many half periods over `size` samples, sampled at steps of 1 / steps."""
    at = torch.arange((size - 1) * steps + 1) / steps
    return torch.cos(math.pi * periods * (at + 0.5) / size).view(1, 1, -1, 1, 1)


def test_a_boxcar_is_the_share_of_each_slice_in_the_thickness():
    assert slice_profile("boxcar", 3).tolist() == pytest.approx([1 / 3] * 3)
    assert slice_profile("boxcar", 4).tolist() == pytest.approx([1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8])


@pytest.mark.parametrize("factor", [2, 4, 6])
def test_a_gaussian_is_half_as_high_at_the_edges_of_the_thickness(factor):
    weights = slice_profile("gaussian", factor)
    middle = len(weights) // 2
    assert weights[middle + factor // 2] / weights[middle] == pytest.approx(0.5)
    assert float(weights.sum()) == pytest.approx(1)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_thick_slices_are_means_over_their_thickness_and_no_decimation(axis):
    image = torch.rand(2, 1, 11, 11, 11)
    thick, covered = thick_slices(image, "boxcar", 3, axis)
    means = [image.narrow(axis, start, 3).mean(axis) for start in (0, 3, 6)]
    torch.testing.assert_close(thick, torch.stack(means, axis))
    assert covered == slice(1, 8)
    left_out = image.index_select(axis, torch.tensor([1, 4, 7]))
    assert float((thick - left_out).abs().mean()) > 0.1


@pytest.mark.parametrize("profile", PROFILES)
def test_what_changes_evenly_across_the_slices_is_the_same_in_thick_ones(profile):
    ramp = torch.linspace(-1, 1, 40).view(1, 1, -1, 1, 1).expand(1, 1, -1, 3, 4)
    thick, covered = thick_slices(ramp, profile, 4)
    torch.testing.assert_close(thick, ramp[:, :, covered][:, :, ::4])
    torch.testing.assert_close(interpolated(thick, 4), ramp[:, :, covered])


def test_fewer_slices_than_a_profile_are_refused():
    with pytest.raises(ValueError, match="5 slices are fewer than the 9 of one slice profile"):
        thick_slices(torch.zeros(1, 1, 5, 4, 4), "gaussian", 3)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_cubic_interpolation_keeps_samples_to_the_bit_and_parabolas(axis):
    image = torch.rand(2, 1, 6, 7, 5)
    fine = interpolated(image, 3, axis)
    assert fine.shape[axis] == 3 * (image.shape[axis] - 1) + 1
    assert torch.equal(fine.index_select(axis, torch.arange(0, fine.shape[axis], 3)), image)
    at = torch.arange(8.0)
    parabola = (at**2 - 3 * at).view(1, 1, -1, 1, 1)
    between = torch.arange(3, 19) / 3  # the ends have no neighbor beyond them
    expected = (between**2 - 3 * between).view(1, 1, -1, 1, 1)
    torch.testing.assert_close(interpolated(parabola, 3)[:, :, 3:19], expected)


@pytest.mark.parametrize("factor", [2, 2.5, 3])
def test_truncation_keeps_low_frequencies_and_removes_high_ones(factor):
    size = 30
    for periods in range(size):
        image = mode(size, periods)
        expected = image if periods < size / factor else torch.zeros_like(image)
        torch.testing.assert_close(truncated(image, factor), expected, atol=1e-5, rtol=0)


def test_truncation_works_along_every_axis():
    image = torch.rand(1, 1, 12, 10, 8)
    once = truncated(image, 2)
    assert float((once - image).abs().mean()) > 0.05
    torch.testing.assert_close(truncated(once, 2), once, atol=1e-5, rtol=0)
    swapped = truncated(image.transpose(2, 4), 2).transpose(2, 4)
    torch.testing.assert_close(swapped, once, atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [2, 3])
def test_zero_filling_gives_the_values_between_samples(factor):
    for periods in (0, 1, 5, 11):
        torch.testing.assert_close(
            zero_filled(mode(12, periods), factor, 2), mode(12, periods, factor), atol=1e-5, rtol=0
        )


def test_rician_noise_has_the_moments_of_a_magnitude():
    level = 0.1
    air = (with_rician_noise(torch.full((1, 1, 60, 60, 60), -1.0), level) + 1) / 2
    assert float(air.mean()) == pytest.approx(level * math.sqrt(math.pi / 2), rel=0.01)
    tissue = (with_rician_noise(torch.zeros(1, 1, 60, 60, 60), level) + 1) / 2
    assert float(tissue.square().mean()) == pytest.approx(0.5**2 + 2 * level**2, rel=0.01)
    assert float(air.min()) >= 0
    low = (with_rician_noise(torch.zeros(1, 1, 60, 60, 60), level, 2) + 1) / 2
    assert float(low.square().mean()) == pytest.approx(0.5**2 + 2 * level**2, rel=0.01)
    rough = [float((each[:, :, 1:] - each[:, :, :-1]).square().mean()) for each in (low, tissue)]
    assert rough[0] < 0.5 * rough[1]
    image = torch.rand(1, 1, 4, 4, 4)
    assert torch.equal(with_rician_noise(image, 0), image)
