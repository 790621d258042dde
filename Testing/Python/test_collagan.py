"""CollaGAN: any one missing contrast from the others, by one network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from synthetic_cases import SMALL, head, other_contrast

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import ModelError, load_model
from GANSynthesisLib.objectives.image import structural_similarity
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.systems.settings import SettingsError
from GANSynthesisLib.training import train

CONTRASTS = ("T1", "T2", "PD")
SETTINGS = {**SMALL, "sources": "T1,T2,PD", "context": "2D", "patch": "24,24"}


def contrasts_of(seed: int) -> dict:
    t1 = head(seed, (6, 28, 24))
    return {"T1": t1, "T2": other_contrast(t1), "PD": t1.with_voxels(np.sqrt(t1.voxels) * 20)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    for number in range(3):
        for role, volume in contrasts_of(number).items():
            write_volume(volume, folder / role / f"sub-{number}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def model(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "any.safetensors"
    train("collagan", data, path, settings={**SETTINGS, "width": 8}, steps=60)
    return load_model(path)


def batch_of(system) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shape = (2, 1, *system.settings.window())
    return {name: torch.rand(shape) * 2 - 1 for name in system.roles}


def test_it_finds_out_which_contrast_is_missing(model):
    given = contrasts_of(5)
    for missing in CONTRASTS:
        inputs = {name: volume for name, volume in given.items() if name != missing}
        result = apply_model(model, inputs)
        made = result.outputs[f"synthetic_{missing}"]
        assert list(result.outputs) == [f"synthetic_{missing}"]
        assert made.grid.same_as(given[missing].grid)
        brain = given["T1"].voxels > 0
        error = np.abs(made.voxels - given[missing].voxels)[brain].mean()
        assert error < 0.35 * given[missing].voxels.max(), missing


def test_with_every_contrast_given_each_can_be_asked_for(model):
    given = contrasts_of(5)
    alone = apply_model(model, {name: given[name] for name in ("T1", "PD")}).outputs["synthetic_T2"]
    asked = apply_model(model, given, outputs=["synthetic_T2"]).outputs["synthetic_T2"]
    np.testing.assert_allclose(asked.voxels, alone.voxels, atol=1e-3)


def test_two_missing_contrasts_are_too_many(model):
    sentence = "takes: T1 .T1., T2 .T2., PD .PD.; it needs T2, PD; or T1, PD; or T1, T2: give"
    with pytest.raises(ModelError, match=sentence):
        apply_model(model, {"T1": contrasts_of(5)["T1"]})


def test_the_missing_contrast_itself_is_never_looked_at():
    system = build_system("collagan", SETTINGS)
    batch = batch_of(system)
    changed = {**batch, "T2": -batch["T2"]}
    assert torch.equal(system.make(batch, "T2"), system.make(changed, "T2"))
    assert not torch.equal(system.make(batch, "PD"), system.make(changed, "PD"))


def test_every_other_contrast_is_made_again_from_the_made_one(monkeypatch):
    system, calls = build_system("collagan", SETTINGS), []
    make = type(system).make
    monkeypatch.setattr(type(system), "make", lambda self, images, name: calls.append((name, images)) or make(
        self, images, name))
    batch = batch_of(system)
    losses = system.generator_turn(batch)
    missing = calls[0][0]
    assert [name for name, _ in calls[1:]] == [name for name in CONTRASTS if name != missing]
    assert all(images[missing] is not batch[missing] for _, images in calls[1:])
    assert set(losses) == {"voxel", "cycle", "similarity", "adversarial", "contrast"}
    losses["cycle"].backward()
    assert all(weight.grad is not None for weight in system.generator.parameters())


def test_contrasts_are_learned_from_real_images_alone():
    system = build_system("collagan", SETTINGS)
    batch = batch_of(system)
    system.generator_turn(batch)
    before = system.discriminator_turn(batch)["contrast"]
    system.fakes = {name: fake + 1 for name, fake in system.fakes.items()}
    assert torch.equal(system.discriminator_turn(batch)["contrast"], before)


def test_contrasts_named_twice_or_alone_are_refused():
    for sources in ("T1", "T1,T1"):
        with pytest.raises(SettingsError, match="name two or more contrasts, each once"):
            build_system("collagan", {**SETTINGS, "sources": sources})
    with pytest.raises(SettingsError, match="'target', which is no contrast"):
        build_system("collagan", {**SETTINGS, "sources": "T1,target"})


def test_structural_similarity_is_one_of_equal_images_alone():
    torch.manual_seed(0)
    for shape in ((1, 1, 1, 16, 16), (1, 1, 12, 12, 12)):
        image = torch.rand(shape) * 2 - 1
        assert structural_similarity(image, image) == pytest.approx(1, abs=1e-5)
        assert structural_similarity(-image, image) < 0
        assert structural_similarity((image + 0.1 * torch.randn(shape)).clamp(-1, 1), image) < 0.999
