"""Sample data of Slicer for a model: which fits, what is downloaded, and what is said where nothing comes."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from panel_fixtures import add_volume

from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.grid import VolumeError
from GANSynthesisLib.models import list_models
from GANSynthesisLib.panel.samples import SAMPLES, load_sample, sample_reason, samples_for
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

REGISTERED = {  # as Slicer's module Sample Data registers them
    "MRHead": ["MRHead"],
    "CTMRBrain": ["CTBrain", "MRBrainT1", "MRBrainT2"],
    "MRUSProstate": ["MRProstate", "USProstate"],
    "CTLiver": ["CTLiver"],
    "CTChest": ["CTChest"],
}


class SampleDataLogic:
    """Stand-in of Slicer's: knows what is registered, and loads an image of the wanted name where it is `online`."""

    online = True
    downloads: list[str] = []

    def __init__(self, logMessage=None):
        self._say = logMessage

    def sourceForSampleName(self, sampleName):
        names = REGISTERED.get(sampleName)
        return names and SimpleNamespace(
            nodeNames=names, uris=[f"https://data/{name}" for name in names],
            fileNames=[f"{name}.nrrd" for name in names], checksums=[f"SHA256:{name}" for name in names],
        )

    def downloadFromURL(self, uris=None, fileNames=None, nodeNames=None, checksums=None):
        assert (uris, fileNames) == (f"https://data/{nodeNames}", f"{nodeNames}.nrrd")
        assert checksums == f"SHA256:{nodeNames}"
        if self._say:
            self._say(f"<b>Requesting download</b> <i>{nodeNames}.nrrd</i> ...", 20)
        if not self.online:
            return []
        self.downloads.append(nodeNames)
        return [add_volume(nodeNames)]


@pytest.fixture(autouse=True)
def place(monkeypatch):
    start_host()
    start_scene()
    module = ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(SampleDataLogic, "downloads", [])


@pytest.fixture(scope="module")
def shipped() -> dict[str, Card]:
    return {model.card.name: model.card for model in list_models()}


def card_of(*modalities, anatomy="brain", task="synthesize", optional=()) -> Card:
    inputs = tuple(Port(f"input{number}", modality, optional=number in optional)
                   for number, modality in enumerate(modalities))
    needs = tuple(port.name for port in inputs)
    return Card("m", "M", "", "paired", task, {}, inputs, (Port("target", "T2", needs=needs),), None, (1, 8, 8), "2D",
                anatomy=anatomy)


@pytest.mark.parametrize(
    ("model", "sample", "images"),
    [
        ("brain-t1-to-t2", "MRHead", {"source": "MRHead"}),
        ("brain-t2-tissue", "CTMRBrain", {"source": "MRBrainT2"}),
        ("brain-registration", "CTMRBrain", {"fixed": "MRBrainT1", "moving": "MRBrainT2"}),
        ("mr-trus-prostate", "MRUSProstate", {"fixed": "USProstate", "moving": "MRProstate"}),
    ],
)
def test_every_shipped_model_has_a_sample_of_its_anatomy_and_modalities(shipped, model, sample, images):
    for task in shipped[model].tasks:
        fit = samples_for(shipped[model], task)
        assert (fit.sample.name, fit.images) == (sample, images)
        assert ("whole head" in fit.remark) == model.startswith("brain")
        assert sample_reason(shipped[model], task) == ""


@pytest.mark.parametrize(
    ("card", "images"),
    [
        (card_of("CT", anatomy="Liver"), {"input0": "CTLiver"}),
        (card_of("CT", "T1 MR"), {"input0": "CTBrain", "input1": "MRBrainT1"}),
        (card_of("T1", "FLAIR", optional=(1,)), {"input0": "MRHead"}),
        (card_of("T1", "T1"), None),  # no sample has two
        (card_of("T1", anatomy="knee"), None),
        (card_of("FLAIR"), None),
        (card_of("T1", anatomy=""), None),
    ],
)
def test_a_sample_fits_only_with_another_image_for_every_input_that_is_needed(card, images):
    fit = samples_for(card, "synthesize")
    assert (fit and fit.images) == images
    assert bool(sample_reason(card, "synthesize")) == (images is None)


def test_only_what_is_needed_is_downloaded_and_a_second_time_nothing(shipped):
    said = []
    nodes = load_sample(shipped["brain-registration"], "register", said.append)
    assert {role: node.GetName() for role, node in nodes.items()} == {"fixed": "MRBrainT1", "moving": "MRBrainT2"}
    assert SampleDataLogic.downloads == ["MRBrainT1", "MRBrainT2"]
    assert said == ["Requesting download MRBrainT1.nrrd ...", "Requesting download MRBrainT2.nrrd ..."]
    nodes["fixed"].SetName("renamed")
    again = load_sample(shipped["brain-registration"], "register")
    assert again == nodes and len(SampleDataLogic.downloads) == 2
    slicer.mrmlScene.RemoveNode(nodes["moving"])
    load_sample(shipped["brain-t2-tissue"], "segment")
    assert SampleDataLogic.downloads[2:] == ["MRBrainT2"]


def test_a_users_volume_of_the_same_name_is_not_taken_for_the_sample(shipped):
    own = add_volume("MRHead")
    assert load_sample(shipped["brain-t1-to-t2"], "synthesize")["source"] is not own


def test_no_network_is_told_in_one_sentence(shipped, monkeypatch):
    monkeypatch.setattr(SampleDataLogic, "online", False)
    with pytest.raises(VolumeError, match="'MRHead' could not be downloaded: check the network and the proxy"):
        load_sample(shipped["brain-t1-to-t2"], "synthesize")
    with pytest.raises(VolumeError, match="Slicer has no sample for this model"):
        load_sample(card_of("T1", anatomy="knee"), "synthesize")


def test_a_slicer_without_the_sample_says_so_instead_of_failing(shipped, monkeypatch):
    monkeypatch.delitem(REGISTERED, "MRHead")
    with pytest.raises(VolumeError, match="could not be downloaded"):
        load_sample(shipped["brain-t1-to-t2"], "synthesize")


def test_samples_and_their_images_are_registered_in_slicer():
    assert {sample.name: sorted(sample.images) for sample in SAMPLES} == REGISTERED
