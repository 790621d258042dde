"""Spatial transforms: points, inverse, Jacobian, SimpleITK's view of them, files."""

from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from GANSynthesisLib.transforms import SpatialTransform, read_transform, write_transform
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, resample

LPS = np.array([-1.0, -1.0, 1.0])


def rotated(angle: float, tilt: float) -> np.ndarray:
    a, b = np.radians([angle, tilt])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return about_z @ about_x


def wavy(grid: Grid, amplitude=2.0) -> np.ndarray:
    """(3, K, J, I) smooth displacement in mm; its slope is at most amplitude / 12."""
    x, y, z = np.moveaxis(grid.points(), -1, 0)
    return (amplitude * np.stack([np.sin(y / 12), np.cos(z / 12), np.sin(x / 12)])).astype(np.float32)


def bent_transform(amplitude=2.0, directions=None) -> SpatialTransform:
    directions = rotated(25, 10) if directions is None else directions
    grid = Grid.centred((10, -20, 30), (16, 18, 20), (3.0, 2.5, 4.0), directions)
    matrix = np.eye(4)
    matrix[:3, :3] = rotated(8, -5) @ np.diag([1.05, 0.97, 1.02])
    matrix[:3, 3] = 4.0, -6.0, 2.5
    return SpatialTransform(matrix, wavy(grid, amplitude), grid)


def inner_points(grid: Grid, count=200) -> np.ndarray:
    index = np.random.default_rng(1).uniform(0, np.array(grid.shape[::-1]) - 1, (count, 3))
    return index @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]


def through_sitk(transform: sitk.Transform, points) -> np.ndarray:
    return np.array([transform.TransformPoint((point * LPS).tolist()) for point in points]) * LPS


def test_simpleitk_maps_points_as_the_transform_does_for_every_order_of_the_grid_axes():
    base = rotated(25, 10)
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        transform = bent_transform(directions=base[:, axes] * signs)
        points = inner_points(transform.grid, 30)
        assert np.abs(through_sitk(transform.to_sitk(), points) - transform.points(points)).max() < 1e-3


def test_points_follow_displacement_first_and_matrix_second():
    grid = Grid((2, 2, 2), np.eye(4))
    matrix = np.diag([2.0, 2.0, 2.0, 1.0])
    field = np.zeros((3, 2, 2, 2), np.float32)
    field[0] = 1
    transform = SpatialTransform(matrix, field, grid)
    np.testing.assert_allclose(transform.points([[0.5, 0.5, 0.5]]), [[3, 1, 1]])
    np.testing.assert_allclose(transform.points([[-50, 0, 0]]), [[-98, 0, 0]])  # continued from the edge
    np.testing.assert_allclose(through_sitk(transform.to_sitk(), np.array([[0.5, 0.5, 0.5]])), [[3, 1, 1]])


def test_the_inverse_brings_points_back():
    transform = bent_transform()
    points = inner_points(transform.grid)
    assert np.abs(transform.inverse_points(transform.points(points)) - points).max() < 1e-3
    linear = SpatialTransform(transform.matrix)
    np.testing.assert_allclose(linear.inverse_points(linear.points(points)), points, atol=1e-9)


def test_a_warped_volume_returns_through_the_inverse_points():
    transform = bent_transform()
    fixed = transform.grid.with_spacing((1.5, 1.5, 1.5))
    moving_grid = Grid.centred(transform.points(fixed.centre_ras[None])[0], (90, 90, 90), (1.2, 1.2, 1.2))
    target = fixed.centre_ras + (4.0, -3.0, 5.0)
    landmark = transform.points(target[None])[0]
    blob = np.exp(-np.sum((moving_grid.points() - landmark) ** 2, axis=-1) / (2 * 2.5**2)).astype(np.float32)
    warped = resample(Volume(blob, moving_grid.ijk_to_ras), fixed, transform=transform)
    weights = np.where(warped.voxels > 0.3, warped.voxels, 0)
    found = np.tensordot(weights, fixed.points(), 3) / weights.sum()
    assert np.linalg.norm(found - target) < 0.2
    assert np.linalg.norm(transform.inverse_points(landmark[None])[0] - target) < 1e-3


def test_total_displacement_contains_matrix_and_field():
    transform = bent_transform()
    total = transform.total_displacement(transform.grid)
    assert total.shape == (3, 16, 18, 20) and total.dtype == np.float32
    points = transform.grid.points()
    bent = points + np.moveaxis(transform.displacement, 0, -1)
    moved = bent @ transform.matrix[:3, :3].T + transform.matrix[:3, 3]
    np.testing.assert_allclose(np.moveaxis(total, 0, -1), moved - points, atol=1e-4)


