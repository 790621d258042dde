"""The input guard for nodes of the scene, and whether the memory will do."""

from collections.abc import Generator, Iterable

from GANSynthesisLib.card import Card
from GANSynthesisLib.grid import Grid
from GANSynthesisLib.guard import checking_inputs
from GANSynthesisLib.memory import free_host_bytes, needed_bytes, needed_gpu_bytes
from GANSynthesisLib.mrml.inputs import grid_from_node, is_sequence, reading_volume
from GANSynthesisLib.presentation import _
from GANSynthesisLib.volumes import VolumeError


def looking(
    card: Card, nodes: dict, free_gpu: int | None, region=None
) -> Generator[object, None, tuple[list[str], list[str]]]:
    """In steps: what of the nodes (role -> volume node; of a sequence its first item) does not fit the model, and what
    does not fit the machine, one sentence each.

    free_gpu: bytes that are free on the GPU which is to compute; None where the CPU is, or nothing is known. region:
    markups ROI that the work is restricted to, or None. A node that cannot be used at all is left to the check before
    a run, which says why.
    """
    volumes, grids = {}, []
    for role, node in nodes.items():
        item = 0 if is_sequence(node) else None
        try:
            grids.append(grid_from_node(node, item, role, region))
            volumes[role] = yield from reading_volume(node, item, role)
        except VolumeError:
            continue
    found = yield from checking_inputs(card, volumes)
    return found, too_little_memory(card, grids, free_gpu)


def too_little_memory(card: Card, grids: Iterable[Grid], free_gpu: int | None) -> list[str]:
    """What the machine, or its GPU, has too little memory for."""
    told, grids = [], list(grids)
    needed, free = needed_bytes(card, grids), free_host_bytes()
    if needed > free:
        told.append(_("About {needed:.1f} GB of memory are needed and {free:.1f} GB are free: close other programs, "
                      "or restrict the work to a region.").format(needed=needed / 2**30, free=free / 2**30))
    needed = needed_gpu_bytes(card, grids)
    if free_gpu is not None and needed > free_gpu:
        told.append(_("About {needed:.1f} GB of the GPU's memory are needed and {free:.1f} GB are free, so that the "
                      "CPU will do some of the work: close other programs that use the GPU, or restrict the work to "
                      "a region.").format(needed=needed / 2**30, free=free_gpu / 2**30))
    return told
