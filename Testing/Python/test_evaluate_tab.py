"""Evaluation in the scene and by clicks: real MRML nodes, real widgets, a real worker process."""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
import slicer
import vtk
from test_comparison import LEFT, OBLIQUE, RIGHT, boxes, image, shift_of, sphere

from GANSynthesisLib import jobs
from GANSynthesisLib.mrml.evaluation import Evaluation
from GANSynthesisLib.mrml.labels import labels_from_node
from GANSynthesisLib.mrml.outputs import segmentation_to_node, volume_to_node
from GANSynthesisLib.mrml.provenance import read_provenance
from GANSynthesisLib.volumes import VolumeError
from SlicerHost import pythonqt
from SlicerHost.host import handle_events, start_host
from SlicerHost.scene import start_scene

UI = Path(__file__).resolve().parents[2] / "GANSynthesis" / "Resources" / "UI" / "EvaluateTab.ui"
SHAPE = (12, 20, 24)


@pytest.fixture(autouse=True)
def scene():
    start_host()
    pythonqt.slot_errors.clear()
    return start_scene()


@pytest.fixture(scope="module", autouse=True)
def one_worker():
    """All evaluations here share a warm worker, which ends with them."""
    yield
    jobs.worker("apply").stop()


def add_image(offset=0.0, name="T2", **options):
    volume = image(SHAPE, name=name, **options)
    return volume_to_node(volume.with_voxels(volume.voxels + np.float32(offset)))


def add_segmentation(volume, name="tissue"):
    return segmentation_to_node(volume.with_voxels(volume.voxels, name=name))


def add_markups(points, name="F", labels=None):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, point in enumerate(points):
        node.AddControlPoint(vtk.vtkVector3d(*point), labels[number] if labels else f"{number + 1}")
    return node


def add_transform(matrix, name="moved"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.asarray(matrix, float)))
    return node


def rows(table) -> dict:
    """(metric, structure) -> (value, unit) of a table node."""
    cells = [[table.GetCellText(row, column) for column in range(4)] for row in range(table.GetNumberOfRows())]
    return {(metric, structure): (float(value), unit) for metric, structure, value, unit in cells}


def snapshot(scene) -> dict:
    """Every node with the time of its last change, and the items of the subject hierarchy."""
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = []
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    times = {node.GetID(): node.GetMTime() for node in nodes if node is not hierarchy}
    return {**times, "items": sorted(hierarchy.GetItemName(item) for item in items)}


