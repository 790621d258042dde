"""The class of a volume of the scene, as a table: a row for each class, the most probable first."""

import slicer

from GANSynthesisLib.classes import Classification
from GANSynthesisLib.models import Model, ModelError, load_model
from GANSynthesisLib.mrml.inputs import is_sequence, volume_from_node
from GANSynthesisLib.mrml.outputs import add_node, check_output_node, place_beside, whole_or_nothing
from GANSynthesisLib.mrml.plots import TABLE, fill_table
from GANSynthesisLib.mrml.provenance import provenance, write_provenance
from GANSynthesisLib.volumes import VolumeError


def classify_node(volume_node, model, table_node=None, **options):
    """The table node with the class that a model (a name, a file or a `Model`) gives a volume node; its provenance is
    on it. options: of `inference.apply_model`. Raises ModelError or VolumeError before any work."""
    from GANSynthesisLib.inference import apply_model

    model = model if isinstance(model, Model) else load_model(model)
    if model.card.task != "classify":
        raise ModelError(f"Model '{model.card.name}' does not classify: choose one of the system classifier.")
    if is_sequence(volume_node):
        raise VolumeError(f"'{volume_node.GetName()}' is a sequence: choose the volume that is to be classified.")
    nodes = {"image": volume_node}
    check_output_node(table_node, (TABLE,), nodes)
    result = apply_model(model, {"image": volume_from_node(volume_node, role="image")}, **options)
    with whole_or_nothing(slicer.mrmlScene):
        table = classification_to_node(result.outputs["class"], table_node, like=volume_node)
        report = result.report
        write_provenance(table, provenance("classify", model, [report], report["warnings"], nodes))
    return table


def classification_to_node(found: Classification, node=None, *, like=None):
    """`node`, or a new table node beside `like`, with the columns `class` and `probability`."""
    rows = sorted(found.probabilities.items(), key=lambda row: -row[1])
    result = node or add_node(TABLE, f"{found.name} [class {found.class_name}]", slicer.mrmlScene)
    fill_table(result, {"class": [row[0] for row in rows], "probability": [row[1] for row in rows]})
    if node is None:
        place_beside(result, like)
    return result
