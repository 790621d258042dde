"""Reading and writing volumes: NIfTI, NRRD, MetaImage, segmentations and DICOM series."""

import shutil
import warnings
import zipfile
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk

from GANSynthesisLib.files import read_channels, read_volume, write_volume
from GANSynthesisLib.volumes import Grid, Volume, VolumeError, VolumeWarning

pydicom = pytest.importorskip("pydicom", reason="synthetic DICOM series are written with pydicom")

LPS = np.array([-1.0, -1.0, 1.0])


def oblique_volume(**details) -> Volume:
    a, b = np.radians([20, 12])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    grid = Grid.centred((11, -22, 33), (5, 7, 9), (0.8, 1.1, 2.5), turn)
    return Volume(np.arange(315, dtype=np.int16).reshape(5, 7, 9) - 100, grid.ijk_to_ras, **details)


def head_values(points_lps) -> np.ndarray:
    """A smooth function of LPS mm between about -400 and 700 HU: the truth for synthetic series."""
    x, y, z = np.moveaxis(np.asarray(points_lps), -1, 0)
    return 150 + 200 * np.sin(x / 15) + 180 * np.cos(y / 17) + 160 * np.sin(z / 19)


def write_slices(folder, places, *, tilt=0.0, series="1.2.3", spacing=(1.5, 1.25), slope=1, shape=(40, 36), **tags):
    """A CT series: slices at table positions `places` mm along z, tilted about x by `tilt` degrees."""
    folder.mkdir(exist_ok=True)
    angle = np.radians(tilt)
    rows, columns = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), -np.sin(angle)])
    for number, z in enumerate(places):
        position = np.array([-30.0, -25.0, z])
        j, i = np.indices(shape)
        points = position + i[..., None] * spacing[1] * rows + j[..., None] * spacing[0] * columns
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.CTImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"{series}.{number + 1}"
        data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, "1.2", "CT"
        data.SeriesDescription = tags.get("description", "Head")
        data.InstanceNumber = len(places) - number  # numbers run against positions: positions decide
        data.ImagePositionPatient = [f"{value:.6f}" for value in position]
        data.ImageOrientationPatient = [f"{value:.9f}" for value in (*rows, *columns)]
        data.PixelSpacing, data.SliceThickness = list(spacing), 2.0
        data.Rows, data.Columns = shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 1
        data.RescaleSlope, data.RescaleIntercept = slope, -1024
        pixels = np.round((head_values(points) + 1024) / slope).astype("<i2")
        data.PixelData = pixels.tobytes()
        data.save_as(folder / f"{series}-{number:03d}.dcm", enforce_file_format=True)
    return folder


def errors_against_truth(volume: Volume) -> np.ndarray:
    """Absolute differences to `head_values` at the world positions of the voxels, in HU; NaN where filled."""
    truth = head_values(volume.grid.points() * LPS)
    difference = np.abs(volume.voxels - truth)
    return np.where(volume.voxels == volume.voxels.min(), np.nan, difference)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_volumes_return_from_disk_on_the_same_grid_for_every_order_of_the_axes(tmp_path, ending):
    volume = oblique_volume(name="T1")
    for number, (axes, signs) in enumerate(product(permutations(range(3)), product((1, -1), repeat=3))):
        matrix = volume.ijk_to_ras.copy()
        matrix[:3, :3] = matrix[:3, list(axes)] * signs
        path = tmp_path / f"T1.{number}{ending}"
        write_volume(volume.with_voxels(volume.voxels, ijk_to_ras=matrix), path)
        back = read_volume(path)
        assert back.grid.same_as(Grid(volume.shape, matrix), 1e-3)
        np.testing.assert_array_equal(back.voxels, volume.voxels)
        assert back.name == f"T1.{number}" and back.voxels.dtype == np.int16


def test_directions_are_turned_between_lps_files_and_ras_volumes(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8))
    image.SetOrigin((10, 20, 30))
    image.SetSpacing((1, 2, 3))
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    np.testing.assert_allclose(
        read_volume(tmp_path / "x.nrrd").ijk_to_ras, [[-1, 0, 0, -10], [0, -2, 0, -20], [0, 0, 3, 30], [0, 0, 0, 1]]
    )


