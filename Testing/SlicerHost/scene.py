"""A MRML scene with its module logics, from `slicer-core` alone: for tests and the demonstration, outside Slicer."""

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
    """New empty `vtkMRMLScene`, from now on `slicer.mrmlScene`; as in Slicer, `slicer.modules.volumes.logic()` and its
    like answer. What other stand-ins have put into `slicer.modules` stays."""
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
    # In Slicer, plugins of the subject hierarchy see to it that a closed scene leaves no items behind.
    scene.AddObserver(scene.EndCloseEvent, lambda closed, _event: closed and closed.GetSubjectHierarchyNode()
                      .RemoveAllItems(True))
    return scene
