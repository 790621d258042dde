"""Translation systems beside the plain ones: the rules by which each of them differs, and what they refuse."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from synthetic_cases import LABELS, SMALL, head, labels_of, write_cases
from torch import nn

from GANSynthesisLib.files import write_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model
from GANSynthesisLib.networks.auto_context import AutoContext
from GANSynthesisLib.networks.features import EncoderFeatures, FeatureDiscriminator, VGGFeatures, vgg_layers
from GANSynthesisLib.networks.translation import Translator
from GANSynthesisLib.objectives.image import feature_difference
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.systems.settings import SettingsError
from GANSynthesisLib.training import Cancelled, train
from GANSynthesisLib.training.cases import DataError
from GANSynthesisLib.training.checkpoint import load_checkpoint
from GANSynthesisLib.training.patches import LoadedCase, PatchSampler, check_roles

FLAT = {**SMALL, "context": "2D", "patch": "16,16"}
SLAB = {**SMALL, "context": "2.5D", "slab": 3, "patch": "16,16", "target_intensity": "median:0:3"}
FEATURES = {"feature_model": "brain-t2-tissue"}
SEGMENTING = {"labels": LABELS, "segmentor_width": 4}


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)
    monkeypatch.setattr("GANSynthesisLib.training.engine.write_preview", lambda *drawing: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of cases: `paired` and, with labels of both modalities, `unpaired`."""
    root = tmp_path_factory.mktemp("cases")
    write_cases(root / "paired", 4, labels=True, shape=(4, 24, 20))
    write_cases(root / "unpaired", 2, paired=False, labels=True, shape=(4, 24, 20))
    return root


