"""A patch put into a volume: in its place, without a border, with labels; everything else stays as it was."""

import logic_fixtures
import numpy as np
import pytest
import slicer
from synthetic_cases import head, oblique

from GANSynthesisLib.insertion import insert_patch
from GANSynthesisLib.volumes import Volume, VolumeError

module, scene, logic = logic_fixtures.module, logic_fixtures.scene, logic_fixtures.logic
SPACING = 1.5, 1.2, 2.0


@pytest.fixture
def volume() -> Volume:
    made = head(3, (40, 60, 56), oblique(SPACING))
    return made.with_voxels(made.voxels.astype(np.int16), name="brain")


def ball(radius: float = 6, size: int = 24, level: float = 3000, depth: int | None = None, **changes) -> Volume:
    """A patch with a ball (a disk, for one slice) of 500 above its level, 1 mm voxels."""
    shape = (depth or size, size, size)
    at = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    inside = np.sqrt(sum(axis**2 for axis in at)) < radius
    return Volume((level + 500 * inside).astype(np.float32), np.eye(4), name="lesion patch", **changes)


def center_of(labels: Volume) -> np.ndarray:
    return (labels.ijk_to_ras @ [*np.argwhere(labels.voxels > 0)[:, ::-1].mean(0), 1])[:3]


def test_a_patch_lies_at_its_point_with_its_size_in_an_oblique_volume(volume):
    point = volume.grid.centre_ras + [4, -3, 5]
    found = insert_patch(volume, ball(), point)
    assert np.linalg.norm(center_of(found.labels) - point) < 1
    size = (found.labels.voxels > 0).sum() * np.prod(volume.spacing)
    assert size == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.1)
    assert found.labels.grid.same_as(volume.grid) and found.volume.grid.same_as(volume.grid)
    assert found.labels.label_names == {1: "lesion"} and found.volume.voxels.dtype == np.int16


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_order_and_sense_of_the_axes_do_not_matter(volume, order):
    point = volume.grid.centre_ras
    plain = insert_patch(volume, ball(), point)
    flip = np.eye(4)[[*order, 3]] @ np.diag([-1, 1, 1, 1])
    flip[:3, 3] = 0
    voxels = volume.voxels.transpose([2 - order[2 - axis] for axis in range(3)])
    matrix = volume.ijk_to_ras[:, [*order, 3]]
    turned = insert_patch(Volume(voxels, matrix, name="turned"), ball(), point)
    back = turned.volume.voxels.transpose(np.argsort([2 - order[2 - axis] for axis in range(3)]))
    assert np.array_equal(back, plain.volume.voxels)


def test_poisson_blending_keeps_the_contrast_and_leaves_no_step_whatever_the_patch_s_level(volume):
    flat = volume.with_voxels(np.full(volume.shape, 300, np.float32) + np.arange(volume.shape[2], dtype=np.float32))
    point = flat.grid.centre_ras
    found = insert_patch(flat, ball(level=3000), point)
    added = found.volume.voxels - flat.voxels
    inside = found.labels.voxels > 0
    assert added[inside].mean() == pytest.approx(500, rel=0.15)
    changed = np.argwhere(added != 0)
    edge = added[tuple(changed[changed[:, 2] == changed[:, 2].min()].T)]
    assert np.abs(edge).max() < 25
    other = insert_patch(flat, ball(level=0), point)
    assert np.allclose(other.volume.voxels, found.volume.voxels, atol=0.5)


def test_feathering_shows_the_patch_in_its_middle_and_the_volume_at_its_border(volume):
    found = insert_patch(volume, ball(), volume.grid.centre_ras, blending="feather")
    middle = tuple(np.round(np.array(volume.shape) / 2 - 0.5).astype(int))
    assert found.volume.voxels[middle] == pytest.approx(3500, abs=2)
    changed = np.abs(found.volume.voxels.astype(float) - volume.voxels)
    assert changed[changed > 0].min() < 600


def test_all_other_voxels_stay_as_they_are(volume):
    found = insert_patch(volume, ball(), volume.grid.centre_ras)
    changed = (found.volume.voxels != volume.voxels).sum() * np.prod(volume.spacing)
    assert 0 < changed < 24**3


