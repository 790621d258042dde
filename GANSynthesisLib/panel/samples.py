"""Slicer's own sample data for a model: which sample fits its inputs, and loading it into the scene.

Only the images that are chosen are downloaded; Slicer keeps them, so that a second time needs no network.
"""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass

import slicer

from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.grid import VolumeError
from GANSynthesisLib.presentation import _, input_ports

ATTRIBUTE = "GANSynthesis.Sample"  # of a sample's node: where it came from


@dataclass(frozen=True)
class Sample:
    """One entry of Slicer's module Sample Data. images: name of the node -> words for its modality."""

    name: str
    anatomy: frozenset[str]
    images: dict[str, frozenset[str]]


def _sample(name: str, anatomy: str, **images: str) -> Sample:
    return Sample(name, frozenset(anatomy.split()), {node: frozenset(words.split()) for node, words in images.items()})


SAMPLES = (
    _sample("MRHead", "brain head", MRHead="t1 t1w mr mri"),
    _sample("CTMRBrain", "brain head", MRBrainT1="t1 t1w mr mri", MRBrainT2="t2 t2w mr mri", CTBrain="ct"),
    _sample("MRUSProstate", "prostate", USProstate="us trus ultrasound", MRProstate="mr mri t2 t2w"),
    _sample("CTLiver", "liver abdomen", CTLiver="ct"),
    _sample("CTChest", "chest lung lungs thorax", CTChest="ct"),
)


@dataclass(frozen=True)
class Fit:
    """A sample for a model: role of an input -> name of the sample's image. remark: what to know before, or empty."""

    sample: Sample
    images: dict[str, str]
    remark: str = ""


def samples_for(card: Card, task: str) -> Fit | None:
    """The first sample that has another image for every input that the model needs for the task; else None."""
    anatomy = _words(card.anatomy or card.description)
    ports = [port for port in input_ports(card, task) if not port.optional]
    for sample in SAMPLES:
        images = _images(sample, ports) if anatomy & sample.anatomy and ports else {}
        if images:
            return Fit(sample, images, _remark(card, sample))
    return None


def sample_reason(card: Card, task: str) -> str:
    """Why there is no sample to try the model on; empty where there is one."""
    return "" if samples_for(card, task) else _("Slicer has no sample for this model: load images of your own.")


def load_sample(card: Card, task: str, say: Callable[[str], None] | None = None) -> dict:
    """Role -> volume node of the sample that fits; one that is in the scene already is used again.

    say(text) hears how far the download is. Raises VolumeError where no sample fits or one cannot be downloaded.
    """
    fit = samples_for(card, task)
    if fit is None:
        raise VolumeError(sample_reason(card, task))
    import SampleData

    logic = SampleData.SampleDataLogic(None if say is None else lambda message, level=None: say(_plain(message)))
    return {role: _loaded(fit.sample.name, image) or _download(logic, fit.sample.name, image)
            for role, image in fit.images.items()}


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))


def _images(sample: Sample, ports: list[Port]) -> dict[str, str]:
    """Role -> image, a different one for each port; empty where a port gets none."""
    chosen: dict[str, str] = {}
    for port in ports:
        wanted = _words(port.modality)
        free = [image for image, words in sample.images.items() if words & wanted and image not in chosen.values()]
        if not free:
            return {}
        # The image that has most of the words: of "T2 MR", the T2 rather than any other MR.
        chosen[port.name] = max(free, key=lambda image: len(sample.images[image] & wanted))
    return chosen


def _remark(card: Card, sample: Sample) -> str:
    if "skull-stripped" in f"{card.anatomy} {card.description}" and "head" in sample.anatomy:
        return _("'{name}' shows a whole head, the model was trained on skull-stripped brains: it runs, but remove "
                 "the skull first for a result that means something.").format(name=sample.name)
    return ""


def _loaded(sample: str, image: str):
    """The node of a sample's image that was loaded before and is still in the scene, else None."""
    for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
        if node.GetAttribute(ATTRIBUTE) == f"{sample}/{image}" and node.GetImageData():
            return node
    return None


def _download(logic, sample: str, image: str):
    """Load one image of a sample as Slicer's module Sample Data does."""
    source = logic.sourceForSampleName(sample)
    nodes = []
    if source is not None and image in source.nodeNames:
        number = list(source.nodeNames).index(image)
        nodes = logic.downloadFromURL(
            uris=source.uris[number], fileNames=source.fileNames[number], nodeNames=image,
            checksums=source.checksums[number],
        )
    node = nodes[0] if nodes else None
    if not hasattr(node, "GetImageData"):  # nothing at all, or the path of a file that could not be read
        raise VolumeError(_("The sample '{name}' could not be downloaded: check the network and the proxy "
                            "(environment variable HTTPS_PROXY), or load a volume of your own.").format(name=sample))
    node.SetAttribute(ATTRIBUTE, f"{sample}/{image}")
    return node


def _plain(message: str) -> str:
    """A message of the module Sample Data without its markup."""
    return html.unescape(re.sub(r"<[^>]+>", "", message)).strip()
