"""A MRML scene with its module logics, from `slicer-core` alone: for tests and for the demonstration, outside Slicer.

from SlicerHost.scene import start_scene
scene = start_scene()
import slicer                                   # slicer.mrmlScene and slicer.modules.<name>.logic() are there now
"""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import slicer
import slicer.util  # noqa: F401 - Slicer itself has it loaded from the start

# What scenes unpack and download into: a folder that lasts as long as Python, with the file that marks it as such.
_CACHE = tempfile.TemporaryDirectory(prefix="SlicerHost-")
(Path(_CACHE.name) / ".slicer-cache").touch()

_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Sequences": "vtkSlicerSequencesLogic",
}


def start_scene():
    """New empty `vtkMRMLScene`, made `slicer.mrmlScene`, with the logics of the core modules in `slicer.modules`.

    As in Slicer, `slicer.modules.volumes.logic()` answers, and likewise colors, markups, plots, segmentations,
    sequences, subjecthierarchy, tables, terminologies and transforms; `slicer.applicationLogic` is the application's.
    What other stand-ins have put into `slicer.modules` stays. Calling it again starts over with another scene.
    """
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    colors = application.GetColorLogic()
    colors.SetMRMLApplicationLogic(application)
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    cached, files = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cached.SetRemoteCacheDirectory(_CACHE.name)
    files.SetCacheManager(cached)
    scene.SetCacheManager(cached)
    scene.SetDataIOManager(files)  # reading a scene bundle asks it for a folder to unpack in
    slicer.mrmlScene, slicer.applicationLogic = scene, application
    for name, logic in {"Colors": colors, **{name: getattr(slicer, each)() for name, each in _LOGICS.items()}}.items():
        if name == "Volumes":
            logic.SetModuleShareDirectory(str(Path(__file__).parent))  # for VolumeDisplayPresets.json
        if name != "Terminologies":  # it would look for term lists, which slicer-core lacks; its codecs work without
            logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), SimpleNamespace(name=name, logic=lambda logic=logic: logic))
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    scene.AddObserver(scene.EndCloseEvent, _remove_items)
    return scene


def _remove_items(scene, _event) -> None:
    """A closed scene leaves no items behind; in Slicer the plugins of the subject hierarchy see to that."""
    if scene is not None:  # it is gone already where Python itself has dropped it
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene).RemoveAllItems(True)
