"""The folder that the demonstration writes, with scene, outputs and report: it appears whole, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer

from Demo.measures import offset_voxels
from Demo.session import Session, mapped
from GANSynthesisLib.files import read_volume
from GANSynthesisLib.mrml import read_provenance, volume_from_node
from GANSynthesisLib.transforms import read_transform
from SlicerHost.scene import start_scene

FILES = {
    "moving": ("displaced_t2.nrrd", "vtkMRMLNRRDStorageNode"),
    "synthetic": ("synthetic_t2.nrrd", "vtkMRMLNRRDStorageNode"),
    "tissue": ("tissue.seg.nrrd", "vtkMRMLSegmentationStorageNode"),
    "transform": ("registration.h5", "vtkMRMLTransformStorageNode"),
    "warped": ("warped.nrrd", "vtkMRMLNRRDStorageNode"),
}
SCENE, REPORT, OVERVIEW = "scene.mrb", "report.json", "overview.png"


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `folder` when the block ends well.

    Raises FileExistsError, before any work, where `folder` holds something that is no demonstration.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / REPORT).is_file():
        raise FileExistsError(f"{folder} holds other files, which are not replaced: choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir()
        yield new
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_outputs(session: Session, folder: Path) -> None:
    """The output nodes, and the moving one, as files, written by the storage nodes that Slicer itself saves with."""
    for name, (file, storage_class) in FILES.items():
        storage = getattr(slicer, storage_class)()
        storage.SetScene(slicer.mrmlScene)
        storage.SetFileName(str(folder / file))
        storage.SetUseCompression(True)
        if not storage.WriteData(session.nodes[name]):
            raise OSError(f"{folder / file} cannot be written: check the folder and its free space.")


def write_scene(session: Session, folder: Path) -> None:
    """The scene as a bundle, with slice views that show the result when it is opened."""
    show_in_slice_views(session)
    if not slicer.mrmlScene.WriteToMRB(str(folder / SCENE)):
        raise OSError(f"{folder / SCENE} cannot be written: check the folder and its free space.")


def show_in_slice_views(session: Session) -> None:
    """Slice views that show the aligned volume half-transparent over the T1, with outlines of the tissues."""
    for name in ("Red", "Green", "Yellow"):
        view = slicer.vtkMRMLSliceCompositeNode()
        view.SetSingletonTag(name)
        view.SetLayoutName(name)
        view.SetBackgroundVolumeID(session.nodes["t1"].GetID())
        view.SetForegroundVolumeID(session.nodes["warped"].GetID())
        view.SetForegroundOpacity(0.5)
        slicer.mrmlScene.AddNode(view)
    display = session.nodes["tissue"].GetDisplayNode()
    display.SetOpacity2DFill(0.15)
    display.SetOpacity2DOutline(1.0)


def check_files(session: Session, folder: Path) -> None:
    """Read every file again, without Slicer, and compare it with the scene."""
    fixed, checks = session.brain.t1.grid, session.checks
    for name in ("synthetic", "tissue", "warped"):
        file, _ = FILES[name]
        offset = offset_voxels(read_volume(folder / file).grid, fixed)
        checks.add(f"{file}: on the grid of the input", offset < 0.01, f"{offset:.6f} voxel", "same shape and matrix")
    transform, moving, warped = (folder / FILES[name][0] for name in ("transform", "moving", "warped"))
    points = session.brain_points()[:2000]
    scene, read = mapped(session.nodes["transform"], points), read_transform(transform).points(points)
    worst = float(np.abs(scene - read).max())
    checks.add(f"{transform.name}: the scene's transform", worst < 0.01, f"{worst:.5f} mm apart", "below 0.01 mm")
    difference = _warped_again(moving, transform, warped)
    checks.add(
        f"{transform.name}: SimpleITK warps likewise", difference < 0.01,
        f"{100 * difference:.3f} % of the range apart", "below 1 % on average",
    )


def _warped_again(moving: Path, transform: Path, warped: Path) -> float:
    """Mean difference, as a fraction of the range, between a warped volume and what SimpleITK makes of the files.

    Measured where the warped volume is not at its lowest value.
    """
    image, expected = (sitk.ReadImage(str(path), sitk.sitkFloat32) for path in (moving, warped))
    lowest = float(sitk.GetArrayViewFromImage(image).min())
    again = sitk.Resample(image, expected, sitk.ReadTransform(str(transform)), sitk.sitkLinear, lowest)
    values = sitk.GetArrayFromImage(expected)
    difference = np.abs(sitk.GetArrayFromImage(again) - values)[values > values.min()]
    return float(difference.mean() / np.ptp(values))


def check_scene(session: Session, folder: Path) -> None:
    """Open the bundle in another scene, which becomes Slicer's, and look for every node, in place, with provenance."""
    scene = start_scene()
    opened = scene.ReadFromMRB(str(folder / SCENE))
    lost = []
    for name, node in session.nodes.items():
        again = scene.GetFirstNodeByName(node.GetName()) if opened else None
        if again is None or read_provenance(again) != read_provenance(node):
            lost.append(name)
        elif again.IsA("vtkMRMLVolumeNode"):
            # Slicer's reader makes left-handed volumes right-handed: the same voxels, stored in another order.
            grids = [volume_from_node(each).grid.canonical() for each in (again, node)]
            if not grids[0].same_as(grids[1], tolerance=0.01):
                lost.append(name)
    session.checks.add(f"{SCENE}: opens again, complete", not lost, lost or "all nodes", "every node with provenance")