def test_odd_voxel_types_become_types_that_every_program_reads(tmp_path):
    for stored, expected in ((np.int64, np.int32), (np.float64, np.float32), (np.uint32, np.int32), (bool, np.uint8)):
        voxels = np.array([[[0, 1], [1, 1]]]).astype(stored)
        write_volume(Volume(voxels), tmp_path / "v.nii.gz")
        back = read_volume(tmp_path / "v.nii.gz")
        assert back.voxels.dtype == expected
        np.testing.assert_array_equal(back.voxels, voxels.astype(expected))
    raw = sitk.GetImageFromArray(np.array([[[2**40, 1]]], np.int64))
    sitk.WriteImage(raw, str(tmp_path / "big.nrrd"))
    assert read_volume(tmp_path / "big.nrrd").voxels[0, 0, 0] == 2**40


def test_segmentations_carry_slicer_names_values_colors_and_extents(tmp_path):
    labels = np.zeros((5, 7, 9), np.uint8)
    labels[1:3, 2:5, 3:8], labels[4, 6, 8] = 2, 7
    volume = oblique_volume().with_voxels(labels, label_names={2: "white matter", 7: "lesion", 9: "absent"})
    write_volume(volume, tmp_path / "brain.seg.nrrd")
    header = sitk.ReadImage(str(tmp_path / "brain.seg.nrrd"))
    assert header.GetMetaData("Segment0_Name") == "white matter"
    assert header.GetMetaData("Segment0_LabelValue") == "2"
    assert header.GetMetaData("Segment0_Extent") == "3 7 2 4 1 2"
    assert header.GetMetaData("Segment2_Extent") == "0 -1 0 -1 0 -1"
    assert header.GetMetaData("Segmentation_MasterRepresentation") == "Binary labelmap"
    colors = {header.GetMetaData(f"Segment{n}_Color") for n in range(3)}
    assert len(colors) == 3 and all(0 <= float(part) <= 1 for color in colors for part in color.split())
    back = read_volume(tmp_path / "brain.seg.nrrd")
    assert back.name == "brain" and back.label_names == volume.label_names
    assert back.grid.same_as(volume.grid)
    np.testing.assert_array_equal(back.voxels, labels)


def test_slicer_reads_the_segmentation(tmp_path):
    core = pytest.importorskip("slicer_core", reason="the MRML libraries are absent")
    assert core
    import slicer

    labels = np.zeros((5, 7, 9), np.uint8)
    labels[1:3, 2:5, 3:8], labels[4, 6, 8] = 2, 7
    volume = oblique_volume().with_voxels(labels, label_names={2: "white matter", 7: "lesion"})
    write_volume(volume, tmp_path / "brain.seg.nrrd")
    scene = slicer.vtkMRMLScene()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(tmp_path / "brain.seg.nrrd"))
    assert storage.ReadData(node)
    segments = [node.GetSegmentation().GetNthSegment(n) for n in range(node.GetSegmentation().GetNumberOfSegments())]
    assert [segment.GetName() for segment in segments] == ["white matter", "lesion"]
    assert [segment.GetLabelValue() for segment in segments] == [2, 7]


def test_channels_of_four_dimensional_files_keep_the_geometry(tmp_path):
    volume = oblique_volume()
    image = sitk.JoinSeries([sitk.Cast(_as_image(volume, volume.voxels + n), sitk.sitkFloat64) for n in range(3)])
    sitk.WriteImage(image, str(tmp_path / "labels.nii.gz"))
    channels = read_channels(tmp_path / "labels.nii.gz")
    assert [channel.name for channel in channels] == ["labels 1", "labels 2", "labels 3"]
    for number, channel in enumerate(channels):
        assert channel.grid.same_as(volume.grid, 1e-3) and channel.voxels.dtype == np.float32
        np.testing.assert_array_equal(channel.voxels, volume.voxels + number)
    with pytest.raises(VolumeError, match="'labels.nii.gz' holds 3 channels.*read_channels"):
        read_volume(tmp_path / "labels.nii.gz")
    vectors = sitk.Compose([sitk.Cast(_as_image(volume, volume.voxels), sitk.sitkFloat32)] * 2)
    sitk.WriteImage(vectors, str(tmp_path / "vectors.nrrd"))
    assert len(read_channels(tmp_path / "vectors.nrrd")) == 2