def item_tree(scene) -> dict[str, str]:
    """Item name -> name of the item that it is in."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = []
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return {hierarchy.GetItemName(item): hierarchy.GetItemName(hierarchy.GetItemParent(item)) for item in items}


# --- the scene


def test_images_give_a_table_plots_and_an_error_map_in_a_folder_beside_the_result(scene):
    reference, result = add_image(unit="HU"), add_image(12, "synthetic", unit="HU")
    before = snapshot(scene)
    evaluation = Evaluation.of(result, reference)
    made = evaluation.write(evaluation.compare())
    assert made.table.GetName() == "synthetic against T2"
    numbers = rows(made.table)
    assert numbers["MAE", "whole image"] == (pytest.approx(12, abs=1e-3), "HU")
    assert numbers["PSNR", "whole image"] == (pytest.approx(20 * np.log10(4095 / 12), abs=1e-3), "dB")
    assert "the range of CT" in made.table.GetDescription()
    charts = [node.GetName().split(":")[0] for node in made.charts]
    assert charts == ["Scatter", "Slices", "Errors"]
    scatter = made.charts[0].GetNthPlotSeriesNode(0)
    points = slicer.util.arrayFromTableColumn(scatter.GetTableNode(), scatter.GetYColumnName())
    assert len(points) == 2000 and made.charts[0].GetXAxisTitle() == "T2 (HU)"
    slices = made.charts[1].GetNthPlotSeriesNode(0)
    errors = slicer.util.arrayFromTableColumn(slices.GetTableNode(), slices.GetYColumnName())
    assert np.allclose(errors, 12, atol=1e-3) and len(errors) == SHAPE[0]
    assert np.allclose(slicer.util.arrayFromVolume(made.error_map), 12, atol=1e-3)
    display = made.error_map.GetDisplayNode()
    assert display.GetLevel() == pytest.approx(0, abs=1e-6) and display.GetWindow() == pytest.approx(24, abs=1e-2)
    lowest, middle, highest = [np.zeros(4) for _ in range(3)]
    for index, color in ((0, lowest), (127, middle), (255, highest)):
        display.GetColorNode().GetColor(index, color)
    assert lowest[2] > lowest[0] and highest[0] > highest[2] and middle[:3].max() < 0.02
    folder = item_tree(scene)
    for node in (made.table, *made.charts, scatter, scatter.GetTableNode(), made.error_map):
        assert folder[node.GetName()] == "synthetic against T2"
    content = read_provenance(made.table)
    assert content["Task"] == "evaluate" and content["Inputs"]["reference"]["id"] == reference.GetID()
    after = snapshot(scene)
    assert {name: after[name] for name in before if name != "items"} == {
        name: time for name, time in before.items() if name != "items"
    }, "a node that was there has been touched"


def test_second_error_map_shares_the_colors_of_the_first(scene):
    pair = add_image(3, "synthetic"), add_image()
    made = [Evaluation.of(*pair) for _ in range(2)]
    maps = [each.write(each.compare(), table=False, plots=False).error_map for each in made]
    assert maps[0] is not maps[1]
    assert maps[0].GetDisplayNode().GetColorNode() is maps[1].GetDisplayNode().GetColorNode()


def test_only_what_is_asked_for_is_made(scene):
    evaluation = Evaluation.of(add_image(3, "synthetic"), add_image())
    made = evaluation.write(evaluation.compare(), plots=False, error_map=False)
    assert made.table and made.charts == () and made.error_map is None
    assert slicer.util.getNodesByClass("vtkMRMLPlotChartNode") == []
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == [made.table]


def test_parent_transforms_count_on_every_side(scene):
    turn = np.array([[0, -1, 0, 30], [1, 0, 0, -12], [0, 0, 1, 4], [0, 0, 0, 1.0]])
    reference = add_image()
    volume = image(SHAPE, matrix=OBLIQUE)
    result = volume_to_node(volume.with_voxels(volume.voxels + np.float32(7), name="synthetic",
                                               ijk_to_ras=np.linalg.inv(turn) @ OBLIQUE))
    mask = boxes(LEFT, shape=SHAPE, matrix=np.linalg.inv(turn) @ OBLIQUE, names={1: "gland"})
    mask = add_segmentation(mask)
    transform = add_transform(turn)
    with pytest.raises(VolumeError, match="holds no voxel"):
        Evaluation.of(result, reference, mask).compare()
    for node in (result, mask):
        node.SetAndObserveTransformNodeID(transform.GetID())
    found = Evaluation.of(result, reference, mask).compare()
    assert found.value("MAE", "tissue") == pytest.approx(7, abs=1e-3)
    assert found.value("voxels") == np.count_nonzero(boxes(LEFT, shape=SHAPE).voxels)
    assert result.GetParentTransformNode() is transform


def test_shifted_sphere_has_its_known_dice_as_segmentation_and_as_label_map(scene):
    reference = add_segmentation(sphere((18, 16, 16)), "truth")
    shifted = sphere((14, 16, 16))
    lens = np.pi * (4 * 10 + 4) * (2 * 10 - 4) ** 2 / 12
    label_map = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "map")
    slicer.util.updateVolumeFromArray(label_map, shifted.voxels)
    for result in (add_segmentation(shifted, "found"), label_map):
        evaluation = Evaluation.of(result, reference)
        made = evaluation.write(evaluation.compare())
        numbers = rows(made.table)
        assert numbers["Dice", "ball"][0] == pytest.approx(lens / (4 / 3 * np.pi * 1000), abs=0.01)
        assert numbers["HD95", "ball"] == (pytest.approx(4, abs=0.5), "mm")
        assert [node.GetName().split(":")[0] for node in made.charts] == ["Dice", "HD95"]
        bars = made.charts[0].GetNthPlotSeriesNode(0)
        assert bars.GetPlotType() == bars.PlotTypeScatterBar and made.charts[0].GetXAxisTitle() == "1 ball"
        assert made.error_map is None


def test_structures_without_a_distance_have_no_bar(scene):
    names = {1: "left", 2: "right"}
    pair = add_segmentation(boxes(LEFT, names=names), "found"), add_segmentation(boxes(LEFT, RIGHT, names=names))
    evaluation = Evaluation.of(*pair)
    dice, distance = evaluation.write(evaluation.compare()).charts
    assert dice.GetXAxisTitle() == "1 left, 2 right, 3 mean" and distance.GetXAxisTitle() == "1 left"


def test_segments_that_overlap_come_in_layers_and_a_moved_segmentation_in_its_place(scene):
    node = add_segmentation(boxes(np.s_[1:7, 2:12, 2:14], names={1: "organ"}))
    other = add_segmentation(boxes(LEFT, names={1: "tumor"}), "other")
    node.GetSegmentation().CopySegmentFromSegmentation(other.GetSegmentation(), "tumor")
    layers = labels_from_node(node)
    assert [list(each.label_names.values()) for each in layers] == [["organ"], ["tumor"]]
    center = np.argwhere(layers[1].voxels).mean(axis=0)[::-1]
    node.SetAndObserveTransformNodeID(add_transform(shift_of(10, -5, 2)).GetID())
    moved = labels_from_node(node)[1]
    assert np.allclose((moved.ijk_to_ras - layers[1].ijk_to_ras)[:3, 3], (10, -5, 2))
    expected = OBLIQUE @ [*np.argwhere(boxes(LEFT).voxels).mean(axis=0)[::-1], 1]
    assert np.allclose(layers[1].ijk_to_ras @ [*center, 1], expected, atol=1e-3)


def test_non_linear_parent_transform_moves_labels_where_the_scene_shows_them(scene):
    thin = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "spline")
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.ndindex(2, 2, 2):
        at = np.array(point) * 40.0 - 4
        source.InsertNextPoint(at)
        target.InsertNextPoint(at + (6, 0, 0))
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    spline.SetBasisToR()
    thin.SetAndObserveTransformToParent(spline)
    node = add_segmentation(sphere((14, 16, 16)))
    label_map = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "map")
    slicer.util.updateVolumeFromArray(label_map, sphere((14, 16, 16)).voxels)
    for each in (node, label_map):
        each.SetAndObserveTransformNodeID(thin.GetID())
        (layer,) = labels_from_node(each)
        center = layer.ijk_to_ras @ [*np.argwhere(layer.voxels).mean(axis=0)[::-1], 1]
        assert np.allclose(center[:3], (20, 16, 16), atol=0.6)


def test_surfaces_are_filled_without_changing_their_node(scene):
    ball = vtk.vtkSphereSource()
    ball.SetRadius(10)
    ball.SetCenter(18, 16, 16)
    ball.SetThetaResolution(32)
    ball.SetPhiResolution(32)
    ball.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    segmentation = node.GetSegmentation()
    segmentation.SetSourceRepresentationName("Closed surface")
    geometry = slicer.vtkOrientedImageData()
    geometry.SetDimensions(40, 40, 40)
    segmentation.SetConversionParameter(
        slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(),
        slicer.vtkSegmentationConverter.SerializeImageGeometry(geometry),
    )
    segment = slicer.vtkSegment()
    segment.SetName("ball")
    segment.AddRepresentation("Closed surface", ball.GetOutput())
    segmentation.AddSegment(segment)
    found = Evaluation.of(node, add_segmentation(sphere((18, 16, 16)), "truth")).compare()
    assert found.value("Dice", "ball") > 0.95
    assert not segmentation.ContainsRepresentation("Binary labelmap")


def test_landmarks_give_errors_before_and_after_the_transform(scene):
    points = np.array([(0, 0, 0), (10, 0, 0), (0, 20, 0.0)])
    fixed, moving = add_markups(points, labels=["a", "b", "c"]), add_markups(points + (3, 4, 0), "M", ["a", "b", "c"])
    alone = Evaluation.of(fixed_landmarks=fixed, moving_landmarks=moving)
    assert not alone.has_images and alone.compare() is None
    numbers = rows(alone.write(None).table)
    assert numbers["landmark error", "mean"] == (5, "mm") and ("landmark error before", "mean") not in numbers
    transform = add_transform(shift_of(-3, 0, 0), "to fixed")
    made = Evaluation.of(fixed_landmarks=fixed, moving_landmarks=moving, transform=transform).write(None)
    numbers = rows(made.table)
    assert numbers["landmark error before", "mean"][0] == 5 and numbers["landmark error", "largest"][0] == 4
    assert numbers["landmark error", "b"][0] == 4 and made.table.GetName() == "M against F_1"
    assert made.charts[0].GetXAxisTitle() == "1 before, 2 after"


def test_mismatches_are_refused_in_one_sentence_and_leave_the_scene_as_it_was(scene):
    volume, other = add_image(), add_image(3, "synthetic")
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    nothing = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    segmentation = add_segmentation(boxes(LEFT))
    marks = add_markups([(0, 0, 0)]), add_markups([(0, 0, 0), (1, 1, 1)], "M")
    before = snapshot(scene)
    for nodes, more, words in (
        ((None, volume), {}, "No result is chosen"),
        ((other, None), {}, "No reference is chosen"),
        ((volume, volume), {}, "'T2' is both result and reference"),
        ((segmentation, volume), {}, "'tissue' holds labels and 'T2' intensities"),
        ((empty, volume), {}, "'empty' is empty"),
        ((nothing, segmentation), {}, "'nothing' is empty"),
        ((other, volume, volume), {}, "'T2' is no mask"),
        ((other, volume, "skull"), {}, "no mask called 'skull'"),
        ((other, volume), {"fixed_landmarks": marks[0]}, "for one volume only"),
        ((other, volume), dict(zip(("fixed_landmarks", "moving_landmarks"), marks, strict=True)), "have 1 points"),
    ):
        with pytest.raises(VolumeError, match=words):
            Evaluation.of(*nodes, **more).compare()
    assert snapshot(scene) == before


def test_a_failure_while_writing_leaves_the_scene_as_it_was(scene, monkeypatch):
    evaluation = Evaluation.of(add_image(3, "synthetic"), add_image())
    found, before = evaluation.compare(), snapshot(scene)
    monkeypatch.setattr("GANSynthesisLib.mrml.evaluation._error_map_to_node", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluation.write(found)
    assert snapshot(scene) == before


def test_writing_that_is_given_up_takes_back_its_own_nodes_only(scene):
    evaluation = Evaluation.of(add_image(3, "synthetic"), add_image())
    found, before = evaluation.compare(), snapshot(scene)
    for steps in range(1, 5):
        writing = evaluation.writing(found)
        for _ in range(1 + steps):  # the first one copies the error map
            next(writing)
        users = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "note")
        assert len(slicer.util.getNodesByClass("vtkMRMLTableNode")) == min(steps, 4)
        writing.close()
        assert users.GetScene() is scene
        scene.RemoveNode(users)
        assert {name for name in snapshot(scene) if "ColorTable" not in name} == {
            name for name in before if "ColorTable" not in name}


# --- the tab


@pytest.fixture
def tab(scene):
    from GANSynthesisLib.panel.evaluate_tab import EvaluateTab

    widget = slicer.util.loadUI(str(UI))
    widget.setMRMLScene(scene)
    made = EvaluateTab(widget, None)
    made.widget = widget
    yield made
    made.close()
    pythonqt.native(widget).deleteLater()


def choose(tab, **nodes) -> None:
    for name, node in nodes.items():
        getattr(tab.ui, f"{name}Selector").setCurrentNode(node)


def run(tab, seconds: float = 60, until=None) -> None:
    """What the panel's timer does, until the evaluation has ended or something holds."""
    ended = handle_events(seconds, lambda: tab.poll() or not tab.running or (until and until()))
    assert ended, "the evaluation does not end"


