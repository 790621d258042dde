"""A MRML scene with its module logics, from `slicer-core` alone: for tests and for the demonstration, outside Slicer.

from SlicerHost.scene import start_scene
scene = start_scene()
import slicer                                   # slicer.mrmlScene and slicer.modules.<name>.logic() are there now
"""

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import slicer
import slicer.util  # noqa: F401 - Slicer itself has it loaded from the start

# Window and level in HU of the presets of Slicer's module Volumes that CT outputs use.
_CT_PRESETS = {
    "CT_BONE": (1000, 400),
    "CT_BRAIN": (100, 50),
    "CT_ABDOMEN": (350, 40),
    "CT_LUNG": (1400, -500),
}

_share_folder = None


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
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(_share()))
    files = slicer.vtkDataIOManager()
    files.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(files)  # reading a scene bundle asks it for a folder to unpack in
    slicer.mrmlScene = scene
    slicer.applicationLogic = application
    if not hasattr(slicer, "modules"):
        slicer.modules = SimpleNamespace()
    for name, logic in {"Colors": colors, **_logics()}.items():
        if name == "Volumes":
            logic.SetModuleShareDirectory(str(_share()))
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


def _logics() -> dict:
    return {
        "Volumes": slicer.vtkSlicerVolumesLogic(),
        "Terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
        "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
        "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
        "Transforms": slicer.vtkSlicerTransformLogic(),
        "Markups": slicer.vtkSlicerMarkupsLogic(),
        "Plots": slicer.vtkSlicerPlotsLogic(),
        "Tables": slicer.vtkSlicerTablesLogic(),
        "Sequences": slicer.vtkSlicerSequencesLogic(),
    }


def _share() -> Path:
    """Folder of the resources that Slicer installs with its modules; here, the display presets; and the cache. It
    lasts as long as Python."""
    global _share_folder
    if _share_folder is None:
        _share_folder = tempfile.TemporaryDirectory(prefix="SlicerHost-")
        presets = [
            {
                "id": name,
                "name": name.replace("_", "-"),
                "window": window,
                "level": level,
                "color": "vtkMRMLColorTableNodeGrey",
            }
            for name, (window, level) in _CT_PRESETS.items()
        ]
        content = {
            "@schema": "https://raw.githubusercontent.com/Slicer/Slicer/main/Modules/Loadable/Volumes/Resources/Schema/"
            "volumes-display-presets-schema-v1.0.1.json#",
            "volumeDisplayPresets": presets,
        }
        (Path(_share_folder.name) / "VolumeDisplayPresets.json").write_text(json.dumps(content))
        (Path(_share_folder.name) / ".slicer-cache").touch()  # marks it as the scene's cache folder too
    return Path(_share_folder.name)