def _as_image(volume: Volume, voxels) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.SetOrigin((volume.ijk_to_ras[:3, 3] * LPS).tolist())
    image.SetSpacing(volume.spacing)
    image.SetDirection((volume.grid.directions * LPS[:, None]).ravel().tolist())
    return image


def test_two_dimensional_images_become_one_slice(tmp_path):
    image = sitk.GetImageFromArray(np.arange(12, dtype=np.float32).reshape(3, 4))
    image.SetSpacing((0.5, 0.7))
    sitk.WriteImage(image, str(tmp_path / "slice.nii.gz"))
    volume = read_volume(tmp_path / "slice.nii.gz")
    assert volume.shape == (1, 3, 4) and volume.spacing == pytest.approx((0.5, 0.7, 1))
    write_volume(volume, tmp_path / "again.nii.gz")
    assert read_volume(tmp_path / "again.nii.gz").grid.same_as(volume.grid)


@pytest.mark.parametrize("ending", [".nrrd", ".nii"])
def test_sheared_files_are_resampled_in_place_with_a_warning(tmp_path, ending):
    matrix = np.array([[-1.2, 0, 0, 40], [0, -1.0, -0.8, 30], [0, 0, 2.0, -20], [0, 0, 0, 1]])
    grid = Grid((20, 50, 40), matrix)
    sheared = Volume(head_values(grid.points() * LPS).astype(np.float32), matrix)
    if ending == ".nrrd":
        write_volume(sheared, tmp_path / "tilt.nrrd")
    else:
        write_volume(Volume(sheared.voxels, np.diag([1.2, 1.0, 2.154, 1.0])), tmp_path / "tilt.nii")
        raw = bytearray((tmp_path / "tilt.nii").read_bytes())
        raw[252:256] = np.array([0, 2], "<i2").tobytes()  # no qform; sform to scanner space
        raw[280:328] = matrix[:3].astype("<f4").tobytes()
        (tmp_path / "tilt.nii").write_bytes(raw)
    with pytest.warns(VolumeWarning, match="not orthogonal"):
        volume = read_volume(tmp_path / f"tilt{ending}")
    assert volume.grid.is_regular()
    difference = errors_against_truth(volume)
    assert np.nanpercentile(difference, 90) < 6 and np.isfinite(difference).mean() > 0.6


def test_dicom_slices_are_sorted_by_position_and_scaled_to_hounsfield(tmp_path):
    folder = write_slices(tmp_path / "ct", 10 + 2.5 * np.arange(8), slope=2, description="Abdomen")
    volume = read_volume(folder)
    assert (volume.unit, volume.name, volume.shape, volume.voxels.dtype) == ("HU", "Abdomen", (8, 40, 36), np.int16)
    assert volume.spacing == pytest.approx((1.25, 1.5, 2.5))
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], [30, 25, 10])
    assert np.abs(volume.voxels - head_values(volume.grid.points() * LPS)).max() <= 1.5
    one = read_volume(folder / "1.2.3-003.dcm")
    assert one.shape == volume.shape


def test_uneven_slices_are_resampled_to_even_ones_in_place(tmp_path):
    places = np.concatenate([np.arange(0, 40, 3.0), 36 + 5.0 + 5.5 * np.arange(6)])
    with pytest.warns(VolumeWarning, match=r"uneven slice distances \(2\.00 to 5\.50 mm\).*from 20 slices"):
        volume = read_volume(write_slices(tmp_path / "ct", places))
    assert np.nanmax(errors_against_truth(volume)) < 6
    ends = volume.grid.points()[[0, -1], 0, 0, 2]
    np.testing.assert_allclose(ends, [places[0], places[-1]], atol=1e-6)


def test_missing_slices_are_reported_with_the_size_of_the_gap(tmp_path):
    places = [2.0 * n for n in range(20) if n not in (7, 8)]
    with pytest.warns(VolumeWarning, match=r"lacks about 2 slices \(the widest gap is 6\.00 mm instead of 2\.00 mm\)"):
        volume = read_volume(write_slices(tmp_path / "ct", places))
    assert volume.shape[0] == 20 and np.nanmax(errors_against_truth(volume)) < 14


