"""The bridge to the scene: nodes -> volumes, results -> nodes. The only part of the library that imports Slicer.

On the way in, geometry is that of the world, whatever transforms a node is under (`inputs`). On the way out,
everything lies in world coordinates under no transform, carries its provenance, and leaves nothing else behind
(`outputs`, `sequences`, `provenance`).
"""

from GANSynthesisLib.mrml.contents import fill_volume
from GANSynthesisLib.mrml.inputs import frame_count, is_sequence, volume_from_node
from GANSynthesisLib.mrml.outputs import (
    check_can_be_moved,
    check_output_node,
    segmentation_to_node,
    transform_to_node,
    volume_to_node,
    whole_or_nothing,
)
from GANSynthesisLib.mrml.provenance import NOTICE, provenance, read_provenance, write_provenance
from GANSynthesisLib.mrml.requests import Request
from GANSynthesisLib.mrml.sequences import results_to_sequence, sequence_nodes

__all__ = [
    "NOTICE",
    "Request",
    "check_can_be_moved",
    "check_output_node",
    "fill_volume",
    "frame_count",
    "is_sequence",
    "provenance",
    "read_provenance",
    "results_to_sequence",
    "segmentation_to_node",
    "sequence_nodes",
    "transform_to_node",
    "volume_from_node",
    "volume_to_node",
    "whole_or_nothing",
    "write_provenance",
]