def batch_of(system, count: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    """Smooth images of every role that a system may ask for."""
    random = torch.Generator().manual_seed(seed)
    shape = (count, 1, *system.settings.window())
    blur = nn.AvgPool3d((1, 3, 3), 1, (0, 1, 1))
    source, other = (blur(torch.randn(shape, generator=random)).clamp(-0.9, 0.9) for _ in range(2))
    return {
        "source": source, "target": -0.5 * other, "labels": (source > 0).float(), "target_labels": (other > 0).float(),
        "paired_source": source, "paired_target": -0.5 * source, "fold": torch.arange(count) % 2,
    }


def loaded(name: str, tensors: dict[str, torch.Tensor], subject: str = "") -> LoadedCase:
    """A case whose images have no background."""
    boxes = {role: (np.zeros(3), np.array(image.shape[1:]) - 1.0) for role, image in tensors.items()}
    return LoadedCase(name, tensors, {}, subject=subject or name, boxes={"any": next(iter(boxes.values())), **boxes})


def case(name: str, subject: str = "", **levels: float) -> LoadedCase:
    """A case with an image of one gray value for each role that is named."""
    return loaded(name, {role: torch.full((1, 6, 24, 24), value) for role, value in levels.items()}, subject)


def gradients(module: nn.Module) -> float:
    return sum(float(weight.grad.abs().sum()) for weight in module.parameters() if weight.grad is not None)


# Gradient consistency (Hiasa 2018)


def test_gradient_consistency_is_between_an_image_and_its_own_translation():
    system = build_system("cyclegan", {**FLAT, "gradient_consistency_weight": 0.3})
    system.to_target = system.to_source = nn.Identity()
    own = system.generators_turn(batch_of(system))["gradient_consistency"]
    assert float(own) < 1e-3, "a translation with its input's edges, whatever the image of the other modality shows"
    system.to_target = system.to_source = nn.Conv3d(1, 1, 1)
    nn.init.constant_(system.to_target.weight, -0.5)
    inverted = system.generators_turn(batch_of(system))["gradient_consistency"].detach()
    assert float(inverted) < 1e-3, "contrast may invert"
    batch = batch_of(system)
    moved = {**system.translations(batch["source"], batch["target"]), "target": -0.5 * batch["source"].roll(5, 4)}
    assert float(system.cycle_losses(batch["source"], batch["target"], moved)["gradient_consistency"].detach()) > 0.3


# MR-GAN (Jin 2018)


def test_the_voxel_wise_loss_is_for_pairs_alone():
    system, terms = build_system("mr_gan", FLAT), {}
    assert system.turns == ("generators", "paired_generators", "discriminators")
    batch = batch_of(system)
    terms["unpaired"], terms["paired"] = system.generators_turn(batch), system.paired_generators_turn(batch)
    assert set(terms["unpaired"]) == {"adversarial", "cycle"}
    assert set(terms["paired"]) == {"adversarial", "cycle", "voxel"}
    elsewhere = {**batch, "source": batch["source"].flip(4), "target": batch["target"].flip(4)}
    assert torch.equal(system.paired_generators_turn(elsewhere)["voxel"], terms["paired"]["voxel"])
    assert not torch.equal(system.generators_turn(elsewhere)["cycle"], terms["unpaired"]["cycle"])
    terms["paired"]["voxel"].backward()
    assert gradients(system.to_target) > 0 and gradients(system.to_source) > 0, "in both directions"


def test_discriminators_see_the_translations_of_both_kinds_of_batch():
    system, judged = build_system("mr_gan", FLAT), []
    batch = batch_of(system)
    system.generators_turn(batch)
    system.paired_generators_turn(batch)
    system.use_pool(lambda name, fakes: judged.append(name) or fakes)
    system.discriminators_turn(batch)
    assert judged == ["target", "paired_target", "source", "paired_source"]


def test_pairs_are_cut_from_one_case_at_one_place_and_the_rest_from_anywhere():
    system = build_system("mr_gan", {**FLAT, "batch": 8, "augment": 0})
    image = torch.nn.functional.avg_pool3d(torch.randn(1, 6, 40, 40), (1, 3, 3), 1, (0, 1, 1))
    pairs = [loaded(f"{n}", {"source": image.roll(n, 2), "target": -image.roll(n, 2),
                             "paired_source": image.roll(n, 2), "paired_target": -image.roll(n, 2)}) for n in range(3)]
    sampler = PatchSampler([*pairs, case("alone", source=0.5), case("other", target=-0.5)], system, 0)
    batches = [sampler.batch("cpu") for _ in range(4)]
    for batch in batches:
        # Beyond the image both are air; inside, one is the negative of the other.
        inside = (batch["paired_source"] > -0.99) & (batch["paired_target"] > -0.99)
        assert torch.allclose(batch["paired_source"][inside], -batch["paired_target"][inside], atol=1e-5)
        assert not torch.allclose(batch["source"], -batch["target"], atol=0.1)
        assert not (batch["paired_source"] == 0.5).all((1, 2, 3, 4)).any(), "a case without a partner is no pair"
    assert any((batch["source"] == 0.5).flatten(1).float().mean(1).max() > 0.5 for batch in batches)


def test_a_fraction_of_the_pairs_is_always_the_same_and_part_of_a_larger_one():
    names, used = [f"case {number}" for number in range(20)], {}
    for fraction in (0.01, 0.1, 0.5, 1):
        system = build_system("mr_gan", {**FLAT, "paired_fraction": fraction})
        pairs = system.drawn_together()[-1]
        used[fraction] = system.drawn_from(pairs, names)
        assert system.drawn_from(pairs, names[::-1]) == used[fraction]
        assert system.drawn_from(("source",), names) == names, "their images are drawn as unpaired ones, too"
    assert [len(each) for each in used.values()] == [1, 2, 10, 20]
    assert set(used[0.01]) < set(used[0.1]) < set(used[0.5]) < set(used[1])
    assert build_system("mr_gan", {**FLAT, "paired_fraction": 0}).turns == ("generators", "discriminators")


def test_no_pair_among_the_cases_is_said_with_what_to_do(data, tmp_path):
    with pytest.raises(DataError, match="No training case has source and target together, .* set paired_fraction=0"):
        train("mr_gan", data / "unpaired", tmp_path / "m.safetensors", settings=FLAT, steps=1)
    assert list(tmp_path.iterdir()) == []


# Translation and segmentation with shape consistency (Zhang Z. 2018)


def shape_system(**settings):
    return build_system("shape_consistency", {**FLAT, **SEGMENTING, "segmentor_warmup": 0, **settings})


def test_shape_consistency_teaches_both_generators_and_segmentors_only_judge_it():
    system = shape_system()
    losses = system.generators_turn(batch_of(system))
    losses["segmentation"].backward()
    assert gradients(system.to_target) > 0 and gradients(system.to_source) > 0
    assert system.players["generators"] == ("to_target", "to_source")
    assert system.players["segmentors"] == ("segmentor", "source_segmentor")


def test_segmentors_learn_from_real_and_from_just_translated_images():
    system = shape_system()
    batch = batch_of(system)
    system.generators_turn(batch)
    losses = system.segmentors_turn(batch)
    assert set(losses) == {"source", "target", "synthetic_source", "synthetic_target"}
    for term, learner, other in (("synthetic_target", "segmentor", "source_segmentor"),
                                 ("synthetic_source", "source_segmentor", "segmentor")):
        system.zero_grad()
        losses[term].backward(retain_graph=True)
        assert gradients(getattr(system, learner)) > 0
        assert gradients(getattr(system, other)) == gradients(system.to_target) == gradients(system.to_source) == 0
    swapped = system.segmentors_turn({**batch, "labels": 1 - batch["labels"]})
    assert not torch.equal(swapped["synthetic_target"], losses["synthetic_target"]), "with the source's labels"
    assert torch.equal(swapped["synthetic_source"], losses["synthetic_source"])


def test_segmentors_start_on_real_images_before_they_judge():
    system = shape_system(segmentor_warmup=2)
    batch = batch_of(system)
    for _ in range(2):
        assert "segmentation" not in system.generators_turn(batch)
        assert set(system.segmentors_turn(batch)) == {"source", "target"}
        system.after_turn("segmentors")
    assert "segmentation" in system.generators_turn(batch)
    assert len(system.segmentors_turn(batch)) == 4
    system.start_anew()
    assert "segmentation" not in system.generators_turn(batch)


def test_without_target_labels_none_are_looked_at():
    system = shape_system(target_labeled=False, segmentor_warmup=5, labels="air,tissue")
    assert system.roles == ("source", "target", "labels")
    cases = [case("a", source=0.2, labels=1.0), case("b", target=0.4, target_labels=1.0)]
    sampler = PatchSampler(cases, system, 0)
    batch = sampler.batch("cpu")
    assert set(batch) == {"source", "labels", "target"}
    assert "target_labels" in sampler.validation_batches("cpu")[0], "they may say how good the segmentor is"
    system.generators_turn(batch)
    assert set(system.segmentors_turn(batch)) == {"source", "synthetic_target"}


def test_labels_of_each_modality_lie_on_its_own_images():
    system = shape_system(labels="air,tissue", batch=6)
    cases = [case("a", source=0.2, labels=1.0), case("b", target=0.4, target_labels=0.0),
             case("both", source=0.2, labels=1.0, target=0.4, target_labels=0.0), case("unlabeled", source=0.6)]
    batch = PatchSampler(cases, system, 0).batch("cpu")
    assert float(batch["source"].max()) < 0.5, "images without labels are left out"
    assert torch.equal(batch["labels"] > 0, batch["source"] > -0.4)
    assert not batch["target_labels"].any()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("missing", "no files for the role .target_labels.: .*set target_labeled=false where only the source has"),
        ("value", "Training case 'sub-100': the labels 'sub-100' hold the value 3, .* 0 to 2"),
    ],
)
def test_target_labels_that_cannot_be_used_are_named(spoil, sentence, tmp_path):
    folder = write_cases(tmp_path / "cases", 1, paired=False, labels=True, shape=(4, 24, 20))
    file = folder / "target_labels" / "sub-100.nii.gz"
    labels = labels_of(head(100, (4, 24, 20)))
    file.unlink()
    if spoil == "value":
        write_volume(labels.with_voxels(np.where(labels.voxels == 2, 3, labels.voxels)), file)
    else:
        file.parent.rmdir()
    with pytest.raises(DataError, match=sentence):
        train("shape_consistency", folder, tmp_path / "m.safetensors", settings={**FLAT, **SEGMENTING}, steps=1)


