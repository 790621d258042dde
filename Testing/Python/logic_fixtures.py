"""Fixtures of the tests of the module's logic: a scene, the logic, and stand-ins for networks and installed models."""

import sys
import types
from pathlib import Path

import pytest
from stand_in_networks import Networks, all_cards, belongs_to_output, ids

import GANSynthesisLib
from GANSynthesisLib import models
from GANSynthesisLib.card import ModelError
from GANSynthesisLib.models import Model
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene


@pytest.fixture
def module():
    start_host()
    import GANSynthesis

    return GANSynthesis


@pytest.fixture
def scene(module):
    return start_scene()


@pytest.fixture
def logic(module):
    return module.GANSynthesisLogic()


@pytest.fixture
def networks(monkeypatch):
    made = Networks()
    monkeypatch.setattr(GANSynthesisLib, "inference", made, raising=False)
    return made


@pytest.fixture
def library(monkeypatch, module):
    """All cards as installed models, without files."""
    found = {name: Model(each, Path(f"{name}.safetensors"), f"{name}-hash") for name, each in all_cards().items()}

    def load(name):
        if name not in found:
            raise ModelError(f"There is no model called '{name}'.")
        return found[name]

    for place in (models, sys.modules["GANSynthesisLib.mrml.requests"]):
        monkeypatch.setattr(place, "list_models", lambda: list(found.values()))
        monkeypatch.setattr(place, "load_model", load)
    return found


@pytest.fixture
def nothing_left(scene):
    """After `begin()`, `came()` gives the names of new nodes; their display and storage nodes are not counted."""
    before = set()

    def begin():
        before.update(ids(scene))

    def came():
        new = [each for each in ids(scene) - before if not belongs_to_output(each)]
        return sorted(scene.GetNodeByID(each).GetName() for each in new)

    return types.SimpleNamespace(begin=begin, came=came)