def test_clicks_compare_two_volumes_in_a_mask_and_show_the_numbers(tab, scene):
    mask = add_segmentation(boxes(LEFT, shape=SHAPE))
    choose(tab, result=add_image(12, "synthetic"), reference=add_image(), mask=mask)
    assert tab.ui.evaluateButton.enabled and not tab.ui.bodyCheckBox.enabled
    tab.ui.evaluateButton.click()
    assert tab.running and tab.ui.evaluateButton.text == "Cancel" and not tab.ui.compareCollapsibleButton.enabled
    run(tab)
    assert pythonqt.slot_errors == []
    assert tab.ui.statusLabel.text == "Done: synthetic against T2"
    text = tab.ui.resultsLabel.text
    assert "MAE" in text and "12" in text and "tissue" in text and "the reference&#x27;s range within the mask" in text
    (table,) = [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if "[data]" not in node.GetName()]
    assert rows(table)["MAE", "tissue"][0] == pytest.approx(12, abs=1e-3)
    plots = [tab.ui.plotSelector.itemText(index) for index in range(tab.ui.plotSelector.count)]
    assert plots == ["Scatter", "Slices", "Errors"]
    assert tab.ui.evaluateButton.text == "Evaluate" and tab.ui.compareCollapsibleButton.enabled
    assert jobs.worker("apply").state == "idle"


