"""The work of the demonstration, in one scene: synthesis, segmentation, registration, through `GANSynthesisLogic`."""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk

from Demo.displacement import KnownDisplacement, known_displacement, moving_grid
from Demo.images import Brain
from Demo.measures import Checks, content_shift_voxels, edges, error_mm, medians, offset_voxels, sample_points
from GANSynthesisLib.evaluation.metrics import dice
from GANSynthesisLib.models import load_model
from GANSynthesisLib.mrml import read_provenance, volume_from_node, volume_to_node
from GANSynthesisLib.mrml.outputs import show_like
from GANSynthesisLib.volumes import Grid, Volume

SYNTHESIS, SEGMENTATION, REGISTRATION = "brain-t1-to-t2", "brain-t2-tissue", "brain-registration"
POINTS = 20000  # of the brain, where the registration error is measured
LEAST_DICE = 0.6
SHORT = {"cerebrospinal fluid": "CSF"}  # as the picture has it
MOST_FOLDING = 0.001

Say = Callable[[str], None]


@dataclass
class Session:
    """A scene with its inputs and outputs, and what was measured on them.

    nodes: "t1", "synthetic", "tissue", "moving", "transform", "warped". seconds: step -> wall time.
    """

    logic: object
    brain: Brain
    say: Say
    nodes: dict = field(default_factory=dict)
    checks: Checks = field(default_factory=Checks)
    numbers: dict = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    models: dict = field(default_factory=dict)
    displacement: KnownDisplacement | None = None

    def load(self) -> None:
        """The T1-weighted average brain into the scene."""
        self.models = {name: load_model(name) for name in (SYNTHESIS, SEGMENTATION, REGISTRATION)}
        with self._timed("load"):
            self.nodes["t1"] = volume_to_node(self.brain.t1)
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
            folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "GANSynthesis demonstration")
            hierarchy.CreateItem(folder, self.nodes["t1"])  # outputs are placed beside their input

    def synthesize(self) -> None:
        """T1 -> synthetic T2; on T2 fluid is brighter than gray matter, and gray brighter than white."""
        with self._timed("synthesize"), self._only("synthetic"):
            self.nodes["synthetic"] = self.logic.synthesize(
                self.nodes["t1"], self.models[SYNTHESIS], progress=self._progress()
            )
        synthetic = self.volume("synthetic")
        self._check_output("synthetic", SYNTHESIS)
        self._check_place("synthetic", synthetic.grid, self.brain.t1.grid)
        self._check_content("synthetic", edges(synthetic.voxels), edges(self.brain.t1.voxels))
        found = medians(synthetic.voxels, self.brain.cores())
        fluid, gray, white = (found[name] for name in ("CSF", "gray matter", "white matter"))
        self.numbers["synthesis"] = {"median_intensity": _rounded(found)}
        self.checks.add(
            "synthetic T2: contrast of a T2", fluid > gray > white,
            " > ".join(f"{name} {value:.0f}" for name, value in found.items()), "CSF > gray matter > white matter",
        )

    def segment(self) -> None:
        """Synthetic T2 -> tissue, held against the probability maps, which no model was trained on."""
        with self._timed("segment"), self._only("tissue"):
            self.nodes["tissue"] = self.logic.segment(
                self.nodes["synthetic"], self.models[SEGMENTATION], progress=self._progress()
            )
        found = self.segments()
        self._check_output("tissue", SEGMENTATION)
        self._check_place("tissue", reference_grid(self.nodes["tissue"]), self.brain.t1.grid)
        known = {name: mask for name, mask in self.brain.tissues().items() if name in found}
        overlaps = {name: dice(found[name], mask)[1] for name, mask in known.items()}
        # All tissues together: how well they are told apart is what Dice is for.
        brain = np.any(list(found.values()), axis=0)
        self._check_content("tissue", brain.astype(np.float32), (self.brain.t1.voxels > 0).astype(np.float32))
        self.numbers["segmentation"] = {
            "dice": _rounded(overlaps, 4), "reference": "gray and white matter probability maps above 0.5",
        }
        for name in self.brain.tissues():
            value = round(overlaps.get(name, 0.0), 3)
            self.checks.add(f"tissue: Dice of {name}", value >= LEAST_DICE, value, f"at least {LEAST_DICE}")

    def register(self) -> None:
        """The synthetic T2, displaced in a known way and on another grid, back onto the T1."""
        fixed = self.brain.t1.grid
        self.displacement = known_displacement(fixed)
        moving = self.displacement.displaced(self.volume("synthetic"), moving_grid(fixed))
        moving = moving.with_voxels(moving.voxels, name="Displaced T2")
        self.nodes["moving"] = volume_to_node(moving, like=self.nodes["t1"])
        show_like(self.nodes["moving"], self.nodes["synthetic"])
        with self._timed("register"), self._only("transform", "warped"):
            self.nodes["transform"], self.nodes["warped"] = self.logic.register(
                self.nodes["t1"], self.nodes["moving"], self.models[REGISTRATION], progress=self._progress()
            )
        self._check_output("transform", REGISTRATION)
        self._check_output("warped", REGISTRATION)
        self._check_place("warped", self.volume("warped").grid, fixed)
        self._check_unchanged({"t1": self.brain.t1, "moving": moving})
        points = self.brain_points()
        truth = self.displacement.moving_points(points)
        before, after = error_mm(points, truth), error_mm(mapped(self.nodes["transform"], points), truth)
        quality = read_provenance(self.nodes["transform"]).get("Quality", {})
        folding = quality.get("folding_fraction", 0.0)
        self.numbers["registration"] = {
            "error_before_mm": _rounded(before), "error_after_mm": _rounded(after), "points": len(points), **quality,
        }
        self.checks.add(
            "registration: mean error", after["mean"] <= before["mean"] / 2,
            f"{after['mean']:.2f} mm, {before['mean']:.2f} mm before", "at most half of that before",
        )
        self.checks.add(
            "registration: folding", folding <= MOST_FOLDING, round(folding, 5), f"at most {MOST_FOLDING} of the grid"
        )

    def volume(self, name: str) -> Volume:
        """The volume of a node of the session."""
        return volume_from_node(self.nodes[name])

    def segments(self) -> dict[str, np.ndarray]:
        """Segment name -> (K, J, I) bool on the grid of the T1, as the scene has it."""
        node, segmentation = self.nodes["tissue"], self.nodes["tissue"].GetSegmentation()
        found = {}
        for segment_id in segmentation.GetSegmentIDs():
            array = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, self.nodes["t1"])
            name = segmentation.GetSegment(segment_id).GetName()
            found[SHORT.get(name, name)] = array > 0
        return found

    def brain_points(self) -> np.ndarray:
        """(N, 3) points of gray and white matter in RAS mm."""
        return sample_points(self.brain.t1.grid, self.brain.gray + self.brain.white > 0.5, POINTS)

    @contextmanager
    def _timed(self, step: str):
        started = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - started, 2)
        self.say(f"      done in {self.seconds[step]:.1f} s")

    @contextmanager
    def _only(self, *names: str):
        """Check that the block adds the nodes of these names to the scene, and no others."""
        before = node_ids()
        yield
        wanted = {self.nodes[name].GetID() for name in names}
        extra = sorted(each for each in node_ids() - before - wanted if not belongs_to_output(each))
        title = f"{' and '.join(names)}: nothing else in the scene"
        self.checks.add(title, not extra, extra or "none", "no other node")

    def _check_output(self, name: str, model: str) -> None:
        found = read_provenance(self.nodes[name])
        complete = found.get("Model") == model and found.get("ModelHash") == self.models[model].sha256
        needed = ("Task", "Inputs", "InputHashes", "Settings", "Version", "Date", "Synthetic", "Notice")
        missing = [each for each in needed if each not in found]
        self.checks.add(f"{name}: provenance", complete and not missing, missing or "complete", "on the node")

    def _check_unchanged(self, inputs: dict[str, Volume]) -> None:
        changed = [
            name for name, before in inputs.items()
            if self.nodes[name].GetParentTransformNode() or not self.volume(name).grid.same_as(before.grid)
            or not np.array_equal(self.volume(name).voxels, before.voxels)
        ]  # fmt: skip
        self.checks.add("inputs: as they were", not changed, changed or "unchanged", "same voxels in the same place")

    def _check_place(self, name: str, grid, reference) -> None:
        offset = offset_voxels(grid, reference)
        self.numbers.setdefault("geometry", {})[name] = {
            "shape_ijk": list(grid.shape[::-1]), "ijk_to_ras": grid.ijk_to_ras.round(6).tolist(),
            "offset_voxels": round(offset, 6),
        }
        self.checks.add(
            f"{name}: on the grid of the input", offset < 1e-3, f"{offset:.6f} voxel", "same shape and matrix"
        )

    def _check_content(self, name: str, found: np.ndarray, reference: np.ndarray, part: str = "") -> None:
        shift = content_shift_voxels(found, reference)
        self.numbers["geometry"][name][f"shift_voxels{part.replace(' ', '_')}"] = round(shift, 4)
        self.checks.add(f"{name}{part}: in its place", shift < 0.5, f"{shift:.3f} voxel", "below 0.5 voxel")

    def _progress(self):
        """Progress in plain lines, one for each quarter of the work."""
        shown = [0]

        def show(fraction: float, text: str) -> None:
            quarter = int(4 * fraction)
            if shown[0] < quarter < 4:
                shown[0] = quarter
                self.say(f"      {25 * quarter} %: {text}")

        return show


def node_ids() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def belongs_to_output(node_id: str) -> bool:
    """Display and storage nodes are parts of the node that they are for."""
    return "DisplayNode" in node_id or "StorageNode" in node_id


def reference_grid(node):
    """Grid of a segmentation node's label map, world coordinates."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(node.GetSegmentation().GetNthSegmentID(0), image)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return Grid(image.GetDimensions()[::-1], slicer.util.arrayFromVTKMatrix(matrix))


def mapped(transform_node, points: np.ndarray) -> np.ndarray:
    """(N, 3) fixed points -> moving points, RAS mm, by what the scene's transform node holds."""
    content = transform_node.GetTransformFromParent()
    return np.array([content.TransformPoint(point) for point in points.tolist()])


def _rounded(values: dict[str, float], digits: int = 3) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}