def test_its_segmentor_is_that_of_real_target_images(data, tmp_path):
    settings = {**FLAT, **SEGMENTING, "segmentor_warmup": 1}
    model = load_model(train("shape_consistency", data / "unpaired", tmp_path / "m.safetensors", settings=settings,
                             steps=2))
    assert model.card.output("segmentation").needs == ("target",)
    found = apply_model(model, {"target": head(5)}).outputs["segmentation"]
    image = torch.from_numpy(np.zeros((1, 1, 1, 16, 16), np.float32))
    system = model.build()
    assert torch.equal(system.apply({"target": image})["segmentation"], system.segmentor(image).softmax(1))
    assert found.label_names == {1: "tissue", 2: "bright"}


# Frozen features (Zhao 2018, Longuefosse 2025)


def vgg_file(path, counts=(2, 2, 3, 3, 3), change=None):
    """Random weights in a file as torchvision makes them."""
    torch.manual_seed(1)
    state = {f"features.{name}": weight for name, weight in vgg_layers(counts).state_dict().items()}
    state |= {"classifier.0.weight": torch.zeros(2, 2)}
    torch.save(change(state) if change else state, path)
    return path


@pytest.mark.parametrize(("name", "counts"), [("VGG16", (2, 2, 3, 3, 3)), ("VGG19", (2, 2, 4, 4, 4))])
def test_vgg_features_are_those_after_each_block_of_every_slice(name, counts, tmp_path):
    state = torch.load(vgg_file(tmp_path / "vgg.pth", counts), weights_only=True)
    features = VGGFeatures(state, (1, 3))
    assert (features.variant, features.channels, features.dimensions) == (name, (64, 256), 2)
    image = torch.rand(2, 1, 3, 16, 16) * 2 - 1
    gray = (image[1, :, 2] + 1) / 2
    seen = torch.stack([(gray[0] - mean) / deviation for mean, deviation in
                        zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)])[None]
    layers = vgg_layers(counts)
    layers.load_state_dict({key.removeprefix("features."): value for key, value in state.items() if "features" in key})
    ends = [number for number, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    for found, end in zip(features(image), (ends[0], ends[2]), strict=True):
        assert torch.allclose(found[5:], layers[:end](seen), atol=1e-5)


def test_encoder_features_are_those_of_the_segmentor():
    network = load_model("brain-t2-tissue").build().segmentor
    image = torch.rand(2, 1, 3, 32, 48) * 2 - 1
    features = EncoderFeatures(network, (3, 1))
    found = {}
    for level in (0, 2):
        network.body.encoders[level].register_forward_hook(
            lambda module, inputs, output, level=level: found.__setitem__(level, output.detach()))
    network(image)
    coarse, fine = (each.clone() for each in (found[2], found[0]))
    assert [tuple(each.shape[1:2]) for each in features(image)] == [(channels,) for channels in features.channels]
    assert torch.equal(features(image)[0], coarse)
    assert torch.equal(features(image)[1], fine)


def test_the_difference_of_features_does_not_depend_on_their_scale():
    torch.manual_seed(0)
    a, b = [torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4)], [torch.rand(2, 4, 8, 8), torch.rand(2, 8, 4, 4)]
    assert float(feature_difference(a, a)) == 0
    scaled = feature_difference([a[0] * 100, a[1]], [b[0] * 100, b[1]])
    assert float(scaled) == pytest.approx(float(feature_difference(a, b)), rel=1e-5)
    assert 0.1 < float(scaled) < 2