def test_background_is_left_out_unless_the_user_wants_it(tab):
    head = sphere((16, 16, 16), 10)
    reference = volume_to_node(head.with_voxels(head.voxels * np.float32(100), name="head", label_names={}))
    result = volume_to_node(head.with_voxels(head.voxels * np.float32(90), name="synthetic", label_names={}))
    choose(tab, result=result, reference=reference)
    for box in ("table", "plots", "errorMap"):
        getattr(tab.ui, f"{box}CheckBox").checked = False
    for leave_out, of, error in ((True, "body", 10.0), (False, "whole image", 10 * head.voxels.mean())):
        tab.ui.bodyCheckBox.checked = leave_out
        tab.ui.evaluateButton.click()
        run(tab)
        assert of in tab.ui.resultsLabel.text and f"{error:.4g}" in tab.ui.resultsLabel.text
    assert slicer.util.getNodesByClass("vtkMRMLTableNode") == []
    assert not tab.ui.tableButton.enabled and "not made" in tab.ui.tableButton.toolTip


def test_clicks_compare_two_segmentations(tab):
    names = {1: "left", 2: "right"}
    choose(tab, result=add_segmentation(boxes(LEFT, RIGHT, names=names), "found"),
           reference=add_segmentation(boxes(LEFT, np.s_[6:8, 2:4, 2:4], names=names), "truth"))
    assert not tab.ui.maskSelector.enabled and "images only" in tab.ui.maskSelector.toolTip
    tab.ui.evaluateButton.click()
    run(tab)
    assert pythonqt.slot_errors == []
    assert "<th align='left'>Dice" in tab.ui.resultsLabel.text and "right" in tab.ui.resultsLabel.text
    assert not tab.ui.errorMapButton.enabled and "Only images" in tab.ui.errorMapButton.toolTip