@pytest.mark.parametrize("tilt", [18.5, -12.0])
def test_a_tilted_gantry_is_straightened_in_place(tmp_path, tilt):
    with pytest.warns(VolumeWarning, match=f"tilted gantry \\({abs(tilt):.1f} degrees\\)"):
        volume = read_volume(write_slices(tmp_path / "ct", 3.0 * np.arange(15), tilt=tilt))
    assert volume.grid.is_regular() and volume.shape[0] == 15
    difference = errors_against_truth(volume)
    assert np.nanpercentile(difference, 95) < 1  # interpolation and rounding; border rows are clamped
    assert np.isfinite(difference).sum() >= 15 * 38 * 36  # nothing but the border is lost


def test_tilted_and_uneven_slices_are_straightened_in_place(tmp_path):
    places = np.concatenate([np.arange(0, 30, 3.0), 27 + 5.0 * np.arange(1, 7)])
    with pytest.warns(VolumeWarning) as caught:
        volume = read_volume(write_slices(tmp_path / "ct", places, tilt=15))
    assert ["uneven" in str(w.message) for w in caught] == [True, False] and "tilted" in str(caught[1].message)
    assert np.nanpercentile(errors_against_truth(volume), 99) < 6


def test_several_series_in_a_folder_are_listed_and_one_can_be_chosen(tmp_path):
    folder = write_slices(tmp_path / "ct", 2.0 * np.arange(6), series="1.2.10", description="Axial")
    write_slices(folder, 3.0 * np.arange(4), series="1.2.11", description="Bone")
    with pytest.raises(VolumeError) as caught:
        read_volume(folder)
    assert "1.2.10: Axial, 6 slices" in str(caught.value) and "1.2.11: Bone, 4 slices" in str(caught.value)
    assert read_volume(folder, series="1.2.11").shape[0] == 4
    assert read_volume(folder / "1.2.10-002.dcm").shape[0] == 6
    with pytest.raises(VolumeError, match="'9.9'"):
        read_volume(folder, series="9.9")


def test_dicom_that_is_no_single_volume_is_refused_with_a_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(VolumeError, match="holds no DICOM files: choose"):
        read_volume(tmp_path / "empty")
    with pytest.raises(VolumeError, match="10 slices at 5 positions"):
        read_volume(write_slices(tmp_path / "cine", [0, 2, 4, 6, 8] * 2))
    broken = write_slices(tmp_path / "broken", 2.0 * np.arange(5))
    whole = (broken / "1.2.3-002.dcm").read_bytes()
    (broken / "1.2.3-002.dcm").write_bytes(whole[:-1500])
    with pytest.raises(VolumeError, match="'1.2.3-002.dcm' cannot be read"):
        read_volume(broken)
    (broken / "1.2.3-002.dcm").write_bytes(whole[:600])  # like a report or a plan: no pixels
    with pytest.warns(VolumeWarning, match="1 DICOM files without an image") as caught:
        assert read_volume(broken).shape[0] == 5
    assert "lacks about 1 slices" in str(caught[1].message) or "uneven" in str(caught[1].message)


