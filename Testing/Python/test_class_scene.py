"""Classes, lesions and answers of a classifier in the scene."""

import numpy as np
import pytest
import slicer
from synthetic_cases import head, labels_of

from GANSynthesisLib.classes import Classification
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.models import Card, Model, ModelError, Port, load_model, save_model
from GANSynthesisLib.mrml.classification import classification_to_node, classify_node
from GANSynthesisLib.mrml.lesions import lesions_to_folder
from GANSynthesisLib.mrml.provenance import read_provenance
from GANSynthesisLib.mrml.training_data import CaseFile, case_files, scene_cases
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training.cases import find_cases
from GANSynthesisLib.training.lesions import PatchPlan
from GANSynthesisLib.volumes import VolumeError
from SlicerHost.scene import start_scene


@pytest.fixture
def hierarchy():
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(start_scene())


def folder(hierarchy, name: str, within: int | None = None) -> int:
    return hierarchy.CreateFolderItem(hierarchy.GetSceneItemID() if within is None else within, name)


def add(hierarchy, item: int, volume, name: str, class_name="vtkMRMLScalarVolumeNode"):
    node = slicer.util.addVolumeFromArray(volume.voxels, volume.ijk_to_ras, name, class_name)
    hierarchy.CreateItem(item, node)
    return node


def files_of(cases) -> list[CaseFile]:
    return [file for file in case_files(cases) if isinstance(file, CaseFile)]


def test_folders_within_the_folder_of_images_are_classes(hierarchy):
    images, masks = folder(hierarchy, "images"), folder(hierarchy, "masks")
    for name in ("benign cyst", "tumor"):
        inner = folder(hierarchy, name, images)
        for number in range(2):
            add(hierarchy, inner, head(number, (4, 10, 9)), f"{name} {number}")
    add(hierarchy, images, head(7, (4, 10, 9)), "loose")
    cases = scene_cases({"image": images})
    assert {case.name: case.class_name for case in cases} == {
        "benign_cyst_0": "benign cyst", "benign_cyst_1": "benign cyst", "tumor_0": "tumor", "tumor_1": "tumor",
        "loose": ""}
    assert sorted(file.path for file in files_of(cases)) == [
        "image/benign_cyst/benign_cyst_0.nii", "image/benign_cyst/benign_cyst_1.nii", "image/loose.nii",
        "image/tumor/tumor_0.nii", "image/tumor/tumor_1.nii"]
    for case in cases:  # masks of images lie on their grid, whatever the folders they are in
        add(hierarchy, masks, labels_of(head(0, (4, 10, 9))), case.nodes["image"].GetName(),
            "vtkMRMLLabelMapVolumeNode")
    by_path = {file.path: file.volume for file in files_of(scene_cases({"image": images, "labels": masks}))}
    assert by_path["labels/tumor/tumor_0.nii"].grid.same_as(by_path["image/tumor/tumor_0.nii"].grid)


@pytest.mark.parametrize("kind", ["segmentation", "label map"])
def test_lesions_of_a_segmentation_become_training_patches(hierarchy, tmp_path, kind):
    image = head(3, (12, 28, 24))
    labels = np.zeros(image.shape, np.uint8)
    labels[4:8, 8:15, 6:13] = 1
    labels[3:7, 18:23, 14:20] = 2
    node = add(hierarchy, hierarchy.GetSceneItemID(), image, "Mr. X")
    labels_kind = "vtkMRMLLabelMapVolumeNode"
    marked = add(hierarchy, hierarchy.GetSceneItemID(), image.with_voxels(labels), "marks", labels_kind)
    if kind == "segmentation":
        label_map, marked = marked, slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(label_map, marked)
        for number, name in enumerate(("cyst", "tumor")):
            marked.GetSegmentation().GetNthSegment(number).SetName(name)
    plan = PatchPlan(size=(8, 16, 16), copies=2)
    names = ("cyst", "tumor") if kind == "segmentation" else ("label_1", "label_2")
    assert lesions_to_folder([(node, marked)], tmp_path, plan) == dict.fromkeys(names, 2)
    cases = find_cases(tmp_path, ("image", "labels", "class"))
    assert [(case.class_name, case.subject) for case in cases] == [
        (name, "Mr._X") for name in names for _ in range(2)]
    first = read_volume(cases[0].files["labels"])
    truth = (image.ijk_to_ras @ [*np.argwhere(labels == 1).mean(0)[::-1], 1])[:3]
    found = (first.ijk_to_ras @ [*np.argwhere(first.voxels == 1).mean(0)[::-1], 1])[:3]
    assert np.linalg.norm(found - truth) < max(first.spacing)


def test_the_class_of_a_volume_is_a_table_beside_it(hierarchy):
    node = add(hierarchy, folder(hierarchy, "study"), head(0, (4, 10, 9)), "image")
    table = classification_to_node(Classification({"benign": 0.25, "malignant": 0.75}, "image"), like=node)
    assert table.GetName() == "image [class malignant]"
    assert [table.GetTable().GetColumnName(n) for n in range(2)] == ["class", "probability"]
    assert [[table.GetCellText(row, column) for column in range(2)] for row in range(2)] == [
        ["malignant", "0.75"], ["benign", "0.25"]]
    assert hierarchy.GetItemName(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table))) == "study"
    classification_to_node(Classification({"benign": 1.0, "malignant": 0.0}, "image"), table)
    assert table.GetCellText(0, 0) == "benign" and table.GetName() == "image [class malignant]"


def test_a_volume_is_classified_by_a_model_and_only_by_one_that_can(hierarchy, tmp_path):
    def model_of(system: str, **settings) -> Model:
        small = {"patch": (16, 16), "width": 4, "context": "2D", **settings}
        card = Card(
            system, system, "", system, "classify" if system == "classifier" else "segment", small,
            (Port("image" if system == "classifier" else "source", "US"),),
            (Port("class" if system == "classifier" else "segmentation", "",
                  needs=("image" if system == "classifier" else "source",)),),
            None, (1, 16, 16), "2D",
        )
        path = tmp_path / f"{system}.safetensors"
        save_model(path, build_system(system, small).deployed_state(), card)
        return load_model(path)

    node = add(hierarchy, folder(hierarchy, "study"), head(0, (1, 20, 24)), "image")
    model = model_of("classifier", classes=("benign", "malignant"), fit="resize")
    table = classify_node(node, model, device="cpu")
    probabilities = [float(table.GetCellText(row, 1)) for row in range(2)]
    assert sum(probabilities) == pytest.approx(1) and probabilities == sorted(probabilities, reverse=True)
    assert table.GetName() == f"image [class {table.GetCellText(0, 0)}]"
    told = read_provenance(table)
    assert (told["Task"], told["Model"], told["Inputs"]["image"]["name"]) == ("classify", "classifier", "image")
    before = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(ModelError, match="'segmentor' does not classify"):
        classify_node(node, model_of("segmentor"))
    with pytest.raises(VolumeError, match="cannot take the output: choose a vtkMRMLTableNode"):
        classify_node(node, model, node)
    assert slicer.mrmlScene.GetNumberOfNodes() == before
