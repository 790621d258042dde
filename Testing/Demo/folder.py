"""The folder that the demonstration writes: scene, outputs and report; it appears whole, and replaces the one before."""

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
from GANSynthesisLib.volumes import Volume
from SlicerHost.scene import start_scene

FILES = {
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
    """The output nodes as files, written by the storage nodes that Slicer itself saves with."""
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
    file, _ = FILES["transform"]
    points = session.brain_points()[:2000]
    scene, read = mapped(session.nodes["transform"], points), read_transform(folder / file).points(points)
    worst = float(np.abs(scene - read).max())
    checks.add(f"{file}: the scene's transform", worst < 0.01, f"{worst:.5f} mm apart", "below 0.01 mm")
    difference = _warped_again(session, folder / file)
    checks.add(
        f"{file}: SimpleITK warps likewise", difference < 0.01, f"{100 * difference:.3f} % of the range apart",
        "below 1 % on average",
    )


def _warped_again(session: Session, path: Path) -> float:
    """Mean difference, as a fraction of the range, between warped.nrrd and SimpleITK's resampling with the transform."""
    warped, moving = session.volume("warped"), session.volume("moving")
    fill = float(moving.voxels.min())
    again = sitk.Resample(_image(moving), _image(warped), sitk.ReadTransform(str(path)), sitk.sitkLinear, fill)
    inside = session.brain.mask
    difference = np.abs(sitk.GetArrayFromImage(again) - warped.voxels)[inside]
    return float(difference.mean() / np.ptp(warped.voxels[inside]))


def _image(volume: Volume) -> sitk.Image:
    image, grid = sitk.GetImageFromArray(np.asarray(volume.voxels, np.float32)), volume.grid
    turn = np.array([-1.0, -1.0, 1.0])  # RAS to LPS
    image.SetSpacing(grid.spacing)
    image.SetOrigin((grid.ijk_to_ras[:3, 3] * turn).tolist())
    image.SetDirection((grid.directions * turn[:, None]).ravel().tolist())
    return image


def check_scene(session: Session, folder: Path) -> None:
    """Open the bundle in another scene, and look for every node, where it was and with its provenance."""
    first = slicer.mrmlScene
    scene = start_scene()
    slicer.mrmlScene = first
    opened = scene.ReadFromMRB(str(folder / SCENE))
    lost = []
    for name, node in session.nodes.items():
        again = scene.GetFirstNodeByName(node.GetName()) if opened else None
        if again is None or read_provenance(again) != read_provenance(node):
            lost.append(name)
        elif again.IsA("vtkMRMLVolumeNode") and volume_from_node(again).grid.shape != session.volume(name).grid.shape:
            lost.append(name)
        elif again.IsA("vtkMRMLVolumeNode"):
            if not volume_from_node(again).grid.same_as(session.volume(name).grid):
                lost.append(name)
    session.checks.add(f"{SCENE}: opens again, complete", not lost, lost or "all nodes", "every node with provenance")
