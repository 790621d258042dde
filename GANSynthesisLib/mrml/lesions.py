"""Training patches of the lesions of volumes in the scene, whose segmentations name them."""

from collections import Counter
from pathlib import Path

import numpy as np

from GANSynthesisLib.mrml.inputs import volume_from_node
from GANSynthesisLib.mrml.training_data import SceneCase, labels_on, segment_names
from GANSynthesisLib.steps import run_through
from GANSynthesisLib.training.cases import Case
from GANSynthesisLib.training.lesions import PatchPlan, cut_case


def lesions_to_folder(pairs: list[tuple], output: Path, plan: PatchPlan, seed: int = 0) -> Counter[str]:
    """Patches around the segments of (volume node, segmentation or label map node) pairs, as `lesions.write_patches`
    writes them; gives the number of patches of each class, which is the name of a segment.

    Each pair counts as a patient of its own, called as its volume; patches lie where the scene shows them. Raises
    DataError and VolumeError naming a node that cannot be used.
    """
    names = segment_names([SceneCase("", {"labels": labels}) for _, labels in pairs])
    counts, random = Counter(), np.random.default_rng(seed)
    for image_node, labels_node in pairs:
        labels = run_through(labels_on(labels_node, image_node, names))
        labels = labels.with_voxels(labels.voxels, label_names=dict(enumerate(names, start=1)))
        case = Case(image_node.GetName(), image_node.GetName(), {})
        counts += cut_case(case, volume_from_node(image_node), labels, Path(output), plan, random)
    return counts