def judged_by_features():
    torch.manual_seed(0)
    system = build_system("paired", {
        **SLAB, **FEATURES, "adversarial_weight": 1, "feature_weight": 1, "discriminator": "features"})
    features = EncoderFeatures(load_model("brain-t2-tissue").build().segmentor, system.settings.feature_depths)
    system.use_features(features)
    return system, features


def test_a_frozen_network_teaches_the_generator_and_only_heads_are_trained():
    system, features = judged_by_features()
    batch = batch_of(system)
    losses = system.generator_turn(batch)
    for term in ("feature", "adversarial"):
        system.zero_grad()
        losses[term].backward(retain_graph=True)
        assert gradients(system.generator) > 0, term
    system.zero_grad()
    system.discriminator_turn(batch)["discriminator"].backward()
    assert gradients(system.discriminator) > 0 and gradients(system.generator) == 0
    assert isinstance(system.discriminator, FeatureDiscriminator)
    assert len(system.discriminator.heads) == len(features.channels) == 3
    assert gradients(features) == 0 and not any(weight.requires_grad for weight in features.parameters())
    assert not any(features is module for module in system.modules()), "it is neither averaged nor saved"


def test_every_depth_has_its_say_however_large_its_map():
    system, _ = judged_by_features()
    fine, middle, coarse = system.judge(*(batch_of(system)[role] for role in ("source", "target")))
    assert fine.shape[-1] == 2 * middle.shape[-1] == 4 * coarse.shape[-1]
    system.judge = lambda source, image: [torch.full((1, 1, size, size), float(size == 1)) for size in (4, 1)]
    loss = system.generator_turn(batch_of(system))["adversarial"]
    assert float(loss) == pytest.approx(0.5), "least squares: 1 at the fine depth, 0 at the coarse one"