def test_missing_damaged_and_color_files_are_refused_with_a_remedy(tmp_path):
    with pytest.raises(VolumeError, match="does not exist: check its path"):
        read_volume(tmp_path / "none.nii.gz")
    write_volume(oblique_volume(), tmp_path / "whole.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "whole.nii.gz").read_bytes()[:200])
    (tmp_path / "text.nrrd").write_text("not an image")
    (tmp_path / "empty.nii").write_bytes(b"")
    for name in ("cut.nii.gz", "text.nrrd", "empty.nii"):
        with pytest.raises(VolumeError, match=f"'{name}' cannot be read as a volume: give an undamaged") as caught:
            read_volume(tmp_path / name)
        assert "\n" not in str(caught.value)
    color = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(color, str(tmp_path / "rgb.nrrd"))
    with pytest.raises(VolumeError, match="'rgb.nrrd' is a color image .*: convert"):
        read_volume(tmp_path / "rgb.nrrd")


def test_writing_leaves_whole_files_or_none(tmp_path):
    write_volume(oblique_volume(), tmp_path / "deep" / "er" / "T1.mhd")
    assert sorted(file.name for file in (tmp_path / "deep" / "er").iterdir()) == ["T1.mhd", "T1.zraw"]
    before = (tmp_path / "deep" / "er" / "T1.mhd").read_bytes()
    with pytest.raises(VolumeError, match="one three-dimensional volume"):
        write_volume(Volume(np.zeros((2, 3, 4, 5))), tmp_path / "deep" / "er" / "T1.mhd")
    assert (tmp_path / "deep" / "er" / "T1.mhd").read_bytes() == before
    with pytest.raises(VolumeError, match="choose a name ending in .nii.gz"):
        write_volume(oblique_volume(), tmp_path / "T1.jpg")
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(VolumeError, match="not orthogonal.*choose a name ending in .nrrd"):
        write_volume(oblique_volume().with_voxels(np.zeros((3, 3, 3)), ijk_to_ras=sheared), tmp_path / "a.nii")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(VolumeError, match="cannot be written"):
        write_volume(oblique_volume(), tmp_path / "file" / "T1.nii")


def unpacked(shared_data, name, tmp_path):
    with zipfile.ZipFile(shared_data / "dicom" / name) as archive:
        archive.extractall(tmp_path / "dicom")
    return tmp_path / "dicom"


def test_a_real_tilted_head_with_uneven_slices_keeps_its_slices_in_place(shared_data, tmp_path):
    folder = unpacked(shared_data, "GE_headCT_tilt_uneven_spacing.zip", tmp_path)
    with pytest.warns(VolumeWarning) as caught:
        volume = read_volume(folder)
    assert "1.08 to 7.00 mm" in str(caught[0].message) and "18.5 degrees" in str(caught[1].message)
    to_index, misses = np.linalg.inv(volume.ijk_to_ras), []
    for file in sorted(folder.rglob("*")):
        if not file.is_file():
            continue
        one = sitk.ReadImage(str(file), imageIO="GDCMImageIO")
        corner = np.array(one.TransformIndexToPhysicalPoint((0, 0, 0))) * LPS
        i, j, k = (to_index @ [*corner, 1])[:3]
        assert -0.5 < i < 0.5 and -0.5 <= j and -0.01 <= k <= volume.shape[0] - 0.99
        if abs(k - round(k)) < 0.03:  # the even grid meets this slice: the same picture must lie at its place
            pixels = sitk.GetArrayFromImage(one)[0].astype(float)
            down = int(round(j))
            inner = np.s_[40:-40, 40:-40]
            here = volume.voxels[int(round(k)), down : down + 512]
            misses.append(1 - np.corrcoef(here[inner].ravel(), pixels[inner].ravel())[0, 1])
            row_off = volume.voxels[int(round(k)), down + 2 : down + 514]
            if row_off.shape == pixels.shape:
                off = 1 - np.corrcoef(row_off[inner].ravel(), pixels[inner].ravel())[0, 1]
                assert off > 2 * misses[-1]
    assert len(misses) >= 3 and max(misses) < 0.02


def test_a_real_folder_of_mixed_lossless_jpeg_series_lists_them(shared_data, tmp_path):
    folder = unpacked(shared_data, "mixed_series_skullCT_JPEGLossless.zip", tmp_path)
    with pytest.raises(VolumeError, match="holds 5 DICOM series") as caught:
        read_volume(folder)
    uid = str(caught.value).split("from ")[1].split(": ")[0]
    with pytest.warns(VolumeWarning, match="lacks about 1 slices|uneven"):
        volume = read_volume(folder, series=uid)
    assert volume.unit == "HU" and volume.voxels.min() >= -1024 and volume.voxels.max() > 1000


def test_a_real_jpeg_2000_series_is_read(shared_data, tmp_path):
    shutil.copytree(shared_data / "dicom" / "CT_body_JPEG2000_20slices", tmp_path / "body")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = read_volume(tmp_path / "body")
    assert volume.shape == (20, 512, 512) and volume.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert volume.unit == "HU" and volume.voxels.min() == -1024 and 1000 < volume.voxels.max() < 3071


def test_real_four_dimensional_labels_lie_on_their_image(shared_data):
    image = read_volume(shared_data / "mr_trus_prostate" / "fixed_images" / "obs000.nii.gz")
    channels = read_channels(shared_data / "mr_trus_prostate" / "fixed_labels" / "obs000.nii.gz")
    assert len(channels) == 6 and all(channel.grid.same_as(image.grid) for channel in channels)
    assert 0.02 < (channels[0].voxels > 0.5).mean() < 0.6
