"""Training cases before a run: what is found wrong with files, and volumes of the scene written as cases."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from synthetic_cases import head, labels_of, other_contrast, write_cases, write_pairs

from GANSynthesisLib import jobs
from GANSynthesisLib.files import read_channels, read_volume, write_volume
from GANSynthesisLib.grid import VolumeError
from GANSynthesisLib.mrml.case_files import CaseWriter
from GANSynthesisLib.mrml.inputs import reading_volume, volume_from_node
from GANSynthesisLib.mrml.outputs import fill_segmentation
from GANSynthesisLib.mrml.training_data import scene_cases, segment_names
from GANSynthesisLib.progress import Cancelled
from GANSynthesisLib.training.cases import DataError
from GANSynthesisLib.training.inspection import inspect_cases
from SlicerHost.scene import start_scene

FLAT = {"context": "2D", "patch": [16, 16], "width": 4, "levels": 2}
REGISTER = {"patch": [16, 16, 16], "width": 4, "critic_width": 4, "spacing": [5]}


def told(rows, name: str) -> tuple[str, str]:
    (row,) = (each for each in rows if each.name == name)
    return row.problem, row.remark


# Files


def test_good_cases_have_neither_problem_nor_remark(tmp_path):
    rows = inspect_cases("paired", FLAT, write_cases(tmp_path, 3, shape=(4, 24, 20)))
    assert [(row.name, row.subject, sorted(row.files)) for row in rows] == [
        (f"sub-0{number}", f"sub-0{number}", ["source", "target"]) for number in range(3)
    ]
    assert not any(row.problem or row.remark for row in rows)


def test_what_makes_a_case_useless_is_a_problem(tmp_path):
    data = write_cases(tmp_path, 6, shape=(4, 24, 20))
    (data / "target" / "sub-00.nii.gz").unlink()
    (data / "source" / "sub-01.nii.gz").write_bytes(b"this is no image")
    frames = sitk.JoinSeries([sitk.ReadImage(str(data / "source" / "sub-02.nii.gz"))] * 3)
    sitk.WriteImage(frames, str(data / "source" / "sub-02.nii.gz"))
    far = np.diag([1.5, 1.5, 3, 1])
    far[:3, 3] = 500
    write_volume(head(3, (4, 24, 20), far), data / "target" / "sub-03.nii.gz")
    color = sitk.GetImageFromArray(np.zeros((4, 24, 20, 3), np.uint8), isVector=True)
    sitk.WriteImage(color, str(data / "target" / "sub-04.nii.gz"))
    rows = inspect_cases("paired", FLAT, data)
    assert told(rows, "sub-00")[0] == "There is no file for target: add it under the name 'sub-00'."
    assert "'sub-01.nii.gz' of source cannot be read" in told(rows, "sub-01")[0]
    assert "3 channels or time points" in told(rows, "sub-02")[0]
    assert "do not overlap" in told(rows, "sub-03")[0]
    assert "color image" in told(rows, "sub-04")[0]
    assert told(rows, "sub-05") == ("", "")


def test_what_training_puts_up_with_is_a_remark(tmp_path):
    data = write_cases(tmp_path, 5, shape=(4, 24, 20))
    for role in ("source", "target"):
        write_volume(head(0, (4, 12, 20)), data / role / "sub-00.nii.gz")
        write_volume(head(1, (4, 24, 20), np.diag([4, 1.5, 3, 1])), data / role / "sub-01.nii.gz")
    write_volume(head(2, (5, 24, 20)), data / "target" / "sub-02.nii.gz")
    rows = inspect_cases("paired", FLAT, data)
    assert "only 12 voxels along an axis" in told(rows, "sub-00")[1]
    assert "4 × 1.5 × 3 mm, others about 1.5 × 1.5 × 3 mm" in told(rows, "sub-01")[1]
    assert "target lies on another grid than source" in told(rows, "sub-02")[1]
    assert not any(row.problem for row in rows)
    resampled = inspect_cases("paired", {**FLAT, "spacing": [1.5]}, data)
    assert told(resampled, "sub-01") == ("", ""), "with a spacing set, all are alike"


def test_unpaired_images_need_no_partner_and_registrations_no_common_space(tmp_path):
    unpaired = write_cases(tmp_path / "unpaired", 2, paired=False, shape=(4, 24, 20))
    assert not any(row.problem for row in inspect_cases("cyclegan", FLAT, unpaired))
    pairs = write_pairs(tmp_path / "pairs", 2, labels=True)
    far = np.diag([3.0, 3, 4, 1])
    far[:3, 3] = 900
    write_volume(head(0, (16, 24, 24), far), pairs / "moving" / "sub-00.nii.gz")
    rows = inspect_cases("wgan_registration", REGISTER, pairs)
    assert len(rows) == 2 and not any(row.problem or row.remark for row in rows)


def test_data_without_a_role_are_refused_before_any_file_is_read(tmp_path):
    data = write_cases(tmp_path, 2, shape=(4, 24, 20))
    with pytest.raises(DataError, match="no files for the role 'labels'"):
        inspect_cases("segmentor", {"segmentor_width": 4}, data)
    (data / "target").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="no files for the role 'target'"):
        inspect_cases("cyclegan", FLAT, data)
    with pytest.raises(DataError, match="There is no folder"):
        inspect_cases("paired", FLAT, tmp_path / "nowhere")


def test_looking_at_cases_tells_how_far_it_is_and_can_be_stopped(tmp_path):
    data, heard = write_cases(tmp_path, 3, shape=(4, 24, 20)), []
    inspect_cases("paired", FLAT, data, lambda *words: heard.append(words))
    assert heard[1] == (1 / 3, "looking at case 2 of 3")
    with pytest.raises(Cancelled):
        inspect_cases("paired", FLAT, data, cancelled=lambda: True)


# The scene


@pytest.fixture
def hierarchy():
    scene = start_scene()
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)


def add(hierarchy, folder: int, volume, name: str, class_name="vtkMRMLScalarVolumeNode"):
    node = slicer.util.addVolumeFromArray(volume.voxels, volume.ijk_to_ras, name, class_name)
    hierarchy.CreateItem(folder, node)
    return node


def folder(hierarchy, name: str) -> int:
    return hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), name)


def write_scene_cases(cases, into: Path) -> None:
    """Have a worker write the cases."""
    worker = jobs.worker("training")
    writer, end = CaseWriter(cases, into, worker), time.monotonic() + 60
    while not writer.advance():
        worker.poll()
        assert time.monotonic() < end, writer.text
        time.sleep(0.002)


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    yield
    jobs.worker("training").stop()


def small(seed: int):
    return head(seed, (4, 10, 9))


def test_images_of_the_same_name_belong_together_else_those_of_the_same_place(hierarchy):
    items = {role: folder(hierarchy, role) for role in ("source", "target")}
    for name in ("a", "b"):
        add(hierarchy, items["source"], small(0), name)
    for name in ("b", "a"):
        add(hierarchy, items["target"], small(1), name)
    by_name = [[node.GetName() for node in case.nodes.values()] for case in scene_cases(items)]
    assert by_name == [["a", "a"], ["b", "b"]]
    add(hierarchy, items["source"], small(0), "T1/third")
    add(hierarchy, items["target"], small(1), "T2 third")
    cases = scene_cases(items)
    assert [[node.GetName() for node in case.nodes.values()] for case in cases] == [
        ["a", "b"], ["b", "a"], ["T1/third", "T2 third"],
    ]
    assert [case.name for case in cases] == ["a", "b", "T1_third"]


def test_folders_that_do_not_fit_together_are_refused(hierarchy):
    items = {role: folder(hierarchy, role) for role in ("source", "target")}
    add(hierarchy, items["source"], small(0), "a")
    with pytest.raises(DataError, match="'target' holds no volumes"):
        scene_cases(items)
    for name in ("b", "c"):
        add(hierarchy, items["target"], small(1), name)
    with pytest.raises(DataError, match="source has 1, target has 2"):
        scene_cases(items)
    assert sorted(case.name for case in scene_cases(items, paired=False)) == ["a", "b", "c"]


def test_cases_are_written_where_the_scene_shows_them(hierarchy, tmp_path):
    items = {role: folder(hierarchy, role) for role in ("source", "target")}
    node = add(hierarchy, items["source"], small(0), "head")
    add(hierarchy, items["target"], other_contrast(small(0)), "head")
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 4.5)
    moved.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(moved.GetID())
    before = slicer.mrmlScene.GetNumberOfNodes()
    write_scene_cases(scene_cases(items), tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")) == [
        "source/head.nii", "target/head.nii"]
    written, shown = read_volume(tmp_path / "source" / "head.nii"), volume_from_node(node)
    assert written.grid.same_as(shown.grid) and (written.voxels == shown.voxels).all()
    assert slicer.mrmlScene.GetNumberOfNodes() == before
    (row,) = inspect_cases("paired", {**FLAT, "patch": [8, 8]}, tmp_path)
    assert not row.problem


@pytest.mark.parametrize("kind", ["label map", "segmentation"])
def test_labels_are_written_on_their_images_grid(hierarchy, tmp_path, kind):
    items = {role: folder(hierarchy, role) for role in ("source", "labels")}
    add(hierarchy, items["source"], small(0), "head")
    labels = labels_of(small(0)).with_voxels(labels_of(small(0)).voxels, label_names={1: "tissue", 2: "bright"})
    if kind == "label map":
        add(hierarchy, items["labels"], labels, "head", "vtkMRMLLabelMapVolumeNode")
    else:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "head")
        fill_segmentation(node, labels)
        hierarchy.CreateItem(items["labels"], node)
    cases = scene_cases(items)
    assert segment_names(cases) == ([] if kind == "label map" else ["tissue", "bright"])
    write_scene_cases(cases, tmp_path)
    written = read_volume(tmp_path / "labels" / "head.nii")
    assert (written.voxels == labels.voxels).all() and written.voxels.dtype == np.uint8
    assert written.grid.same_as(small(0).grid)


def test_labels_of_registrations_become_channels(hierarchy, tmp_path):
    roles = ("fixed", "moving", "fixed_labels", "moving_labels")
    items = {role: folder(hierarchy, role) for role in roles}
    for role in ("fixed", "moving"):
        add(hierarchy, items[role], small(0), "head")
        add(hierarchy, items[f"{role}_labels"], labels_of(small(0)), "head", "vtkMRMLLabelMapVolumeNode")
    write_scene_cases(scene_cases(items), tmp_path)
    channels = read_channels(tmp_path / "fixed_labels" / "head.nii")
    values = labels_of(small(0)).voxels
    assert [(each.voxels == (values == value)).all() for value, each in enumerate(channels, start=1)] == [True, True]


def test_labels_that_do_not_lie_on_their_image_are_refused(hierarchy, tmp_path):
    items = {role: folder(hierarchy, role) for role in ("source", "labels")}
    add(hierarchy, items["source"], small(0), "head")
    other = np.diag([1.5, 1.5, 3, 1])
    other[0, 3] = 5
    add(hierarchy, items["labels"], labels_of(head(0, (4, 10, 9), other)), "labels", "vtkMRMLLabelMapVolumeNode")
    with pytest.raises(DataError, match="'labels' does not lie on the grid of 'head'"):
        write_scene_cases(scene_cases(items), tmp_path)


def test_a_volume_that_cannot_be_used_is_named_before_it_is_written(hierarchy, tmp_path):
    items = {"image": folder(hierarchy, "image")}
    flat = small(0)
    add(hierarchy, items["image"], flat.with_voxels(np.full(flat.shape, 7, np.float32)), "flat")
    with pytest.raises(VolumeError, match="flat"):
        write_scene_cases(scene_cases(items), tmp_path)
    assert not list(Path(tmp_path).rglob("*.nii"))


def test_no_more_than_one_volume_is_read_in_one_step(hierarchy, tmp_path, monkeypatch):
    items = {role: folder(hierarchy, role) for role in ("source", "target")}
    for role, item in items.items():
        for number in range(3):
            add(hierarchy, item, small(number), f"{role} {number}")
    read, worker = [], jobs.worker("training")
    monkeypatch.setattr("GANSynthesisLib.mrml.training_data.reading_volume",
                        lambda node, **how: read.append(node.GetName()) or reading_volume(node, **how))
    writer, most, end = CaseWriter(scene_cases(items), tmp_path, worker), 0, time.monotonic() + 60
    while True:
        before, written = len(read), writer.advance()
        most = max(most, len(read) - before)
        if written:
            break
        assert time.monotonic() < end
        worker.poll()
    assert most == 1 and len(read) == 6
    assert len(list(tmp_path.rglob("*.nii"))) == 6


def test_a_killed_worker_is_told_and_the_next_one_writes_the_cases(hierarchy, tmp_path):
    item = folder(hierarchy, "image")
    add(hierarchy, item, small(0), "head")
    worker = jobs.worker("training")
    writer, end = CaseWriter(scene_cases({"image": item}), tmp_path, worker), time.monotonic() + 60
    with pytest.raises(DataError, match="The worker process "):
        while time.monotonic() < end:
            writer.advance()
            worker.poll()
            if worker.state == "running":
                os.kill(worker.pid, signal.SIGKILL)
    write_scene_cases(scene_cases({"image": item}), tmp_path)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["head.nii"]
