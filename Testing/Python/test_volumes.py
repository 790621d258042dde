"""Geometry, resampling, intensity ranges and masks of volumes."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from Benchmarks.rotation import rotation

from GANSynthesisLib.opening import opened
from GANSynthesisLib.transforms import SpatialTransform
from GANSynthesisLib.volumes import (
    Grid,
    Intensity,
    IntensityRange,
    Volume,
    VolumeError,
    body_mask,
    check_volume,
    prepare,
    resample,
)

TURNS = [(axes, signs) for axes in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def oblique_grid(shape=(14, 30, 26), spacing=(0.9, 1.1, 3.0), angles=(12, -8, 20)) -> Grid:
    return Grid.centred((5.0, -12.0, 31.0), shape, spacing, rotation(*angles))


def smooth_values(points) -> np.ndarray:
    """A smooth scalar function of RAS mm: the truth that resampling has to reproduce."""
    x, y, z = np.moveaxis(np.asarray(points) - (5.0, -12.0, 31.0), -1, 0)
    return 400 + 150 * np.sin(x / 7) + 120 * np.cos(y / 9) + 90 * np.sin(z / 11 + 0.5)


def smooth_volume(grid: Grid, **details) -> Volume:
    return Volume(smooth_values(grid.points()).astype(np.float32), grid.ijk_to_ras, **details)


def turned(volume: Volume, axes, signs) -> Volume:
    """The same voxels stored in another order: written without the code under test."""
    voxels, matrix = volume.voxels.transpose([2 - axes[2 - n] for n in range(3)]), volume.ijk_to_ras.copy()
    matrix[:3, :3] = volume.ijk_to_ras[:3, list(axes)]
    for axis, sign in enumerate(signs):
        if sign < 0:
            matrix[:3, 3] += matrix[:3, axis] * (voxels.shape[2 - axis] - 1)
            matrix[:3, axis] *= -1
            voxels = np.flip(voxels, 2 - axis)
    return Volume(np.ascontiguousarray(voxels), matrix, volume.unit, volume.name)


def test_48_orders_of_the_axes_prepare_to_one_array_and_come_back_in_place():
    volume = smooth_volume(oblique_grid())
    reference, _ = prepare(volume, (1.5, 1.5, 2.0), IntensityRange("percentile", 1, 99))
    for axes, signs in TURNS:
        stored = turned(volume, axes, signs)
        array, preparation = prepare(stored, (1.5, 1.5, 2.0), IntensityRange("percentile", 1, 99))
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, reference, atol=1e-5)
        back = preparation.back(array)
        assert back.grid.same_as(stored.grid, 1e-9)
        # Smooth values shift by about 20 per mm: half a voxel would cost more than 10.
        inner = tuple(slice(2, -2) for _ in range(3))
        inside = np.clip(stored.voxels, preparation.intensity.lower, preparation.intensity.upper)
        assert np.abs(back.voxels - inside)[inner].mean() < 4


def test_48_orders_of_the_axes_come_back_exactly_without_a_change_of_spacing():
    volume = smooth_volume(oblique_grid())
    for axes, signs in TURNS:
        stored = turned(volume, axes, signs)
        array, preparation = prepare(stored, None, IntensityRange("window", 0, 1000))
        assert np.all(np.diag(preparation.working.directions) > 0.8)
        np.testing.assert_allclose(preparation.back(array).voxels, stored.voxels, atol=1e-3)


def test_a_marked_voxel_comes_back_within_half_a_voxel_for_every_order_of_the_axes():
    grid = oblique_grid((20, 24, 22), (1.0, 1.3, 1.9))
    mark = grid.points()[9, 14, 8]
    blob = np.exp(-np.sum((grid.points() - mark) ** 2, axis=-1) / (2 * 3.0**2)) * 100
    volume = Volume(blob.astype(np.float32), grid.ijk_to_ras)
    for axes, signs in TURNS:
        stored = turned(volume, axes, signs)
        array, preparation = prepare(stored, (2.0, 2.0, 2.0), IntensityRange("window", 0, 100))
        back = preparation.back(array)
        weights = np.where(back.voxels > 20, back.voxels, 0)
        found = np.tensordot(weights, back.grid.points(), 3) / weights.sum()
        assert np.linalg.norm(found - mark) < 0.1


def test_a_sheared_volume_is_prepared_on_orthogonal_axes_and_comes_back_in_place():
    matrix = oblique_grid().ijk_to_ras.copy()
    matrix[:3, 2] += 0.9 * rotation(12, -8, 20)[:, 1]
    volume = smooth_volume(Grid((14, 30, 26), matrix))
    array, preparation = prepare(volume, None, IntensityRange("window", 0, 1000))
    assert preparation.working.is_regular() and not volume.grid.is_regular()
    truth = smooth_values(preparation.working.points())
    seen = array > -0.99  # outside the sheared field of view there is the fill value
    values = preparation.intensity.denormalize(array)
    assert np.percentile(np.abs(values - truth)[seen], 50) < 2
    back = preparation.back(array)
    assert np.abs(back.voxels - volume.voxels)[2:-2, 3:-3, 3:-3].max() < 15


def test_canonical_axes_point_right_anterior_superior_for_left_handed_and_45_degree_volumes():
    for angles in ((12, -8, 20), (0, 0, 45), (40, 30, -20)):
        volume = smooth_volume(oblique_grid((4, 5, 6), angles=angles))
        expected = volume.canonical()
        assert np.linalg.det(expected.grid.directions) > 0
        for axes, signs in TURNS:
            same = turned(volume, axes, signs).canonical()
            assert same.grid.same_as(expected.grid, 1e-9)
            np.testing.assert_array_equal(same.voxels, expected.voxels)


def test_resampling_reproduces_values_at_their_world_positions():
    volume = smooth_volume(oblique_grid((40, 60, 56), (0.9, 1.1, 1.4)))
    grid = Grid.centred(volume.grid.centre_ras, (12, 14, 13), (1.7, 1.2, 2.1), rotation(-30, 15, 70))
    for interpolation, tolerance in (("linear", 3.0), ("cubic", 3.0), ("nearest", 30.0)):
        result = resample(volume, grid, interpolation)
        assert np.abs(result.voxels - smooth_values(grid.points())).max() < tolerance
        assert result.grid.same_as(grid)


def test_a_coarser_grid_averages_and_does_not_alias():
    checker = (np.indices((32, 32, 32)).sum(axis=0) % 2).astype(np.float32)
    volume = Volume(checker, np.eye(4))
    coarse = resample(volume, volume.grid.with_spacing((4, 4, 4))).voxels
    assert np.abs(coarse - 0.5).max() < 0.02
    shifted = Grid((15, 15, 15), np.diag([2.0, 2.0, 2.0, 1.0]))  # every second voxel: all of one color if aliased
    assert np.abs(resample(volume, shifted).voxels[2:-2, 2:-2, 2:-2] - 0.5).max() < 0.02
    assert set(np.unique(resample(volume, shifted, "nearest").voxels)) == {0.0}


def test_the_same_resolution_is_never_smoothed_however_turned_or_sheared():
    volume = Volume(np.random.default_rng(0).random((16, 16, 16), dtype=np.float32))
    sheared = np.eye(4)
    sheared[1, 2] = 3.0  # a gantry tilt by whole voxels: the same samples, so the same values
    result = resample(volume, Grid((5, 4, 16), sheared))
    for k in range(5):
        np.testing.assert_allclose(result.voxels[k, :1], volume.voxels[k, 3 * k : 3 * k + 1], atol=1e-6)


def test_spacing_keeps_the_field_of_view_its_center_and_single_slices():
    grid = oblique_grid((22, 256, 250), (0.94, 0.94, 6.0))
    finer = grid.with_spacing((1.0, None, 1.5))
    assert finer.spacing == pytest.approx((1.0, 0.94, 1.5))
    np.testing.assert_allclose(finer.centre_ras, grid.centre_ras, atol=1e-9)
    for new, old, step in zip(finer.size_mm, grid.size_mm, finer.spacing, strict=True):
        assert -1e-9 < new - old < step
    assert grid.with_spacing(None) is grid
    assert Grid((1, 20, 20), np.diag([1.0, 1.0, 5.0, 1.0])).with_spacing((1, 1, 1)).shape == (1, 20, 20)
    with pytest.raises(ValueError, match="positive"):
        grid.with_spacing((0, 1, 1))


def test_a_single_slice_goes_in_and_back():
    for axes in ((0, 1, 2), (0, 2, 1), (2, 0, 1)):
        volume = turned(smooth_volume(oblique_grid((1, 40, 44), (1.0, 1.0, 4.0))), axes, (1, -1, 1))
        array, preparation = prepare(volume, (2.0, 2.0, 2.0), IntensityRange())
        assert 1 in array.shape
        back = preparation.back(array)
        assert back.shape == volume.shape
        inside = np.clip(volume.voxels, preparation.intensity.lower, preparation.intensity.upper)
        assert np.abs(back.voxels - inside).mean() < 6
    assert resample(volume, volume.grid.with_spacing((0.7, 0.7, 0.7)), "cubic").voxels.min() > 0


def test_labels_keep_their_values_and_type_and_take_zero_outside():
    labels = np.full((6, 6, 6), 7, np.int64)
    volume = Volume(labels, np.eye(4), label_names={7: "gland"})
    larger = resample(volume, Grid((10, 10, 10), volume.grid.ijk_to_ras), "nearest")
    assert larger.voxels.dtype == np.int64 and larger.label_names == {7: "gland"}
    assert larger.voxels[8, 8, 8] == 0 and larger.voxels[5, 5, 5] == 7
    hounsfield = Volume(np.array([[[-1000, 40], [20, 60]]], np.int16))
    assert resample(hounsfield, Grid((1, 4, 4), np.eye(4))).voxels.min() == -1000


def test_class_probabilities_come_back_as_named_labels_on_the_input_grid():
    grid = oblique_grid((20, 30, 28), (1.0, 1.0, 1.5))
    volume = smooth_volume(turned(smooth_volume(grid), (2, 0, 1), (-1, 1, 1)).grid)
    _, preparation = prepare(volume, (2.0, 2.0, 2.0), IntensityRange())
    distance = np.linalg.norm(preparation.working.points() - grid.centre_ras, axis=-1)
    ball = 1 / (1 + np.exp(distance - 8))
    result = preparation.back_labels(np.stack([1 - ball, ball * 0.9, ball * 0.1]), "seg", {1: "ball", 2: "none"})
    truth = np.linalg.norm(volume.grid.points() - grid.centre_ras, axis=-1) < 8
    assert result.voxels.dtype == np.uint8 and result.label_names == {1: "ball", 2: "none"}
    assert result.grid.same_as(volume.grid)
    dice = 2 * np.sum(truth & (result.voxels == 1)) / (truth.sum() + np.sum(result.voxels == 1))
    assert dice > 0.95 and not np.any(result.voxels == 2)


def test_intensities_return_from_the_network_range():
    values = np.linspace(-1024, 3071, 4096, dtype=np.float32)
    intensity = IntensityRange("hounsfield").measure(Volume(values.reshape(1, 64, 64)))
    assert intensity == Intensity(-1024, 3071)
    normal = intensity.normalize(values)
    assert normal.dtype == np.float32 and normal.min() == -1 and normal.max() == pytest.approx(1)
    np.testing.assert_allclose(intensity.denormalize(normal), values, atol=1e-3)
    np.testing.assert_allclose(intensity.normalize([-5000, 9000]), [-1, 1], atol=1e-6)
    untouched = IntensityRange("as_is").measure(Volume(values.reshape(1, 64, 64)))
    np.testing.assert_allclose(untouched.normalize([-0.5, 0.25]), [-0.5, 0.25], atol=1e-6)


def test_percentiles_are_measured_over_the_foreground():
    generator = np.random.default_rng(0)
    voxels = np.zeros((40, 40, 40), np.float32)
    voxels[12:28, 12:28, 12:28] = generator.uniform(100, 200, (16, 16, 16))
    measured = IntensityRange("percentile", 5, 95).measure(Volume(voxels))
    assert measured.lower == pytest.approx(105, abs=2) and measured.upper == pytest.approx(195, abs=2)
    noisy = voxels + generator.uniform(0, 6, voxels.shape)
    assert IntensityRange("percentile", 5, 95).measure(Volume(noisy)).lower > 100
    multiples = IntensityRange("median", 0, 2).measure(Volume(voxels))
    assert multiples.lower == 0 and multiples.upper == pytest.approx(300, abs=3)


def test_the_target_range_can_replace_the_measured_one_on_the_way_back():
    volume = smooth_volume(oblique_grid((6, 8, 8)))
    array, preparation = prepare(volume, None, IntensityRange("window", 0, 1000))
    synthetic = preparation.back(np.zeros_like(array), "synthetic", "HU", Intensity(-1024, 3071))
    assert synthetic.unit == "HU" and np.allclose(synthetic.voxels, 1023.5)
    assert np.allclose(preparation.back(np.zeros_like(array), intensity=None).voxels, 0)
    with pytest.raises(ValueError, match="working grid"):
        preparation.back(np.zeros((1, 2, 3)))


@pytest.mark.parametrize("settings", [("window",), ("window", 5, 5), ("percentile", 2, 101), ("z-score", 0, 1)])
def test_impossible_ranges_are_refused(settings):
    with pytest.raises(ValueError, match="range|percentiles"):
        IntensityRange(*settings)


def test_the_body_is_found_with_its_lungs_and_without_the_table():
    k, j, i = np.indices((20, 64, 64))
    voxels = np.full((20, 64, 64), -1000, np.int16)
    body = ((i - 32) / 26) ** 2 + ((j - 34) / 18) ** 2 < 1
    lung = ((i - 22) / 7) ** 2 + ((j - 34) / 9) ** 2 < 1
    voxels[body], voxels[lung] = 40, -800
    voxels[:, 4, 4:60] = 300  # a table: one voxel thick
    flipped = turned(Volume(voxels), (1, 2, 0), (-1, 1, 1))
    mask = body_mask(flipped)
    truth = turned(Volume(body), (1, 2, 0), (-1, 1, 1)).voxels
    assert mask.dtype == bool and np.mean(mask != truth) < 0.005
    stripped = np.where(body & (k > 3), 100 + i, 0)
    np.testing.assert_array_equal(body_mask(Volume(stripped)), stripped != 0)
    pierced = stripped.copy()
    pierced[tuple(np.argwhere(stripped != 0).mean(0).round().astype(int))] = 0  # fluid that is exactly zero
    np.testing.assert_array_equal(body_mask(Volume(pierced)), stripped != 0)


def test_unusable_volumes_are_refused_in_one_sentence_that_names_them():
    good = np.arange(8.0).reshape(2, 2, 2)
    singular = np.diag([1.0, 1.0, 0.0, 1.0])
    cases = {
        "no voxels": Volume(np.zeros((0, 4, 4)), name="CT Head"),
        "NaN": Volume(np.where(good == 3, np.nan, good), name="CT Head"),
        "infinite": Volume(np.where(good == 3, np.inf, good), name="CT Head"),
        "same value 7": Volume(np.full((3, 3, 3), 7, np.uint8), name="CT Head"),
        "4 array dimensions": Volume(np.zeros((2, 2, 2, 3)), name="CT Head"),
        "singular": Volume(good, singular, name="CT Head"),
        "complex128": Volume(good.astype(complex), name="CT Head"),
    }
    for words, volume in cases.items():
        with pytest.raises(VolumeError, match=words) as caught:
            check_volume(volume, "source")
        sentence = str(caught.value)
        assert sentence.startswith("The source volume 'CT Head'") and sentence.endswith(".") and ":" in sentence
    with pytest.raises(VolumeError, match="^The volume has the same value"):
        prepare(Volume(np.zeros((3, 3, 3))), None, IntensityRange())
    check_volume(Volume(good), "fixed")


def test_a_moving_volume_is_warped_onto_the_fixed_grid():
    fixed = oblique_grid((20, 24, 22), (1.5, 1.4, 1.8))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(3, -4, 6), (2.0, -3.0, 1.0)
    bend = (1.5 * np.sin(fixed.points() / 9)).astype(np.float32).transpose(3, 0, 1, 2)
    transform = SpatialTransform(matrix, bend, fixed)
    moving = smooth_volume(Grid.centred(fixed.centre_ras, (60, 60, 60), (1.3, 1.2, 1.4), rotation(50, -20, 10)))
    warped = resample(moving, fixed, transform=transform)
    truth = smooth_values(transform.points(fixed.points().reshape(-1, 3))).reshape(fixed.shape)
    assert np.abs(warped.voxels - truth).max() < 3
    assert warped.grid.same_as(fixed)


@pytest.mark.parametrize("shape", [(9, 10, 11), (20, 21, 8), (1, 15, 16), (12, 1, 9), (2, 9, 9), (3, 3, 3)])
@pytest.mark.parametrize("share", [0.7, 0.9, 0.99])
def test_opening_is_that_of_simpleitk(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    expected = sitk.BinaryMorphologicalOpening(image, [1 if size > 2 else 0 for size in image.GetSize()])
    assert np.array_equal(opened(mask), sitk.GetArrayFromImage(expected).astype(bool))