def test_the_card_names_what_taught_the_model_which_does_without_it(data, tmp_path):
    weights = vgg_file(tmp_path / "vgg16.pth")
    settings = {**FLAT, "feature_model": str(weights), "feature_weight": 1, "feature_depths": "1,2"}
    output = train("paired", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=1)
    note = load_model(output).card.training["features"]
    assert (note["model"], note["depths"], len(note["sha256"])) == ("VGG16 (vgg16.pth)", [1, 2], 64)
    assert all(name.startswith("generator.") for name in load_file(output))
    kept = load_checkpoint(tmp_path / "m.run" / "checkpoint.pt")["weights"]
    assert all(name.startswith("generator.") for name in kept)
    weights.unlink()
    assert np.isfinite(apply_model(load_model(output), {"source": head(9)}).outputs["target"].voxels).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"feature_model": "no-such-model"}, "feature_model 'no-such-model' cannot be used: There is no model called"),
        ({"feature_model": "nowhere/vgg16.pth"}, "There is no file .*vgg16.pth with VGG weights: correct the setting"),
        ({"feature_model": "brain-t1-to-t2"}, "of the system paired: give a model of the system segmentor"),
        ({"slab": 5}, "it sees 2.5D images of 3 slices, and here they are 2.5D of 5 slices: set context and slab"),
        ({"context": "3D", "patch": "8,16,16"}, "it sees 2.5D images of 3 slices, and here they are 3D"),
        ({"target_intensity": "window:0:255"}, "it sees intensities as median:0:3, and target_intensity is window"),
        ({"feature_depths": "1,6"}, "it has 5 depths, and 6 was asked for: lower feature_depths"),
    ],
)
def test_a_feature_model_that_does_not_fit_is_refused_before_any_work(settings, sentence, tmp_path):
    settings = {**SLAB, **FEATURES, "feature_weight": 1, **settings}
    with pytest.raises(DataError, match=sentence):
        train("paired", tmp_path / "never looked at", tmp_path / "m.safetensors", settings=settings, steps=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda state: {f"{name}x": weight for name, weight in state.items()}, "not those of VGG16 or VGG19"),
        (lambda state: {**state, "features.1.running_mean": torch.zeros(64)}, r"\(without batch norm\)"),
        (lambda state: [1, 2], "it holds no weights by name"),
    ],
)
def test_weights_of_another_network_are_refused(spoil, sentence, tmp_path):
    settings = {**FLAT, "feature_weight": 1, "feature_model": str(vgg_file(tmp_path / "other.pth", change=spoil))}
    with pytest.raises(DataError, match=f"other.pth cannot be used: .*{sentence}"):
        train("paired", tmp_path, tmp_path / "m.safetensors", settings=settings, steps=1)
    (tmp_path / "other.pth").write_bytes(b"PK damaged")
    with pytest.raises(DataError, match="it is damaged, or holds more than plain weights"):
        train("paired", tmp_path, tmp_path / "m.safetensors", settings=settings, steps=1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"feature_weight": 1}, "feature_model is empty, .* name a segmentor of the target, such as brain-t2-tissue"),
        ({"adversarial_weight": 1, "discriminator": "features"}, "feature_model is empty"),
        ({"l1_weight": 0}, "are 0: raise one"),
        ({"feature_weight": 1, "feature_model": "x", "feature_depths": ()}, "feature_depths is empty"),
    ],
)
def test_settings_that_teach_nothing_are_named(settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        build_system("paired", {**FLAT, **settings})


# Context-aware GAN (Nie 2017)


class Tagged(nn.Module):
    """Answers its own number everywhere, and remembers what it was asked."""

    def __init__(self, number: int):
        super().__init__()
        self.tag, self.asked = nn.Parameter(torch.tensor(float(number))), []

    def forward(self, image):
        self.asked.append(image)
        return self.tag + 0 * image[:, :1]


def test_predictions_for_the_next_stage_are_out_of_fold():
    made = []
    network = AutoContext(lambda channels: made.append(Tagged(len(made))) or made[-1], 1, stages=3, folds=3)
    assert [len(copies) for copies in network.early] == [3, 3]
    fold = torch.tensor([2, 0, 1, 2])
    source = fold.float().view(4, 1, 1, 1, 1).expand(4, 1, 1, 2, 2).contiguous()
    lessons = network.lessons(source, fold)
    for number in range(6):
        answer, of = lessons[number]
        assert (answer == number).all() and torch.equal(of, fold != number % 3), "a copy does not learn from its fold"
        assert answer.requires_grad
    second = network.early[1][0].asked[0]  # what its lesson showed it: images of the folds 1 and 2
    assert torch.equal(second[:, 1, 0, 0, 0], second[:, 0, 0, 0, 0]), "first-stage answers by the copy of the own fold"
    last = network.last.asked[0]
    assert torch.equal(last[:, 1, 0, 0, 0], 3 + fold.float())
    assert not last.requires_grad and lessons[-1][1].all()


def test_all_stages_are_applied_by_the_one_model(data, tmp_path):
    settings = {**FLAT, "stages": 2, "folds": 2}
    output = train("context_aware", data / "paired", tmp_path / "m.safetensors", settings=settings, steps=2)
    system = load_model(output).build()
    image = torch.rand(1, 1, 1, 16, 16)
    copies = system.generator.early[0]
    context = (copies[0](image) + copies[1](image)) / 2
    expected = system.generator.last(torch.cat([image, context], 1))
    assert torch.allclose(system.apply({"source": image})["target"], expected, atol=1e-6)
    assert not torch.allclose(copies[0](image), copies[1](image), atol=1e-3)


def test_all_networks_of_all_stages_learn_in_one_turn():
    system = build_system("context_aware", {**FLAT, "stages": 3})
    losses = system.generator_turn(batch_of(system, 4))
    assert set(losses) == {"l2", "gradient_difference", "adversarial"}
    sum(losses.values()).backward()
    for network in (*system.generator.early[0], *system.generator.early[1], system.generator.last):
        assert gradients(network) > 0
    alone = build_system("context_aware", {**FLAT, "stages": 1})
    assert alone.folds == 0 and set(alone.generator_turn(batch_of(alone))) == set(losses)


def test_cases_of_one_subject_are_in_one_fold_and_patches_say_which():
    system = build_system("context_aware", {**FLAT, "batch": 16, "folds": 3})
    cases = [case(f"{subject}-{visit}", subject, source=level, target=level)
             for subject, level in (("a", -0.6), ("b", -0.2), ("c", 0.2), ("d", 0.6)) for visit in (1, 2)]
    sampler = PatchSampler(cases, system, 0)
    batch = sampler.batch("cpu")
    expected = {-0.6: 0, -0.2: 1, 0.2: 2, 0.6: 0}
    for image, fold in zip(batch["target"], batch["fold"], strict=True):
        level = min(expected, key=lambda each: abs(each - float(image.max())))
        assert int(fold) == expected[level]
    assert set(batch["fold"].tolist()) == {0, 1, 2}


def test_fewer_subjects_than_folds_are_refused():
    system = build_system("context_aware", {**FLAT, "folds": 3})
    cases = [case(f"a-{visit}", "a", source=0.1, target=0.1) for visit in range(4)]
    with pytest.raises(DataError, match="needs training cases of at least 3 subjects, .* there is 1: give more, or"):
        check_roles(cases, system)
    check_roles([*cases, case("b", source=0.1, target=0.1), case("c", source=0.1, target=0.1)], system)


@pytest.mark.parametrize("context", ["2D", "3D"])
def test_a_network_without_pooling_keeps_its_resolution_and_sees_25_voxels(context):
    network = Translator(1, 1, context, width=4, backbone="fcn")
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Conv3d)]
    assert len(layers) == 9 and all(set(layer.stride) == {1} for layer in layers)
    for step in network.body.steps:
        step[1], step[2] = nn.Identity(), nn.Identity()  # statistics of the whole image reach further
    image = torch.rand(1, 1, *((1, 35, 37) if context == "2D" else (5, 35, 37)), requires_grad=True)
    answer = network(image)
    assert answer.shape == image.shape
    answer[0, 0, answer.shape[2] // 2, 17, 18].backward()
    rows, columns = (image.grad[0, 0].abs().sum(axes).nonzero().flatten() for axes in ((0, 2), (0, 1)))
    assert (int(rows.min()), int(rows.max())) == (5, 29)
    assert (int(columns.min()), int(columns.max())) == (6, 30)


def test_auto_context_in_slabs_gives_the_same_volume():
    torch.manual_seed(0)
    network = AutoContext(lambda channels: Translator(channels, 1, "3D", width=4, backbone="fcn"), 1, 2, 2).eval()
    image = torch.rand(1, 1, 13, 18, 16)
    with torch.no_grad():
        plain = network(image)
        for translator in (*network.early[0], network.last):
            translator.slab_bytes = 1
        assert torch.allclose(network(image), plain, atol=1e-4)


# All of them


RESUMED = {
    "mr_gan": ("paired", {**FLAT, "paired_fraction": 0.5}),
    "shape_consistency": ("unpaired", {**FLAT, **SEGMENTING, "segmentor_warmup": 3}),
    "context_aware": ("paired", FLAT),
    "paired": ("paired", {**SLAB, **FEATURES, "adversarial_weight": 1, "discriminator": "features"}),
}


@pytest.mark.parametrize("system", RESUMED)
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(system, data, tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder, settings = RESUMED[system]
    arguments = {"settings": {**settings, "checkpoint_every": 2}, "steps": 5, "seed": 3}
    train(system, data / folder, tmp_path / "whole.safetensors", **arguments)
    asked = iter((False, False, False, True))
    with pytest.raises(Cancelled):
        train(system, data / folder, tmp_path / "parts.safetensors", cancelled=lambda: next(asked), **arguments)
    torch.manual_seed(99)  # whatever happened in between
    train(system, data / folder, tmp_path / "parts.safetensors", resume=True, **arguments)
    whole, parts = (load_file(tmp_path / f"{name}.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    torch.set_num_threads(threads)
