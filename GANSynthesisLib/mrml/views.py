"""Puts results in front of the user: the slice views, where there are any."""

import slicer


def show_results(made: list, inputs: dict) -> None:
    """Show new nodes: an aligned volume half-transparent over the fixed one, another new volume alone, a segmentation
    over the volume that it is of.

    made: the nodes of one run. inputs: role -> node.
    """
    volumes = [node for node in made if node.IsA("vtkMRMLScalarVolumeNode")]
    if "fixed" in inputs and volumes:
        slicer.util.setSliceViewerLayers(background=inputs["fixed"], foreground=volumes[0], foregroundOpacity=0.5)
    elif volumes or inputs:
        shown = volumes[0] if volumes else next(iter(inputs.values()))
        slicer.util.setSliceViewerLayers(background=shown, foreground=None, fit=not inputs)