def test_a_patch_at_the_volume_s_edge_is_cut_off(volume):
    found = insert_patch(volume, ball(), (volume.ijk_to_ras @ [0, 30, 20, 1])[:3])
    half = (found.labels.voxels > 0).sum() * np.prod(volume.spacing)
    assert half == pytest.approx(2 / 3 * np.pi * 6**3, rel=0.35)
    assert np.isfinite(found.volume.voxels).all()


def test_a_single_slice_goes_into_the_nearest_slice(volume):
    found = insert_patch(volume, ball(depth=1), volume.grid.centre_ras)
    assert len(np.unique(np.argwhere(found.labels.voxels > 0)[:, 0])) == 1
    assert len(np.unique(np.argwhere(found.volume.voxels != volume.voxels)[:, 0])) == 1


def test_given_labels_are_taken_with_their_names(volume):
    labels = ball().with_voxels((ball(9).voxels > 3000).astype(np.uint8), label_names={0: "background", 1: "tumor"})
    found = insert_patch(volume, ball(), volume.grid.centre_ras, labels)
    assert found.labels.label_names == {1: "tumor"}
    size = (found.labels.voxels > 0).sum() * np.prod(volume.spacing)
    assert size == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.1)


def test_matching_scales_a_patch_of_other_intensities_to_what_it_replaces(volume):
    small = ball().with_voxels(ball().voxels / 3500 * 2 - 1)
    found = insert_patch(volume, small, volume.grid.centre_ras, match=True)
    added = (found.volume.voxels.astype(float) - volume.voxels)[found.labels.voxels > 0]
    assert added.mean() > 100
    assert np.ptp(found.volume.voxels) < 3 * np.ptp(volume.voxels)


@pytest.mark.parametrize(("patch", "at", "words"), [
    (ball(), (500, 0, 0), "lies outside of the volume 'brain'"),
    (ball(unit="HU"), None, "is in HU, the volume 'brain' in mm²/s"),
    (ball(1, 3), None, "choose a larger patch"),
])
def test_what_cannot_be_put_in_is_said_in_one_sentence(volume, patch, at, words):
    volume = volume.with_voxels(volume.voxels, unit="mm²/s" if patch.unit else "")
    with pytest.raises(VolumeError, match=words):
        insert_patch(volume, patch, at or volume.grid.centre_ras)


# The scene


def node_of(volume: Volume):
    from GANSynthesisLib.mrml import volume_to_node

    return volume_to_node(volume)


def test_a_point_list_says_where_and_the_new_nodes_say_where_they_come_from(scene, logic, volume):
    from GANSynthesisLib.mrml import read_provenance, volume_from_node

    point = volume.grid.centre_ras
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "lesions")
    points.AddControlPoint((0, 0, 0))
    points.AddControlPoint(point)
    target, patch = node_of(volume), node_of(ball())
    made, lesion = logic.insertPatch(target, patch, points)
    assert np.array_equal(volume_from_node(target).voxels, volume.voxels)
    assert not np.array_equal(volume_from_node(made).voxels, volume.voxels)
    assert made.GetName() == "brain [with lesion patch]" and lesion.GetSegmentation().GetNumberOfSegments() == 1
    bounds = np.zeros(6)
    lesion.GetRASBounds(bounds)
    assert np.allclose((bounds[::2] + bounds[1::2]) / 2, point, atol=2)
    for node in (made, lesion):
        told = read_provenance(node)
        assert told["Task"] == "insert" and told["Inputs"]["patch"]["name"] == "lesion patch"
        assert told["Settings"]["blending"] == "poisson"


def test_a_segmentation_of_the_patch_is_its_structure(scene, logic, volume):
    from GANSynthesisLib.mrml import segmentation_to_node

    labels = ball().with_voxels((ball(9).voxels > 3000).astype(np.uint8), label_names={1: "tumor"}, name="structure")
    patch = node_of(ball())
    _, lesion = logic.insertPatch(node_of(volume), patch, volume.grid.centre_ras, segmentation_to_node(labels))
    assert lesion.GetSegmentation().GetNthSegment(0).GetName() == "tumor"


def test_a_point_list_without_points_adds_no_node(scene, logic, volume):
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "lesions")
    target, patch = node_of(volume), node_of(ball())
    before = scene.GetNumberOfNodes()
    with pytest.raises(VolumeError, match="'lesions' holds no point"):
        logic.insertPatch(target, patch, points)
    assert scene.GetNumberOfNodes() == before and slicer.mrmlScene is scene
