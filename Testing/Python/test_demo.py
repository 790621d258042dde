"""The demonstration's own parts: its known displacement, its measures, its views and the folder it writes."""

import numpy as np
import pytest
from Demo.displacement import MOVING_SPACING_MM, known_displacement, moving_grid, smooth_bend
from Demo.figure import draw_overview
from Demo.folder import REPORT, replaced_folder
from Demo.images import Brain, average_brain
from Demo.measures import Checks, content_shift_voxels, edges, error_mm, medians, offset_voxels, sample_points
from Demo.picture import Picture
from Demo.views import View, checkerboard

from GANSynthesisLib.volumes import Grid, Volume

FIXED = Grid.centred((2.0, -18.0, 22.0), (46, 58, 48), (4.0, 4.0, 4.0))


def blob(grid: Grid, center, width=9.0) -> Volume:
    distance = np.square(grid.points() - np.asarray(center)).sum(-1)
    return Volume(1000 * np.exp(-distance / (2 * width**2)).astype(np.float32), grid.ijk_to_ras)


def center_of(volume: Volume) -> np.ndarray:
    return (volume.grid.points() * volume.voxels[..., None]).sum((0, 1, 2)) / volume.voxels.sum()


def test_known_displacement_is_undone_by_its_truth():
    displacement = known_displacement(FIXED)
    points = sample_points(FIXED, np.ones(FIXED.shape, bool), 2000)
    moving = displacement.moving_points(points)
    np.testing.assert_allclose(displacement.to_fixed.points(moving), points, atol=1e-3)
    distance = error_mm(points, moving)
    assert 5 < distance["mean"] < 20
    assert displacement.to_fixed.jacobian_determinant().min() > 0.3  # one to one: a truth exists everywhere


def test_displacement_is_more_than_a_linear_map():
    points = sample_points(FIXED, np.ones(FIXED.shape, bool), 2000)
    moving = known_displacement(FIXED).moving_points(points)
    ones = np.column_stack([points, np.ones(len(points))])
    linear, *_ = np.linalg.lstsq(ones, moving, rcond=None)
    assert error_mm(ones @ linear, moving)["mean"] > 1
    assert np.abs(smooth_bend(FIXED.points())).max() <= 4


def test_displaced_volume_shows_anatomy_where_the_truth_says():
    displacement, grid = known_displacement(FIXED), moving_grid(FIXED).with_spacing((3.0,) * 3)
    for place in ((20.0, -40.0, 30.0), (-30.0, 20.0, 10.0)):
        moving = displacement.displaced(blob(FIXED, place), grid)
        np.testing.assert_allclose(center_of(moving), displacement.moving_points([place])[0], atol=1)


def test_moving_grid_is_hard_and_covers_the_fixed_one():
    grid = moving_grid(FIXED)
    assert grid.spacing == pytest.approx((MOVING_SPACING_MM,) * 3)
    assert np.linalg.det(grid.ijk_to_ras[:3, :3]) < 0  # left-handed
    assert np.abs(grid.directions).max() < 0.995  # oblique
    assert np.abs(grid.directions[:, 0]).argmax() == 1  # i runs along A, not R
    assert all(size >= other for size, other in zip(grid.canonical().size_mm, FIXED.size_mm, strict=True))


def test_shift_is_found_to_a_fraction_of_a_voxel_and_across_contrasts():
    image = blob(FIXED, FIXED.centre_ras, 20).voxels
    assert content_shift_voxels(image, image) < 0.01
    assert content_shift_voxels(np.roll(image, (2, -1), (0, 2)), image) == pytest.approx(np.sqrt(5), abs=0.01)
    beside = Grid.centred(FIXED.centre_ras + [2.4, 0, 0], FIXED.shape, FIXED.spacing)
    moved = blob(beside, FIXED.centre_ras, 20).voxels
    assert content_shift_voxels(moved, image) == pytest.approx(0.6, abs=0.1)
    assert content_shift_voxels(edges(900 - image), edges(image)) < 0.01
    assert content_shift_voxels(np.zeros(FIXED.shape), image) == float("inf")


def test_a_grid_beside_its_reference_is_noticed():
    half = Grid.centred(FIXED.centre_ras + [0, 2.0, 0], FIXED.shape, FIXED.spacing)
    assert offset_voxels(FIXED, FIXED) == 0
    assert offset_voxels(half, FIXED) == pytest.approx(0.5)
    assert offset_voxels(FIXED.canonical().with_spacing((8, 4, 4)), FIXED) == float("inf")
    flipped = Grid(FIXED.shape, FIXED.ijk_to_ras @ np.diag([-1, 1, 1, 1]))
    assert offset_voxels(flipped, FIXED) > 10