def test_landmarks_alone_are_evaluated_at_once(tab):
    choose(tab, fixedLandmarks=add_markups([(0, 0, 0)]))
    assert "one side only" in tab.ui.evaluateButton.toolTip and not tab.ui.transformSelector.enabled
    choose(tab, movingLandmarks=add_markups([(0, 3, 4)], "M"))
    assert tab.ui.evaluateButton.enabled and tab.ui.transformSelector.enabled
    tab.ui.evaluateButton.click()
    assert not tab.running and tab.ui.statusLabel.text == "Done: M against F"
    assert "landmark error (mm)" in tab.ui.resultsLabel.text and ">5&nbsp;" in tab.ui.resultsLabel.text


def test_evaluate_is_off_and_says_why(tab):
    volume, segmentation = add_image(), add_segmentation(boxes(LEFT))
    for nodes, words in (
        ({}, "Select a result."),
        ({"result": volume}, "Select a reference."),
        ({"reference": volume}, "'T2' is both result and reference"),
        ({"reference": segmentation}, "Select two volumes, or two segmentations."),
    ):
        choose(tab, **nodes)
        assert not tab.ui.evaluateButton.enabled
        assert words in tab.ui.evaluateButton.toolTip and tab.ui.statusLabel.text == tab.ui.evaluateButton.toolTip


def test_evaluate_waits_for_other_work_of_the_worker(tab, monkeypatch):
    choose(tab, result=add_image(3, "synthetic"), reference=add_image())
    monkeypatch.setattr(type(jobs.worker("apply")), "state", "running")
    tab.poll()
    assert not tab.ui.evaluateButton.enabled and "Another job is running" in tab.ui.statusLabel.text
    monkeypatch.undo()
    tab.poll()
    assert tab.ui.evaluateButton.enabled and tab.ui.statusLabel.text == ""


