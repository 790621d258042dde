"""The input guard for nodes of the scene, and whether the memory will do."""

from GANSynthesisLib.card import Card
from GANSynthesisLib.guard import check_inputs
from GANSynthesisLib.memory import free_host_bytes, needed_bytes
from GANSynthesisLib.mrml.inputs import is_sequence, volume_from_node
from GANSynthesisLib.presentation import _
from GANSynthesisLib.volumes import VolumeError


def findings(card: Card, nodes: dict) -> tuple[list[str], list[str]]:
    """What of the nodes (role -> volume node; of a sequence its first item) does not fit the model, and what does not
    fit the machine: one sentence each.

    A node that cannot be used at all is left to the check before a run, which says why.
    """
    volumes = {}
    for role, node in nodes.items():
        try:
            volumes[role] = volume_from_node(node, 0 if is_sequence(node) else None, role)
        except VolumeError:
            continue
    return check_inputs(card, volumes), _memory(needed_bytes(card, [each.grid for each in volumes.values()]))


def _memory(needed: int) -> list[str]:
    free = free_host_bytes()
    if needed <= free:
        return []
    return [_("About {needed:.1f} GB of memory are needed and {free:.1f} GB are free: close other programs, or "
              "restrict the work to a region.").format(needed=needed / 2**30, free=free / 2**30)]
