"""Results of a 4D input, item by item -> sequence nodes that play in step with the input."""

import slicer

from GANSynthesisLib.mrml.contents import GRID_TRANSFORM, fill_segmentation, fill_transform, fill_volume
from GANSynthesisLib.mrml.outputs import (
    LINEAR_TRANSFORM,
    SEGMENTATION,
    SEQUENCE,
    VOLUME,
    add_node,
    place_beside,
    show_volume,
    whole_or_nothing,
)
from GANSynthesisLib.volumes import Grid, Volume


def results_to_sequence(
    values: list,
    source,
    node=None,
    *,
    name: str,
    labels: bool = False,
    grid: Grid | None = None,
    intensity: dict | None = None,
    anatomy: str = "",
    contents: list | None = None,
    scene=None,
):
    """`node`, or a new sequence node, with one node per item of the sequence `source`.

    values: volumes (label volumes if `labels`: segmentations) or spatial transforms (sampled on `grid`, see
    `outputs.transform_to_node`). contents: of `contents.content_of`, where they have been made already. Index values,
    their name and unit are those of `source`. The sequence joins the browser that plays `source`, so that both stay in
    step; where there is none, it gets a browser of its own. Items that a given node had before are replaced.
    """
    scene = scene or slicer.mrmlScene
    with whole_or_nothing(scene):
        result = node or add_node(SEQUENCE, _storable(name), scene)
        class_name = class_of(values, labels)
        _fill(result, values, contents or [None] * len(values), source, class_name, grid)
        browser = _browser(result, source, scene)
        logic = slicer.modules.sequences.logic()
        if not browser.IsSynchronizedSequenceNode(result, True):
            proxy = scene.AddNewNodeByClass(class_name, result.GetName())
            browser.AddProxyNode(proxy, result, False)
            logic.UpdateProxyNodesFromSequences(browser)
            if proxy.GetDisplayNode() is None:
                proxy.CreateDefaultDisplayNodes()
            if class_name == VOLUME:
                show_volume(proxy, values[0], intensity or {}, anatomy)
            place_beside(proxy, source)
        logic.UpdateProxyNodesFromSequences(browser)
        if node is None:
            place_beside(result, source)
    return result


def sequence_nodes(sequence) -> list:
    """The sequence, its items, and the nodes of the scene that show its current item."""
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode")
    shown = [
        browser.GetProxyNode(sequence) for browser in browsers if browser.IsSynchronizedSequenceNode(sequence, True)
    ]
    items = [sequence.GetNthDataNode(item) for item in range(sequence.GetNumberOfDataNodes())]
    return [sequence, *items, *(proxy for proxy in shown if proxy is not None)]


def _storable(name: str) -> str:
    """The name with round brackets for square ones.

    Slicer saves a sequence of segmentations as an archive named after the node, and writes an empty one where square
    brackets are in the name (it takes them for a file pattern).
    """
    return name.replace("[", "(").replace("]", ")")


def class_of(values: list, labels: bool = False) -> str:
    """Class of the nodes that hold these values."""
    if isinstance(values[0], Volume):
        return SEGMENTATION if labels else VOLUME
    return LINEAR_TRANSFORM if all(value.displacement is None for value in values) else GRID_TRANSFORM


def _fill(sequence, values: list, contents: list, source, class_name: str, grid: Grid | None) -> None:
    sequence.RemoveAllDataNodes()
    sequence.SetIndexName(source.GetIndexName())
    sequence.SetIndexUnit(source.GetIndexUnit())
    sequence.SetIndexType(source.GetIndexType())
    for item, (value, content) in enumerate(zip(values, contents, strict=True)):
        data = getattr(slicer, class_name)()
        data.SetName(sequence.GetName())
        if class_name == VOLUME:
            fill_volume(data, value, content)
        elif class_name == SEGMENTATION:
            fill_segmentation(data, value, content)
        else:
            fill_transform(data, value, grid, content)
        sequence.SetDataNodeAtValue(data, source.GetNthIndexValue(item))


def _browser(sequence, source, scene):
    """Browser of the sequence itself, else that of its source, else a new one."""
    logic = slicer.modules.sequences.logic()
    found = [logic.GetFirstBrowserNodeForSequenceNode(each) for each in (sequence, source)]
    return found[0] or found[1] or add_node("vtkMRMLSequenceBrowserNode", f"{sequence.GetName()} browser", scene)
