"""Systems: every one is trained through the engine in every context, applied, and plays its game as it says."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from synthetic_cases import (
    LABELS,
    SMALL,
    head,
    labels_of,
    other_contrast,
    write_cases,
    write_conditions,
    write_images,
    write_pairs,
)

from GANSynthesisLib.card import TASKS
from GANSynthesisLib.classes import Classification
from GANSynthesisLib.inference import apply_model, generate
from GANSynthesisLib.models import ModelError, load_model
from GANSynthesisLib.systems import UnknownSystem, build_system, describe_systems, names, systems
from GANSynthesisLib.systems.artifacts import with_artifacts
from GANSynthesisLib.systems.settings import SettingsError
from GANSynthesisLib.training import train
from GANSynthesisLib.training.segmentors import extract_segmentor
from GANSynthesisLib.transforms import SpatialTransform

CONTEXTS = {
    "2D": {"context": "2D", "patch": "16,16"},
    "2.5D": {"context": "2.5D", "slab": 3, "patch": "16,16"},
    "3D": {"context": "3D", "patch": "8,16,16", "spacing": 3},
}
SEGMENTING = {"segmentation_weight": 1, "labels": LABELS, "segmentor_width": 4}
FEATURES = {"feature_model": "brain-t2-tissue", "target_intensity": "median:0:3"}
REGISTER = {
    "width": 4, "critic_width": 4, "patch": "16,16,16", "spacing": 5, "keypoints": 4, "validation_fraction": 0,
    "batch": 1, "warmup": 0,
}
DEFORM = {name: value for name, value in REGISTER.items() if name != "keypoints"}
GENERATE = {
    "width": 4, "critic_width": 4, "latent": 4, "batch": 2, "critic_turns": 2, "warmup": 0, "validation_fraction": 0,
}
NOISE = {name: value for name, value in GENERATE.items() if name != "critic_turns"} | {"patch": "16,16"}
CLASSIFY = {"width": 4, "batch": 2, "warmup": 0, "validation_fraction": 0}
SHAPES = {"2D": {}, "3D": {"context": "3D", "patch": "8,16,16"}}
FOUNDATIONS = ("gan", "lsgan", "dcgan", "progressive", "cgan", "acgan", "infogan")
RECIPES = {
    **{f"paired {name}": ("paired", {**SMALL, **context}) for name, context in CONTEXTS.items()},
    **{f"paired adversarial {name}": ("paired", {
        **SMALL, **context, "adversarial_weight": 0.1, "gradient_difference_weight": 0.1,
    }) for name, context in CONTEXTS.items()},
    "paired judged by features 2.5D": ("paired", {
        **SMALL, **CONTEXTS["2.5D"], **FEATURES, "adversarial_weight": 0.1, "feature_weight": 1,
        "discriminator": "features",
    }),
    **{f"context_aware {name}": ("context_aware", {**SMALL, **context}) for name, context in CONTEXTS.items()},
    "context_aware of three stages 2D": ("context_aware", {**SMALL, **CONTEXTS["2D"], "stages": 3, "batch": 4}),
    **{f"cyclegan {name}": ("cyclegan", {**SMALL, **context}) for name, context in CONTEXTS.items()},
    "cyclegan with everything 2.5D": ("cyclegan", {
        **SMALL, **CONTEXTS["2.5D"], **SEGMENTING, "gradient_consistency_weight": 0.5, "identity_weight": 1,
        "cycle_noise": 0.05, "backbone": "resnet", "pool": 3,
    }),
    "cyclegan segmenting 3D": ("cyclegan", {**SMALL, **CONTEXTS["3D"], **SEGMENTING, "adversarial": "hinge"}),
    **{f"mr_gan {name}": ("mr_gan", {**SMALL, **context}) for name, context in CONTEXTS.items()},
    "mr_gan without pairs 2D": ("mr_gan", {**SMALL, **CONTEXTS["2D"], "paired_fraction": 0}),
    "mr_gan segmenting 2.5D": ("mr_gan", {
        **SMALL, **CONTEXTS["2.5D"], **SEGMENTING, "paired_fraction": 0.5, "gradient_consistency_weight": 0.5,
    }),
    **{f"shape_consistency {name}": ("shape_consistency", {
        **SMALL, **context, **SEGMENTING, "segmentor_warmup": 0,
    }) for name, context in CONTEXTS.items()},
    "shape_consistency without target labels 2D": ("shape_consistency", {
        **SMALL, **CONTEXTS["2D"], **SEGMENTING, "segmentor_warmup": 0, "target_labeled": False,
    }),
    **{f"tdgan {name}": ("tdgan", {**SMALL, **context, **SEGMENTING, "segmentor_steps": 2})
       for name, context in CONTEXTS.items()},
    **{f"collagan {name}": ("collagan", {**SMALL, **context, "sources": "T1,T2"})
       for name, context in CONTEXTS.items()},
    **{f"segmentor {name}": ("segmentor", {
        key: value for key, value in {**SMALL, **context, "labels": LABELS, "segmentor_width": 4}.items()
        if key not in ("levels", "blocks", "discriminator_width", "discriminator_layers")
    }) for name, context in CONTEXTS.items()},
    "thin_slices": ("thin_slices", {**SMALL, "patch": "16,16,16", "factor": 2, "noise": 0.02}),
    "thin_slices adversarial": ("thin_slices", {
        **SMALL, "patch": "16,16,16", "profile": "boxcar", "backbone": "resnet", "adversarial_weight": 0.1,
    }),
    "thin_slices of two stacks": ("thin_slices", {
        **SMALL, "patch": "16,16,16", "factor": 2, "second_stack": True, "adversarial_weight": 0.1,
    }),
    "high_resolution": ("high_resolution", {**SMALL, "patch": "16,16,16", "adversarial_weight": 0.1}),
    "wgan penalty 2D": ("wgan", {**GENERATE, "patch": "16,16"}),
    "wgan clipping 2D": ("wgan", {
        **GENERATE, "patch": "16,16", "lipschitz": "clipping", "optimizer": "rmsprop", "learning_rate": 5e-5,
    }),
    "wgan penalty 3D": ("wgan", {**GENERATE, "context": "3D", "patch": "16,16,16"}),
    "wgan clipping 3D": ("wgan", {**GENERATE, "context": "3D", "patch": "16,16,16", "lipschitz": "clipping"}),
    **{f"{name} {context}": (name, {**NOISE, **shape}) for name in FOUNDATIONS for context, shape in SHAPES.items()},
    "gan minimax 2D": ("gan", {**NOISE, "adversarial": "minimax"}),
    "dcgan normalized over the batch 2D": ("dcgan", {**NOISE, "batch": 4}),
    "cgan of a value 3D": ("cgan", {**NOISE, **SHAPES["3D"], "conditioning": "value", "judging": "channels"}),
    "cgan with structures 2D": ("cgan", {**NOISE, "conditioning": "labels", "labels": LABELS}),
    "cgan of everything 3D": ("cgan", {
        **NOISE, **SHAPES["3D"], "conditioning": "class,value,labels", "labels": LABELS,
    }),
    "classifier 2D": ("classifier", {**CLASSIFY, "patch": "16,16"}),
    "coverage": ("coverage", {
        "patch": "16,16", "width": 4, "latent": 4, "batch": 4, "feature_steps": 2, "warmup": 0,
        "validation_fraction": 0, "value_range": "0,100",
    }),
    "classifier of crops 3D": ("classifier", {**CLASSIFY, **SHAPES["3D"], "fit": "crop", "classes": "dark,bright"}),
    **{f"mgan {name}": ("mgan", {
        **SMALL, **context, "feature_model": "brain-t2-tissue", "feature_depths": "1,2", "target_intensity":
        "median:0:3", "content_weight": 0.5,
    }) for name, context in CONTEXTS.items() if name == "2.5D"},
    "registration aligned": ("wgan_registration", {**REGISTER, "aligned": True, "contrast": 0.5}),
    "adversarial registration": ("adversarial_registration", DEFORM),
    "adversarial registration aligned": ("adversarial_registration", {
        **DEFORM, "aligned": True, "diffeomorphic": True,
    }),
    "synthesis registration": ("synthesis_registration", {
        **DEFORM, "steps": 2, "identity_weight": 1, "gradient_consistency_weight": 0.3, "critic_turns": 2,
    }),
    "synthesis registration aligned": ("synthesis_registration", {
        **DEFORM, "steps": 1, "aligned": True, "translate": False, "similarity": "nmi", "diffeomorphic": True,
    }),
    "registration rigid aligned": ("wgan_registration", {
        **REGISTER, "aligned": True, "linear": "rigid", "dense": False, "start": "foreground",
    }),
    "registration by labels": ("wgan_registration", {
        **REGISTER, "artifacts": "fixed,moving", "structures": 1, "structure_names": "tissue", "correction": 5,
        "population": True,
        "landmark_weight": 0.1,
        "diffeomorphic": True, "axes": "image", "misalignment_weight": 1,
    }),
}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing curves takes longer than these runs; `test_training.py` looks at them."""
    monkeypatch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Folders of cases: `paired`, `unpaired` (with labels), `images`, `aligned` and `labeled` pairs."""
    root = tmp_path_factory.mktemp("cases")
    write_cases(root / "paired", 2, labels=True)
    (root / "contrasts").mkdir()
    for contrast, role in (("T1", "source"), ("T2", "target")):
        (root / "contrasts" / contrast).symlink_to(root / "paired" / role)
    write_cases(root / "unpaired", 2, paired=False, labels=True)
    write_images(root / "images", 2, (16, 20, 20))
    write_conditions(root / "conditions")
    write_pairs(root / "aligned", 2)
    write_pairs(root / "labeled", 2, labels=True, aligned=False)
    return root


def folder_of(system: str, settings: dict) -> str:
    if "registration" in system:
        return "labeled" if settings.get("structures") else "aligned"
    if system in (*FOUNDATIONS, "classifier", "coverage"):
        return "conditions/cases.csv"
    return {"wgan": "images", "mgan": "unpaired", "cyclegan": "unpaired", "shape_consistency": "unpaired",
            "tdgan": "unpaired", "collagan": "contrasts", "thin_slices": "images",
            "high_resolution": "images"}.get(system, "paired")


def test_the_recipes_train_every_system():
    assert {system for system, _ in RECIPES.values()} == set(names()) == set(systems())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_few_steps_give_a_model_that_can_be_applied(recipe, data, tmp_path):
    system, settings = RECIPES[recipe]
    output = tmp_path / "model.safetensors"
    train(system, data / folder_of(system, settings), output, settings=settings, steps=2)
    model = load_model(output)
    assert model.card.system == system
    assert model.card.training["steps"] == 2
    with (tmp_path / "model.run" / "losses.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    losses = {name: float(value) for name, value in row.items()}
    assert np.isfinite(list(losses.values())).all()
    assert {name.split("/")[0] for name in losses} >= set(load_model(output).build().turns)

    source = head(9, (7, 26, 22))
    pair = {"fixed": source, "moving": other_contrast(source)}
    if model.card.task == "generate":
        mask = {"mask": labels_of(source)} if "labels" in settings.get("conditioning", "") else {}
        if mask and model.card.context == "2D":
            mask = {"mask": labels_of(head(9, (1, 26, 22)))}
        result = generate(model, 2, seed=3, **mask)
        assert sorted(result.outputs) == ["image_1", "image_2"]
    elif "registration" in system:
        result = apply_model(model, pair)
        assert np.isfinite(result.report["quality"])
    else:
        crossing = source.with_voxels(source.voxels, ijk_to_ras=np.diag([3, 1.5, 1.5, 1]))
        given = {"second": crossing} if settings.get("second_stack") else {}
        result = apply_model(model, {model.card.inputs[0].name: source, **given})
    expected = {"synthetic_T2"} if system == "collagan" else {port.name for port in model.card.outputs}
    assert model.card.task == "generate" or set(result.outputs) == expected
    json.dumps(result.report, allow_nan=False)
    for output in result.outputs.values():
        if isinstance(output, SpatialTransform):
            assert np.isfinite(output.points(source.grid.points().reshape(-1, 3))).all()
            continue
        if isinstance(output, Classification):
            assert system == "coverage" or sorted(output.probabilities) == ["bright", "dark"]
            assert sum(output.probabilities.values()) == pytest.approx(1)
            continue
        assert np.isfinite(output.voxels).all()
        if model.card.task == "reconstruct":
            assert np.prod(output.shape) > np.prod(source.shape)
        elif model.card.task != "generate":
            assert output.grid.same_as(source.grid)
        if output.label_names:
            assert set(np.unique(output.voxels)) <= {0, 1, 2}
            assert output.label_names == ({1: "tissue"} if "fixed" in model.card.inputs[0].name else
                                          {1: "tissue", 2: "bright"})


def test_a_segmentor_trained_through_translation_becomes_a_model_of_its_own(data, tmp_path):
    settings = {**SMALL, **CONTEXTS["2.5D"], **SEGMENTING, "target_modality": "T2"}
    whole = train("cyclegan", data / "unpaired", tmp_path / "cycle.safetensors", settings=settings, steps=1)
    alone = load_model(extract_segmentor(whole, tmp_path / "alone.safetensors"))
    image = other_contrast(head(9))
    through = apply_model(load_model(whole), {"target": image}).outputs["segmentation"]
    found = apply_model(alone, {"source": image}).outputs["segmentation"]
    assert np.array_equal(found.voxels, through.voxels)
    assert found.label_names == through.label_names
    assert (alone.card.task, alone.card.inputs[0].modality) == ("segment", "T2")
    with pytest.raises(ModelError, match="has no segmentor"):
        extract_segmentor(tmp_path / "alone.safetensors", tmp_path / "again.safetensors")


# The rules of the games


def batch_of(system, count: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shape = (count, 1, *system.settings.window())
    source = torch.nn.functional.avg_pool3d(torch.randn(shape), (1, 3, 3), 1, (0, 1, 1)).clamp(-1, 1)
    return {
        "source": source, "target": -0.5 * source.flip(0), "labels": (source > 0).float(), "image": source,
        "fixed": source, "moving": source.roll(2, 4),
    }


def gradients(module: torch.nn.Module) -> float:
    return sum(float(weight.grad.abs().sum()) for weight in module.parameters() if weight.grad is not None)


def test_the_segmentation_term_alone_teaches_the_generator():
    system = build_system("cyclegan", {**SMALL, **CONTEXTS["2D"], **SEGMENTING})
    losses = system.generators_turn(batch_of(system))
    losses["segmentation"].backward()
    assert gradients(system.to_target) > 0
    assert gradients(system.segmentor) > 0
    assert gradients(system.to_source) == gradients(system.judge_target) == 0


def test_terms_with_weight_zero_are_not_computed():
    system = build_system("cyclegan", {**SMALL, **CONTEXTS["2D"]})
    assert set(system.generators_turn(batch_of(system))) == {"adversarial", "cycle"}
    assert system.roles == ("source", "target")
    assert not hasattr(system, "segmentor")
    assert build_system("paired", {**SMALL, **CONTEXTS["2D"]}).turns == ("generator",)


@pytest.mark.parametrize(
    "recipe", ["cyclegan 2D", "paired adversarial 2.5D", "paired judged by features 2.5D", "mr_gan 2D",
               "shape_consistency 2D", "wgan penalty 2D", "acgan 2D", "infogan 2D", "progressive 2D", "mgan 2.5D",
               "registration aligned"]
)
def test_players_do_not_change_outside_their_turns(recipe, data, tmp_path, monkeypatch):
    from GANSynthesisLib.training.engine import Engine

    name, settings = RECIPES[recipe]
    play, seen = Engine._turn, []

    def watched(engine, turn, *rest):
        players = {n for names in engine.raw.players.values() for n in names}
        before = {n: [w.detach().clone() for w in getattr(engine.raw, n).parameters()] for n in players}
        answer = play(engine, turn, *rest)
        for player in players:
            same = all(torch.equal(a, b) for a, b in zip(
                before[player], getattr(engine.raw, player).parameters(), strict=True))
            assert same == (player not in engine.raw.players[turn]), (turn, player)
            frozen = not any(w.requires_grad for w in getattr(engine.raw, player).parameters())
            assert frozen == (player not in engine.raw.players[turn])
        seen.append(turn)
        return answer

    monkeypatch.setattr(Engine, "_turn", watched)
    train(name, data / folder_of(name, settings), tmp_path / "m.safetensors", settings=settings, steps=2)
    assert seen == list(load_model(tmp_path / "m.safetensors").build().turns) * 2


def test_a_discriminator_judges_the_fakes_of_the_generators_turn():
    system = build_system("paired", {**SMALL, **CONTEXTS["2D"], "adversarial_weight": 1})
    batch, judged = batch_of(system), []
    system.generator_turn(batch)
    expected = torch.cat([batch["source"], system.generator(batch["source"])], 1)
    system.use_pool(lambda name, fakes: judged.append(fakes) or fakes)
    system.discriminator_turn(batch)["discriminator"].backward()
    assert torch.equal(judged[0], expected)
    assert not judged[0].requires_grad
    assert gradients(system.generator) == 0


def test_clipping_keeps_the_critic_within_its_bound(data, tmp_path, monkeypatch):
    from GANSynthesisLib.systems.wgan import WGAN

    bounds, clip = [], WGAN.after_turn

    def watched(system, turn):
        clip(system, turn)
        bounds.append(max(float(weight.detach().abs().max()) for weight in system.judge.parameters()))

    monkeypatch.setattr(WGAN, "after_turn", watched)
    settings = RECIPES["wgan clipping 2D"][1]
    train("wgan", data / "images", tmp_path / "m.safetensors", settings={**settings, "clip": 0.02}, steps=1)
    assert max(bounds) <= 0.02 + 1e-8


def test_the_critic_sees_aligned_pairs_as_real_and_remembers_its_scores():
    system = build_system("wgan_registration", {**REGISTER, "aligned": True})
    losses = system.critic_turn(batch_of(system))
    assert set(losses) == {"critic", "gradient_penalty"}
    assert float(system.score_aligned) != 0
    assert float(system.score_unregistered) != 0


def test_simulated_misalignment_comes_with_its_truth():
    from GANSynthesisLib.networks.registration import sample

    torch.manual_seed(3)
    system = build_system("wgan_registration", {**REGISTER, "patch": "32,32,32", "spacing": 2, "aligned": True})
    image = torch.from_numpy(head(0, (32, 32, 32)).voxels / 500 - 1)[None, None].float().repeat(5, 1, 1, 1, 1)
    pair = system.misaligned({"fixed": image, "moving": image})
    before = (pair["moving"] - pair["fixed"]).abs().mean()
    after = (sample(pair["moving"], pair["truth"], 2.0, -1) - pair["fixed"]).abs().mean()
    assert float(before) > 0.1
    assert float(after) < 0.25 * float(before)


def test_what_all_patients_share_is_estimated_from_their_labels():
    from GANSynthesisLib.networks.registration import grid_points

    torch.manual_seed(0)
    system = build_system("wgan_registration", {**REGISTER, "structures": 1, "population": True})
    points = grid_points((16, 16, 16), 5.0)[0]

    def blobs(centers):
        return torch.stack([(-(points - each.view(3, 1, 1, 1)).square().sum(0) / 60).exp() for each in centers])[None]

    shared = torch.zeros(3, 4)
    shared[1, 1], shared[2, 1], shared[0, 3] = -0.2, 0.1, 2
    fit = torch.eye(4)[None].clone()
    fit[0, :3, 3] = torch.tensor([6.0, -4, 0])
    for _ in range(60):
        center = torch.randn(3) * 3
        here = [center + torch.randn(3) * 8 for _ in range(4)]
        there = [place + shared[:, :3] @ (place - center) + shared[:, 3] + fit[0, :3, 3] for place in here]
        labels = {"fixed_labels": blobs(here), "moving_labels": blobs(there)}
        system._estimate_population({"fit": fit, "center": center[None]}, labels)
    assert torch.allclose(system.generator.population[:, :3], shared[:, :3], atol=0.03)
    assert torch.allclose(system.generator.population[:, 3], shared[:, 3], atol=0.3)


def test_registration_from_labels_needs_labels_and_says_so(data, tmp_path):
    with pytest.raises(ValueError, match="no files for the role 'fixed_labels'"):
        settings = {**REGISTER, "label_weight": 0}
        train("wgan_registration", data / "aligned", tmp_path / "m.safetensors", settings=settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("wgan", {"patch": "18,18"}, "give multiples of 4"),
        ("cgan", {"conditioning": "age"}, "must be one or several of class, value, labels"),
        ("acgan", {}, "name two classes or more"),
        ("mgan", {"feature_depths": "3"}, "give two, the deeper one last"),
        ("wgan", {"context": "2.5D"}, "context is '2.5D'; it must be one of 2D, 3D"),
        ("wgan_registration", {"patch": "17,16,16"}, "give even numbers"),
        ("wgan_registration", {"spacing": "1,1,3"}, "give one number"),
        ("wgan_registration", {"artifacts": "target"}, "name fixed, moving, or both"),
        ("synthesis_registration", {"similarity": "mi"}, "similarity is 'mi'; it must be one of nmi, mind, both"),
        ("synthesis_registration", {"spacing": 3, "control_spacing": 2}, "closer than the voxels of the working grid"),
        ("paired", {"slab": 4}, "give an odd number"),
        ("paired", {"width": 2}, "width is 2; it must be between 4 and 256"),
        ("paired", {"width": "wide"}, "width must be int, not 'wide'"),
        ("paired", {"batch": float("inf")}, "batch must be int"),
        ("paired", {"learning_rate": "nan"}, "must be a finite number"),
        ("paired", {"mask_background": "maybe"}, "mask_background must be bool"),
        ("cyclegan", {"segmentation": 1}, "unknown setting segmentation; there are: adversarial"),
    ],
)
def test_settings_outside_their_range_are_named(name, settings, sentence):
    with pytest.raises(SettingsError, match=sentence):
        build_system(name, settings)


def test_settings_typed_as_text_equal_those_of_a_card():
    for recipe, (name, settings) in RECIPES.items():
        chosen = systems()[name].Settings
        parsed = chosen.parse(settings)
        texts = {key: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                 for key, value in parsed.as_dict().items()}
        assert chosen.parse(texts) == parsed, recipe
        assert chosen.parse(json.loads(json.dumps(parsed.as_dict()))) == parsed


def test_an_unknown_system_is_refused_with_those_there_are():
    with pytest.raises(UnknownSystem, match="no system 'vae'; there are: paired, cyclegan"):
        build_system("vae", {})


def test_every_system_describes_itself():
    described = {each["name"]: each for each in json.loads(json.dumps(describe_systems()))}
    assert set(described) == set(names())
    for each in described.values():
        assert each["task"] in TASKS
        assert each["roles"] and each["turns"] and each["title"] and each["summary"]
        assert re.search(r"\b20[12]\d\b", each["citation"])
        for setting in each["settings"]:
            assert setting["help"], setting
            number = setting["type"] in ("int", "float", "list of int", "list of float")
            assert not number or (setting["low"] is not None and setting["high"] is not None), setting
    weights = {setting["name"] for setting in described["cyclegan"]["settings"]}
    assert {"segmentation_weight", "gradient_consistency_weight", "identity_weight", "cycle_weight"} <= weights


@pytest.mark.parametrize("recipe", ["paired 2.5D", "context_aware 2D", "cyclegan with everything 2.5D", "mr_gan 2D",
                                    "shape_consistency 2D", "wgan penalty 2D", "dcgan 2D", "progressive 2D"])
def test_what_is_deployed_is_what_its_outputs_need(recipe):
    name, settings = RECIPES[recipe]
    system = build_system(name, settings)
    deployed = build_system(name, settings)
    state = {key: value for key, value in system.state_dict().items() if key.startswith(system.deployed())}
    deployed.load_state_dict(state, strict=False)
    inputs = {**batch_of(system, 1), "noise": torch.randn(1, 4)}
    for key, value in system.eval().apply(inputs).items():
        assert torch.equal(deployed.eval().apply(inputs)[key], value)


# Learning

LEARNING = {"width": 8, "patch": "28,24", "batch": 4, "learning_rate": 5e-3, "ema": 0.9, "augment": 0}


def test_a_short_paired_run_learns_the_other_contrast(data, tmp_path):
    settings = {**SMALL, "context": "2D", **LEARNING}
    output = tmp_path / "m.safetensors"
    train("paired", data / "paired", output, settings=settings, steps=80)
    with (tmp_path / "m.run" / "losses.csv").open() as stream:
        losses = [float(row["generator/l1"]) for row in csv.DictReader(stream)]
    assert losses[-1] < 0.5 * losses[0]
    source = head(0)
    inside, truth = source.voxels > 0, other_contrast(source).voxels
    found = apply_model(load_model(output), {"source": source}).outputs["target"].voxels
    flat = np.abs(truth - np.median(truth[inside]))[inside].mean()
    assert np.abs(found - truth)[inside].mean() < 0.6 * flat


def test_a_short_segmentor_run_learns_the_labels(data, tmp_path):
    settings = {**RECIPES["segmentor 2D"][1], **LEARNING}
    output = tmp_path / "m.safetensors"
    train("segmentor", data / "paired", output, settings=settings, steps=40)
    source = head(0)
    found = apply_model(load_model(output), {"source": source}).outputs["segmentation"].voxels
    truth = labels_of(source).voxels
    for value in (1, 2):
        overlap = 2 * np.count_nonzero((found == value) & (truth == value))
        assert overlap / (np.count_nonzero(found == value) + np.count_nonzero(truth == value)) > 0.7


def test_artifacts_change_tissue_within_the_range_and_leave_air():
    torch.manual_seed(0)
    image = torch.rand(40, 1, 12, 14, 16) * 1.8 - 0.9
    image[:, :, :2] = -1
    changed = with_artifacts(image)
    assert torch.equal(changed[:, :, :2], image[:, :, :2]) and changed.min() >= -1 and changed.max() <= 1
    apart = (changed - image).abs().flatten(1).amax(1)
    assert (apart > 0.05).float().mean() > 0.5, "most images change"
    cut = (changed[:, :, 2:] == -1).flatten(1).float().mean(1)
    assert 0.1 < (cut > 0.02).float().mean() < 0.7 and cut.max() < 0.6, "some are cut, none by most of it"


def test_a_run_from_anothers_weights_warms_up_anew():
    system = build_system("wgan_registration", {**REGISTER, "structures": 1, "structure_warmup": 2})
    pair = {role: torch.rand(1, 1, 16, 16, 16) for role in ("fixed", "moving", "fixed_labels", "moving_labels")}
    for _ in range(2):
        assert set(system.generator_turn(pair)) == {"structure"}
        system.after_turn("generator")
    assert "label" in system.generator_turn(pair)
    system.start_anew()
    assert set(system.generator_turn(pair)) == {"structure"}