def test_errors_and_medians_in_their_units():
    found = error_mm(np.array([[3.0, 4, 0], [0, 0, 0]]), np.zeros((2, 3)))
    assert found == pytest.approx({"mean": 2.5, "p95": 4.75, "max": 5})
    assert medians(np.arange(4.0), {"all": np.ones(4, bool), "last": np.arange(4) == 3}) == {"all": 1.5, "last": 3}


def test_a_failed_check_is_remembered():
    checks = Checks()
    checks.add("first", True, 1, "any")
    checks.add("second", np.bool_(False), 2, "less")
    assert [check.name for check in checks.failed] == ["second"]
    assert checks.report()[1] == {"name": "second", "passed": False, "value": 2, "limit": "less"}


@pytest.mark.parametrize("plane, point, right_half, upper_half", [
    ("axial", (5, 50, 20), True, True),  # left and front: on the right, at the top
    ("axial", (40, 50, 20), False, True),
    ("coronal", (5, 30, 40), True, True),
    ("sagittal", (20, 50, 5), False, False),  # front and low: on the left, at the bottom
])  # fmt: skip
def test_views_have_right_on_the_left_and_front_or_top_up(plane, point, right_half, upper_half):
    i, j, k = point  # i, j, k run to R, A, S
    voxels = np.zeros(FIXED.shape, np.float32)
    voxels[k, j, i] = 1
    index = {"axial": k, "coronal": j, "sagittal": i}[plane]
    box = tuple((0, size - 1) for size in FIXED.shape)
    view = View(plane, index, box, FIXED.spacing)
    picture = view.cut(voxels)
    row, column = np.argwhere(picture)[0]
    assert (column > picture.shape[1] / 2) == right_half
    assert (row > picture.shape[0] / 2) == upper_half
    x, y = view.place(np.array([point], float))
    assert (x[0], y[0]) == pytest.approx(((column + 0.5) * 4, (row + 0.5) * 4))
    assert view.size_mm == (picture.shape[1] * 4, picture.shape[0] * 4)
    assert view.lattice(4.0).shape == (*picture.shape, 3)


def test_checkerboard_takes_turns():
    board = checkerboard(np.zeros((4, 4)), np.ones((4, 4)), 2)
    np.testing.assert_array_equal(board, np.kron([[0, 1], [1, 0]], np.ones((2, 2))))


def test_overview_is_drawn(tmp_path):
    image = blob(FIXED, FIXED.centre_ras, 30).voxels / 1000
    brain = image > 0.1
    tissues = {"gray matter": brain & (image < 0.5), "white matter": image >= 0.5}
    cores = {"CSF": image > 0.9, **tissues}
    errors = {"mean": 1.0, "p95": 2.0, "max": 3.0}
    numbers = {
        "synthesis": {"median_intensity": {name: 1.0 for name in cores}},
        "segmentation": {"dice": {name: 0.8 for name in tissues}},
        "registration": {"error_before_mm": errors, "error_after_mm": errors},
    }
    picture = Picture(
        grid=FIXED, images={name: image for name in ("t1", "t2", "moving", "warped")}, brain=brain, found=cores,
        reference=tissues, cores=cores, intensities=image, to_moving=known_displacement(FIXED).moving_points,
        numbers=numbers,
    )  # fmt: skip
    assert picture.view("axial", 24.0).index == 23  # the grid's slices lie at -68, -64, ... mm
    draw_overview(picture, tmp_path / "overview.png")
    assert (tmp_path / "overview.png").stat().st_size > 50_000


def test_folder_is_replaced_whole_or_stays(tmp_path):
    folder = tmp_path / "demo"
    with replaced_folder(folder) as new:
        (new / REPORT).write_text("first")
    with pytest.raises(RuntimeError), replaced_folder(folder) as new:
        (new / REPORT).write_text("second")
        raise RuntimeError
    assert (folder / REPORT).read_text() == "first"
    with replaced_folder(folder) as new:
        (new / REPORT).write_text("third")
    assert (folder / REPORT).read_text() == "third" and [each.name for each in tmp_path.iterdir()] == ["demo"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(FileExistsError, match="choose another folder"), replaced_folder(tmp_path):
        pass
    assert (tmp_path / "thesis.docx").exists()


def test_packaged_images_are_one_brain_on_one_grid():
    brain = average_brain()
    assert isinstance(brain, Brain) and brain.t1.spacing == (1, 1, 1)
    cores = brain.cores()
    values = medians(brain.t1.voxels, cores)
    assert values["CSF"] < values["gray matter"] < values["white matter"]  # as on every T1
    assert all(mask.sum() > 10_000 for mask in cores.values())
    assert ((brain.gray + brain.white)[~brain.mask] > 0.5).mean() < 0.01
