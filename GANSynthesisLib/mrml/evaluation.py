"""Evaluation in the scene: result, reference, mask and landmark nodes -> numbers -> table, plots and error map."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import numpy as np
import slicer

from GANSynthesisLib import __version__
from GANSynthesisLib.evaluation.comparison import BOX, compare
from GANSynthesisLib.evaluation.measures import Comparison, Measure
from GANSynthesisLib.mrml.contents import content_of
from GANSynthesisLib.mrml.inputs import reading_volume
from GANSynthesisLib.mrml.labels import has_labels, reading_labels
from GANSynthesisLib.mrml.landmarks import LandmarkErrors, check_landmarks, landmark_errors
from GANSynthesisLib.mrml.outputs import add_node, volume_to_node, whole_or_nothing
from GANSynthesisLib.mrml.plots import (
    BLUE,
    GRAY,
    ORANGE,
    TABLE,
    Chart,
    Series,
    bar_chart,
    box_chart,
    chart_to_nodes,
    difference_colors,
    fill_table,
)
from GANSynthesisLib.progress import never, silent
from GANSynthesisLib.steps import ALONE, run_through
from GANSynthesisLib.volumes import Volume, VolumeError


@dataclass(frozen=True)
class Written:
    """The nodes of an evaluation: the table, charts in the order in which one looks at them, the error map; None where
    not made."""

    table: object = None
    charts: tuple = ()
    error_map: object = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What is compared. Make it with `Evaluation.of`, which raises before any work when something does not fit.

    nodes: role -> node. body: whether images are compared only where the reference shows something. landmarks: their
    errors, or None. Voxels stay in the nodes until they are read.
    """

    nodes: dict
    body: bool = False
    landmarks: LandmarkErrors | None = None

    @staticmethod
    def of(
        result=None, reference=None, mask=None, *, fixed_landmarks=None, moving_landmarks=None, transform=None
    ):
        """Evaluation of two volumes, or of two segmentations or label maps; of landmarks; or of both.

        mask: segmentation or label map node, in which images are compared; "body", where the reference shows
        something; None, everywhere. transform: of the registration that is to bring the moving landmarks to the fixed
        ones. Raises VolumeError where nodes do not go together; what is wrong with voxels is found when they are read.
        """
        nodes = {"result": result, "reference": reference, "mask": None if isinstance(mask, str) else mask,
                 "fixed landmarks": fixed_landmarks, "moving landmarks": moving_landmarks,
                 "transform": transform if fixed_landmarks else None}
        nodes = {role: node for role, node in nodes.items() if node is not None}
        marks = None
        if fixed_landmarks is not None or moving_landmarks is not None:
            check_landmarks(fixed_landmarks, moving_landmarks)
            # Without a transform node: the identity, which is in no scene.
            identity = slicer.vtkMRMLLinearTransformNode()
            marks = landmark_errors(fixed_landmarks, moving_landmarks, transform or identity)
        if marks is not None and result is None and reference is None:
            return Evaluation(nodes, landmarks=marks)
        _check_pair(result, reference, mask)
        return Evaluation(nodes, mask == "body", marks)

    @property
    def has_images(self) -> bool:
        """Whether there is anything beside landmarks to compare."""
        return "result" in self.nodes

    def reading(self, role: str) -> Generator[None, None, Volume | list[Volume] | str | None]:
        """In steps, what `compare` takes for `result`, `reference` or `mask`, copied from its node: a volume, layers
        of a segmentation, "body" or None. Raises VolumeError naming a node that cannot be used."""
        if role not in self.nodes:
            return "body" if role == "mask" and self.body else None
        reading = reading_labels if has_labels(self.nodes[role]) else reading_volume
        return (yield from reading(self.nodes[role], role=role))

    @property
    def name(self) -> str:
        if self.has_images:
            return f"{self.nodes['result'].GetName()} against {self.nodes['reference'].GetName()}"
        return f"{self.nodes['moving landmarks'].GetName()} against {self.nodes['fixed landmarks'].GetName()}"

    def compare(self, progress=None, cancelled=None) -> Comparison | None:
        """The numbers, worked out here and now; None where there are only landmarks."""
        if not self.has_images:
            return None
        volumes = [run_through(self.reading(role)) for role in ("result", "reference", "mask")]
        return compare(*volumes, progress=progress or silent, cancelled=cancelled or never)

    def measures(self, comparison: Comparison | None) -> tuple[Measure, ...]:
        """All numbers in the order of the table: those of the comparison, then those of the landmarks."""
        measures = comparison.measures if comparison else ()
        return measures if self.landmarks is None else (*measures, *self._landmark_measures())

    def _landmark_measures(self) -> list[Measure]:
        marks, measures = self.landmarks, []
        if "transform" in self.nodes:
            measures.append(Measure("landmark error before", float(marks.before.mean()), "mm", "mean"))
        measures += [Measure("landmark error", float(marks.after.mean()), "mm", "mean"),
                     Measure("landmark error", float(marks.after.max()), "mm", "largest")]
        return measures + [Measure("landmark error", float(error), "mm", name)
                           for name, error in zip(marks.names, marks.after, strict=True)]

    def write(self, comparison: Comparison | None, *, table=True, plots=True, error_map=True, scene=None) -> Written:
        """New nodes in a subject-hierarchy folder beside the result; none is left when something fails.

        table, plots, error_map: what to make. Every node carries where it comes from as attributes `GANSynthesis.*`.
        """
        return run_through(self.writing(comparison, table=table, plots=plots, error_map=error_map, scene=scene))

    def writing(
        self, comparison: Comparison | None, *, table=True, plots=True, error_map=True, scene=None
    ) -> Generator[str, None, Written]:
        """The same in steps, one for each table, chart and volume; none is left where it is given up between two."""
        scene, made, attributes = scene or slicer.mrmlScene, [], self._attributes(comparison)
        mapped = comparison.error_map if comparison is not None and error_map else None
        voxels = None if mapped is None else (yield from content_of(mapped))
        try:
            with _folder(self.name, self._beside(), scene) as put:
                for kind, make in self._parts(comparison, table, plots, voxels):
                    with whole_or_nothing(scene):
                        made.append((kind, [put(node) for node in make(scene)]))
                        _describe(made[-1][1][0], attributes, comparison)
                    yield ALONE
        except BaseException:
            for node in (node for _kind, nodes in made for node in nodes if node.GetScene() is scene):
                scene.RemoveNode(node)
            raise
        first = {wanted: [nodes[0] for kind, nodes in made if kind == wanted] for wanted in ("table", "chart", "map")}
        return Written(next(iter(first["table"]), None), tuple(first["chart"]), next(iter(first["map"]), None))

    def _parts(self, comparison: Comparison | None, table: bool, plots: bool, voxels):
        """(kind, function of the scene that gives a node and those that it needs) for all that is to be made.

        voxels: of the error map, as `content_of` gives them; None for no such map.
        """
        if table:
            yield "table", lambda scene: [self._table_to_node(comparison, scene)]
        for chart in self._charts(comparison) if plots else ():
            yield "chart", lambda scene, chart=chart: chart_to_nodes(chart, scene)
        if voxels is not None:
            yield "map", lambda scene: [_error_map_to_node(comparison, scene, voxels)]

    def _table_to_node(self, comparison: Comparison | None, scene):
        node = add_node(TABLE, self.name, scene)
        fill_table(node, self._columns(comparison))
        return node

    def _beside(self):
        return self.nodes["result"] if self.has_images else self.nodes["moving landmarks"]

    def _columns(self, comparison: Comparison | None) -> dict:
        measures = self.measures(comparison)
        return {
            "metric": [each.name for each in measures],
            "structure": [each.structure for each in measures],
            "value": [float(f"{each.value:.6g}") for each in measures],
            "unit": [each.unit for each in measures],
        }

    def _charts(self, comparison: Comparison | None) -> list[Chart]:
        charts = []
        if comparison is not None and comparison.kind == "images":
            unit = next((f" ({each.unit})" for each in comparison.measures if each.name == "MAE" and each.unit), "")
            charts += [self._scatter(comparison, unit), self._slices(comparison, unit),
                       box_chart("Errors", f"absolute error{unit}", comparison.boxes)]
        elif comparison is not None:
            for name, title in (("Dice", "Dice"), ("HD95", "HD95 (mm)")):
                values = {each.structure: each.value for each in comparison.measures if each.name == name}
                charts.append(bar_chart(name, title, values))
        if self.landmarks is not None:
            sides = {"before": self.landmarks.before} if "transform" in self.nodes else {}
            sides["after" if sides else "landmarks"] = self.landmarks.after
            boxes = {name: tuple(np.percentile(errors, BOX)) for name, errors in sides.items()}
            charts.append(box_chart("Landmarks", "error (mm)", boxes))
        return [replace(chart, title=f"{chart.title}: {self.name}") for chart in charts if chart.columns]

    def _scatter(self, comparison: Comparison, unit: str) -> Chart:
        columns = {"reference": comparison.points[:, 0], "result": comparison.points[:, 1]}
        names = [f"{self.nodes[role].GetName()}{unit}" for role in ("reference", "result")]
        series = (Series("voxels", "reference", "result", "points", BLUE),
                  Series("equal", "reference", "reference", "line", GRAY))
        return Chart("Scatter", *names, columns, series)

    def _slices(self, comparison: Comparison, unit: str) -> Chart:
        columns = {"slice": comparison.slices[:, 0], "MAE": comparison.slices[:, 1]}
        title = f"slice k of {self.nodes['reference'].GetName()}"
        return Chart("Slices", title, f"MAE{unit}", columns, (Series("MAE", "slice", "MAE", "line", ORANGE),))

    def _attributes(self, comparison: Comparison | None) -> dict[str, str]:
        inputs = {role: {"name": node.GetName(), "id": node.GetID()} for role, node in self.nodes.items()}
        settings = {"mask": "body"} if self.body else {}
        content = {
            "Task": "evaluate",
            "Inputs": json.dumps(inputs, ensure_ascii=False),
            "Settings": json.dumps(settings),
            "Warnings": json.dumps(list(comparison.remarks) if comparison else [], ensure_ascii=False),
            "Version": __version__,
            "Date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        return {f"GANSynthesis.{name}": value for name, value in content.items()}


def _describe(node, attributes: dict[str, str], comparison: Comparison | None) -> None:
    """Say on a node where it comes from."""
    with slicer.util.NodeModify(node):  # whoever shows nodes hears of it once
        for name, value in attributes.items():
            node.SetAttribute(name, value)
        node.SetDescription(" ".join(comparison.remarks if comparison else ()))


def _check_pair(result, reference, mask) -> None:
    """Raise VolumeError unless result and reference are two volumes or two segmentations, and the mask a mask."""
    for node, role in ((result, "result"), (reference, "reference")):
        if node is None:
            raise VolumeError(f"No {role} is chosen: choose a volume or a segmentation of the scene.")
    if result is reference:
        raise VolumeError(f"'{result.GetName()}' is both result and reference: choose two different ones.")
    if has_labels(result) != has_labels(reference):
        labels, image = (result, reference) if has_labels(result) else (reference, result)
        raise VolumeError(
            f"'{labels.GetName()}' holds labels and '{image.GetName()}' intensities: choose two volumes or two "
            "segmentations."
        )
    if isinstance(mask, str) and mask != "body":
        raise VolumeError(f"There is no mask called '{mask}': give a segmentation or label map, \"body\", or none.")
    if mask is not None and not isinstance(mask, str) and not has_labels(mask):
        raise VolumeError(f"'{mask.GetName()}' is no mask: choose a segmentation or a label map.")


def _error_map_to_node(comparison: Comparison, scene, voxels):
    """The error map in colors from blue (too low) over black to red (too high), its window symmetric."""
    reach = comparison.window or 1.0
    window = {"kind": "window", "lower": -reach, "upper": reach}
    # Without its unit: Slicer would show differences in Hounsfield units as it shows a CT.
    node = volume_to_node(replace(comparison.error_map, unit=""), intensity=window, scene=scene, content=voxels)
    node.GetDisplayNode().SetAndObserveColorNodeID(difference_colors(scene).GetID())
    return node


@contextmanager
def _folder(name: str, like, scene):
    """A new subject-hierarchy folder beside a node, gone again if the block fails; gives what puts nodes into it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    invalid = hierarchy.GetInvalidItemID()
    item = hierarchy.GetItemByDataNode(like) if like.GetScene() is scene else invalid
    parent = hierarchy.GetSceneItemID() if item == invalid else hierarchy.GetItemParent(item)
    folder = hierarchy.CreateFolderItem(parent, name)

    def put(node):
        own = hierarchy.GetItemByDataNode(node)
        if own == invalid:  # outside Slicer's GUI nothing makes items on its own
            hierarchy.CreateItem(folder, node)
        else:
            hierarchy.SetItemParent(own, folder)
        return node

    try:
        yield put
    except BaseException:
        hierarchy.RemoveItem(folder, False, True)
        raise