@pytest.mark.parametrize("how", ["cancel", "scene closed", "panel closed"])
def test_an_evaluation_that_is_stopped_leaves_nothing(tab, scene, how):
    choose(tab, result=add_image(3, "synthetic"), reference=add_image())
    before = snapshot(scene)
    tab.ui.evaluateButton.click()
    run(tab, until=lambda: tab._job.state == "running")
    job = jobs.worker("apply").job
    {"cancel": tab.ui.evaluateButton.click, "scene closed": tab.sceneClosing, "panel closed": tab.close}[how]()
    run(tab)
    assert pythonqt.slot_errors == [] and not tab.running and snapshot(scene) == before
    assert tab.ui.evaluateButton.text == "Evaluate" and job.cancel_requested
    assert not list(Path(tempfile.gettempdir()).glob(f"gansynthesis-{os.getpid()}-*")), "arrays were left behind"
    if how == "cancel":
        assert tab.ui.statusLabel.text == "Canceled; the scene is as it was."
    assert handle_events(20, lambda: jobs.poll_all() or tab.poll() or tab.ui.evaluateButton.enabled)
    tab.ui.evaluateButton.click()
    run(tab)
    assert tab.ui.statusLabel.text == "Done: synthetic against T2", "the next one works"


def test_what_cannot_be_compared_is_said_and_the_tab_goes_on(tab, scene):
    far = volume_to_node(image(SHAPE, OBLIQUE @ shift_of(3000, 0, 0), name="far"))
    broken = add_image(0, "broken")
    slicer.util.arrayFromVolume(broken)[2, 3, 4] = np.nan
    reference = add_image()
    before = snapshot(scene)
    for result, words in ((far, "'far' and the reference 'T2' do not overlap"), (broken, "'broken' has 1 voxels")):
        choose(tab, result=result, reference=reference)
        tab.ui.evaluateButton.click()
        run(tab)
        assert words in tab.ui.statusLabel.text
        assert tab.ui.evaluateButton.enabled and snapshot(scene) == before


def test_buttons_show_what_was_made_in_the_views(tab, scene, monkeypatch):
    shown = []
    monkeypatch.setattr("GANSynthesisLib.mrml.layouts.has_views", lambda: True)
    for name in ("show_table", "show_chart"):
        monkeypatch.setattr(f"GANSynthesisLib.mrml.layouts.{name}", lambda node: shown.append(node.GetName()))
    layers = lambda background, **_: shown.append(background.GetName())  # noqa: E731
    monkeypatch.setattr(slicer.util, "setSliceViewerLayers", layers)
    choose(tab, result=add_image(3, "synthetic"), reference=add_image())
    tab.ui.evaluateButton.click()
    run(tab)
    tab.ui.plotSelector.currentIndex = 1
    for button in (tab.ui.tableButton, tab.ui.plotButton, tab.ui.errorMapButton):
        assert button.enabled
        button.click()
    assert shown == ["synthetic against T2", "Slices: synthetic against T2", "synthetic minus T2"]
    scene.RemoveNode(tab._made.table)
    tab.ui.tableButton.click()
    assert "removed from the scene" in tab.ui.statusLabel.text and len(shown) == 3
    assert pythonqt.slot_errors == []


def test_table_and_chart_are_shown_in_a_layout_that_has_one(scene, monkeypatch):
    from GANSynthesisLib.mrml.layouts import show_chart, show_table

    class Layouts:
        layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView

        def setLayout(self, layout):
            self.layout = layout

    layouts = Layouts()
    monkeypatch.setattr(type(slicer.app), "layoutManager", lambda self: layouts)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "numbers")
    show_table(table)
    assert layouts.layout == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "scatter")
    show_chart(chart)
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert (selection.GetActiveTableID(), selection.GetActivePlotChartID()) == (table.GetID(), chart.GetID())


def test_attributes_of_the_nodes_are_readable_text(scene):
    evaluation = Evaluation.of(add_image(3, "synthetic"), add_image(), "body")
    table = evaluation.write(evaluation.compare()).table
    assert json.loads(table.GetAttribute("GANSynthesis.Settings")) == {"mask": "body"}
    assert "data range" in read_provenance(table)["Warnings"][0]