def test_the_jacobian_determinant_of_a_linear_field_is_exact_on_an_oblique_grid():
    grid = Grid.centred((3, 4, 5), (6, 7, 8), (1.0, 2.0, 3.0), rotated(30, 40))
    slope = np.array([[0.1, 0.02, 0], [-0.05, 0.2, 0.03], [0.04, 0, -0.1]])
    field = (grid.points() @ slope.T).transpose(3, 0, 1, 2)
    matrix = np.diag([1.1, 0.9, 1.2, 1.0])
    expected = np.linalg.det(np.eye(3) + slope) * np.linalg.det(matrix[:3, :3])
    jacobian = SpatialTransform(matrix, field, grid).jacobian_determinant()
    assert jacobian.shape == grid.shape
    np.testing.assert_allclose(jacobian, expected, rtol=1e-4)
    assert SpatialTransform(matrix).jacobian_determinant() == pytest.approx(np.linalg.det(matrix[:3, :3]))


def test_folding_is_counted():
    assert bent_transform().folding_fraction() == 0
    grid = Grid((8, 8, 8), np.eye(4))
    field = np.zeros((3, 8, 8, 8), np.float32)
    field[0, :, :, 4:] = -5 * (np.arange(4) + 1)  # half of the grid runs backwards
    assert 0.4 < SpatialTransform(np.eye(4), field, grid).folding_fraction() < 0.7


@pytest.mark.parametrize("ending", [".h5", ".tfm"])
def test_written_transforms_are_read_by_simpleitk_and_back(tmp_path, ending):
    for name, transform in (("dense", bent_transform()), ("affine", SpatialTransform(bent_transform().matrix))):
        path = tmp_path / "new" / (name + ending)
        write_transform(transform, path)
        points = inner_points(bent_transform().grid)
        assert np.abs(through_sitk(sitk.ReadTransform(str(path)), points) - transform.points(points)).max() < 1e-3
        again = read_transform(path)
        assert (again.displacement is None) == (name == "affine")
        assert np.abs(again.points(points) - transform.points(points)).max() < 1e-3
        assert [file.name for file in path.parent.iterdir() if file.name.startswith(".")] == []


def test_a_field_that_follows_a_matrix_is_read_exactly(tmp_path):
    bent = bent_transform()
    both = sitk.CompositeTransform(3)
    first = sitk.Euler3DTransform((1.0, 2.0, 3.0), 0.1, -0.2, 0.15, (3.0, -1.0, 2.0))
    field = [part for part in range(2) if "Displacement" in bent.to_sitk().GetNthTransform(part).GetName()]
    both.AddTransform(sitk.DisplacementFieldTransform(bent.to_sitk().GetNthTransform(field[0])))
    both.AddTransform(first)  # applied before the field
    sitk.WriteTransform(both, str(tmp_path / "other.h5"))
    points = inner_points(bent.grid.with_spacing((6, 6, 6)), 100)
    points = bent.grid.centre_ras + (points - bent.grid.centre_ras) * 0.4
    read = read_transform(tmp_path / "other.h5")
    assert np.abs(read.points(points) - through_sitk(both, points)).max() < 1e-3


def test_a_field_on_sheared_axes_still_reaches_simpleitk():
    matrix = bent_transform().grid.ijk_to_ras.copy()
    matrix[:3, 2] += 0.5 * matrix[:3, 1]
    grid = Grid((16, 18, 20), matrix)
    transform = SpatialTransform(np.eye(4), wavy(grid), grid)
    points = inner_points(grid, 400)
    error = np.abs(through_sitk(transform.to_sitk(), points) - transform.points(points)).max(axis=1)
    assert np.percentile(error, 80) < 0.1


def test_impossible_transforms_and_files_are_refused_with_a_remedy(tmp_path):
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="invertible"):
        SpatialTransform(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="needs the grid"):
        SpatialTransform(np.eye(4), np.zeros((3, 4, 4, 4)))
    with pytest.raises(ValueError, match="not \\(3, 2, 4, 4\\)"):
        SpatialTransform(np.eye(4), np.zeros((3, 2, 4, 4)), grid)
    with pytest.raises(ValueError, match="NaN"):
        SpatialTransform(np.eye(4), np.full((3, 4, 4, 4), np.nan), grid)
    with pytest.raises(VolumeError, match=r"\.h5 or \.tfm"):
        write_transform(SpatialTransform(np.eye(4)), tmp_path / "warp.nii.gz")
    with pytest.raises(VolumeError, match="does not exist"):
        read_transform(tmp_path / "none.h5")
    write_transform(bent_transform(), tmp_path / "whole.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:2000])
    with pytest.raises(VolumeError, match="cannot be read"):
        read_transform(tmp_path / "cut.h5")
    spline = sitk.BSplineTransformInitializer(sitk.Image([8, 8, 8], sitk.sitkFloat32), [3, 3, 3])
    sitk.WriteTransform(spline, str(tmp_path / "spline.tfm"))
    with pytest.raises(VolumeError, match="displacement field first"):
        read_transform(tmp_path / "spline.tfm")


def test_as_one_field_it_is_the_same_map_on_its_grid():
    transform = bent_transform()
    field = transform.as_field()
    at = transform.grid.points().reshape(-1, 3)
    np.testing.assert_array_equal(field.matrix, np.eye(4))
    np.testing.assert_allclose(field.points(at), transform.points(at), atol=1e-4)
    assert field.total_displacement(field.grid) is field.displacement
    linear = SpatialTransform(transform.matrix)
    assert linear.as_field() is linear
