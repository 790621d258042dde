"""Model files: a card that keeps its word, a file that is whole or says what is wrong, a list that is quick."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import types
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from GANSynthesisLib import models
from GANSynthesisLib.card import Card, ModelError, Port
from GANSynthesisLib.models import ModelWarning, list_models, load_model, save_model
from GANSynthesisLib.systems import build_system, names

REPOSITORY = Path(__file__).resolve().parents[2]


class Tiny(torch.nn.Module):
    def __init__(self, channels=3):
        super().__init__()
        self.convolution = torch.nn.Conv3d(1, channels, 3)
        self.norm = torch.nn.BatchNorm3d(channels)
        self.critic = torch.nn.Linear(2, 1)

    def deployed(self):
        return "convolution", "norm"


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    """Empty folders of shipped and of user models."""
    shipped, user = tmp_path / "shipped", tmp_path / "user"
    shipped.mkdir()
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(user))
    monkeypatch.setattr(models, "shipped_models_folder", lambda: shipped)
    return types.SimpleNamespace(shipped=shipped, user=user)


@pytest.fixture
def tiny_system(monkeypatch):
    """A list of systems with one tiny member."""
    module = types.ModuleType("GANSynthesisLib.systems")
    module.names = lambda: ("tiny",)
    module.build_system = lambda name, settings: {"tiny": Tiny}[name](**settings)
    monkeypatch.setitem(sys.modules, "GANSynthesisLib.systems", module)


def make_card(**changes) -> Card:
    source = Port("source", "T1", intensity={"kind": "percentile", "lower": 0.5, "upper": 99.5})
    target = Port("target", "CT", "HU", intensity={"kind": "window", "lower": -1024, "upper": 3071}, needs=("source",))
    content = {
        "name": "brain-t1-ct", "title": "Brain T1 to CT", "description": "For tests – größer.", "system": "tiny",
        "task": "synthesize", "settings": {"channels": 3}, "inputs": (source,), "outputs": (target,),
        "spacing": (1.0, 1.0, None), "shape": (1, 64, 64), "context": "2.5D", "anatomy": "brain",
        "training": {"subjects": ["a", "b"]}, "metrics": {"mae": 12.5}, "licence": "CC-BY-4.0",
        "citations": ("Zhu 2017",), "versions": {"torch": "2.13.0"}, "seed": 7,
    }  # fmt: skip
    return Card(**(content | changes))


def save_tiny(path, seed=0, **changes):
    torch.manual_seed(seed)
    system = Tiny()
    return system, save_model(path, system.state_dict(), make_card(**changes))


def message_of(callable_, *arguments) -> str:
    """The error's sentence; it must be one line that ends as a sentence."""
    with pytest.raises(ModelError) as caught:
        callable_(*arguments)
    text = str(caught.value)
    assert "\n" not in text and text.endswith("."), text
    return text


def test_card_survives_json():
    labels = Port("segmentation", "label", label_names={0: "background", 12: "thalamus"}, needs=("source",))
    card = make_card(outputs=(*make_card().outputs, labels), settings={"kernel": (3, 3), "norm": None})
    again = Card.from_json(card.to_json())
    assert again == card
    assert again.output("segmentation").label_names == {0: "background", 12: "thalamus"}
    assert again.spacing == (1.0, 1.0, None)
    assert isinstance(again.citations, tuple) and isinstance(again.inputs, tuple)


def test_tasks_follow_from_outputs():
    labels = Port("segmentation", "label", needs=("source",))
    assert make_card().tasks == ("synthesize",)
    assert make_card(outputs=(*make_card().outputs, labels)).tasks == ("synthesize", "segment")
    assert make_card(task="segment", outputs=(labels,)).tasks == ("segment",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../evil"}, "name must match"),
        ({"title": "  "}, "title must not be empty"),
        ({"title": 3}, "title must be text"),
        ({"description": "\ud800"}, "UTF-8"),
        ({"task": "paint"}, "task must be one of"),
        ({"context": "4D"}, "context must be one of"),
        ({"settings": ["a"]}, "settings must be an object"),
        ({"settings": {"a": object()}}, "settings.a must be plain JSON data"),
        ({"metrics": {"t2": {"mae": float("nan")}}}, "metrics.t2.mae is nan"),
        ({"training": {1: "a"}}, "every key of training"),
        ({"versions": {"torch": 2}}, "versions['torch'] must be text"),
        ({"spacing": (1, 1)}, "spacing must be"),
        ({"spacing": (1, 1, -1)}, "spacing must be"),
        ({"spacing": (1, 1, float("inf"))}, "spacing must be"),
        ({"shape": (1, 64)}, "shape must be"),
        ({"shape": (1, 64, 0.5)}, "every size of shape"),
        ({"seed": True}, "seed must be"),
        ({"citations": "Zhu 2017"}, "citations must be a list"),
        ({"inputs": ()}, "at least one input"),
        ({"outputs": ()}, "at least one output"),
        ({"inputs": (Port("source", "T1"), Port("source", "T2"))}, "twice"),
        ({"inputs": (Port("source", "T1", needs=("fixed",)),)}, "needs of input"),
        ({"outputs": (Port("target", "T2", needs=("fixed",)),)}, "not among the inputs"),
        ({"outputs": (Port("target", "T2", intensity=dict(kind="percentile", lower=0, upper=99)),)}, "percentiles"),
        ({"format": 2}, "newer GANSynthesis: update the extension"),
    ],
)
def test_card_refuses_wrong_fields(changes, words):
    assert words in message_of(lambda: make_card(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "a=b"}, "name must match"),
        ({"unit": None}, "unit of port 'x' must be text"),
        ({"intensity": {"kind": "window"}}, "kind, lower and upper"),
        ({"intensity": {"kind": "gray", "lower": 0, "upper": 1}}, "one of percentile"),
        ({"intensity": {"kind": "window", "lower": 1, "upper": 1}}, "lower < upper"),
        ({"intensity": {"kind": "window", "lower": 0, "upper": float("nan")}}, "lower < upper"),
        ({"intensity": {"kind": "percentile", "lower": -1, "upper": 99}}, "between 0 and 100"),
        ({"label_names": {"one": "gland"}}, "every label"),
        ({"label_names": {1: ""}}, "must not be empty"),
        ({"optional": 1}, "true or false"),
    ],
)
def test_port_refuses_wrong_fields(changes, words):
    assert words in message_of(lambda: Port(**({"name": "x", "modality": "T1"} | changes)))


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Card)])
def test_json_without_a_field_names_it(name):
    content = json.loads(make_card().to_json())
    del content[name]
    assert f"'{name}'" in message_of(Card.from_json, json.dumps(content)) or name == "format"


def test_json_with_foreign_content_is_refused():
    content = json.loads(make_card().to_json())
    assert "'color'" in message_of(Card.from_json, json.dumps(content | {"color": "red"}))
    assert "inputs[0]" in message_of(Card.from_json, json.dumps(content | {"inputs": [{"name": "source"}]}))
    assert "list of ports" in message_of(Card.from_json, json.dumps(content | {"outputs": "target"}))
    assert "not JSON" in message_of(Card.from_json, "{")
    assert "not a JSON object" in message_of(Card.from_json, "[]")
    assert "metrics.mae is nan" in message_of(Card.from_json, make_card().to_json().replace("12.5", "NaN"))


def test_saved_model_builds_with_the_same_weights(tmp_path, tiny_system):
    path = tmp_path / "model.safetensors"
    system, sha256 = save_tiny(path)
    model = load_model(path)
    assert (model.card, model.path, model.sha256) == (make_card(), path, sha256)
    built = model.build()
    assert not built.training
    for name, tensor in system.state_dict().items():
        assert torch.equal(built.state_dict()[name], tensor), name


def test_hash_follows_names_types_shapes_and_values(tmp_path):
    def hash_of(state):
        return save_model(tmp_path / "model.safetensors", state, make_card())

    weight = torch.arange(6.0)
    first = hash_of({"a": weight, "b": weight})
    assert first == hash_of({"b": weight.clone(), "a": weight.clone()})
    others = [{"a": weight, "c": weight}, {"a": weight, "b": weight.half()}, {"a": weight, "b": weight.view(2, 3)},
              {"a": weight, "b": weight + 1}]  # fmt: skip
    assert len({first, *map(hash_of, others)}) == 5


def test_views_and_half_precision_are_kept(tmp_path):
    path = tmp_path / "model.safetensors"
    matrix = torch.arange(12.0).view(3, 4)
    save_model(path, {"transposed": matrix.t(), "row": matrix[1], "bf16": matrix.bfloat16()}, make_card())
    kept = load_file(path)
    assert torch.equal(kept["transposed"], matrix.t()) and torch.equal(kept["row"], matrix[1])
    assert kept["bf16"].dtype == torch.bfloat16


def test_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    save_tiny(path)
    before = path.read_bytes()

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    assert "No space left" in message_of(save_tiny, path, 1)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [path.name]


def test_save_refuses_other_suffixes(tmp_path):
    assert ".safetensors" in message_of(save_tiny, tmp_path / "model.pt")


def test_missing_file_and_unknown_name(tmp_path, folders):
    save_tiny(folders.shipped / "one.safetensors", name="one")
    save_tiny(folders.user / "two.safetensors", name="two")
    assert "no model file" in message_of(load_model, tmp_path / "absent.safetensors")
    assert "no model file" in message_of(load_model, "absent.safetensors")
    assert "known models: one, two" in message_of(load_model, "three")


def test_known_name_wins_over_a_file_that_happens_to_be_called_so(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny(folders.shipped / "one.safetensors", name="one")
    (tmp_path / "one").write_text("notes")
    assert load_model("one").path.parent == folders.shipped
    (tmp_path / "two").write_text("notes")
    assert "not a safetensors file" in message_of(load_model, "two")


def test_foreign_files_are_named_as_such(tmp_path):
    path = tmp_path / "model.safetensors"
    for content in (b"hello", b"just some text, long enough", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        assert "not a safetensors file" in message_of(load_model, path)
    header = b'{"a": 3}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "header is damaged" in message_of(load_model, path)
    save_file({"a": torch.zeros(3)}, path)
    assert "no model card" in message_of(load_model, path)


def test_truncation_anywhere_is_reported(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tiny(path)
    whole = path.read_bytes()
    for size in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "truncated" in message_of(load_model, path), size


def test_damaged_weights_are_reported_on_load_and_on_build(tmp_path, tiny_system):
    path = tmp_path / "model.safetensors"
    save_tiny(path)
    model = load_model(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "hash" in message_of(load_model, path)
    assert "hash" in message_of(model.build)


def rewrite_card(path, **changes):
    content = json.loads(make_card().to_json()) | changes
    tensors = load_file(path)
    sha256 = load_model(path).sha256
    save_file(tensors, path, metadata={"format": "GANSynthesis", "card": json.dumps(content), "hash": sha256})


def test_card_of_a_newer_version_asks_for_an_update(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tiny(path)
    rewrite_card(path, format=2, something_new=1)
    assert "made by a newer GANSynthesis: update the extension" in message_of(load_model, path)


def test_mistyped_card_names_file_and_field(tmp_path):
    path = tmp_path / "model.safetensors"
    save_tiny(path)
    rewrite_card(path, shape="big")
    message = message_of(load_model, path)
    assert "shape" in message and str(path) in message


def test_weights_must_fit_the_architecture(tmp_path, tiny_system):
    path = tmp_path / "model.safetensors"
    state = Tiny().state_dict()
    save_model(path, state, make_card(settings={"channels": 4}))
    assert re.search(r"'\S+' is \(3,.* instead of \(4,", message_of(load_model(path).build))
    save_model(path, {"convolution.bias": state["convolution.bias"]}, make_card())
    assert "is missing" in message_of(load_model(path).build)
    save_model(path, {**state, "extra": torch.zeros(1)}, make_card())
    assert "'extra' is unknown" in message_of(load_model(path).build)


def test_players_that_only_served_in_training_may_be_absent(tmp_path, tiny_system):
    path = tmp_path / "model.safetensors"
    state = Tiny().state_dict()
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("critic.")}
    save_model(path, kept, make_card())
    assert torch.equal(load_model(path).build().convolution.weight, state["convolution.weight"])
    save_model(path, {**kept, "critic.weight": torch.zeros(3, 3)}, make_card())
    assert "'critic.weight' is (3, 3) instead of (1, 2)" in message_of(load_model(path).build)


@pytest.mark.parametrize("name", names())
def test_every_system_comes_back_from_its_file(name, tmp_path):
    torch.manual_seed(0)
    # What training takes from the data, where a system wants it.
    settings = {"width": 8, **({"classes": ("a", "b")} if name in ("classifier", "cgan", "acgan") else {})}
    system = build_system(name, settings)
    deployed = tuple(f"{player}." for player in system.deployed())
    kept = {key: tensor for key, tensor in system.state_dict().items() if key.startswith(deployed) or "." not in key}
    assert kept
    save_model(tmp_path / "model.safetensors", kept, make_card(system=name, settings=system.settings.as_dict()))
    built = load_model(tmp_path / "model.safetensors").build()
    assert type(built) is type(system) and built.settings == system.settings and not built.training
    for key, tensor in kept.items():
        assert torch.equal(built.state_dict()[key], tensor), key
    key, tensor = next(iter(kept.items()))
    longer = {**kept, key: torch.zeros(tensor.numel() + 1)}
    save_model(tmp_path / "longer.safetensors", longer, make_card(system=name, settings=settings))
    assert f"do not fit the system '{name}'" in message_of(load_model(tmp_path / "longer.safetensors").build)
    save_model(tmp_path / "wrong.safetensors", kept, make_card(system=name, settings={"width": 0}))
    assert "settings" in message_of(load_model(tmp_path / "wrong.safetensors").build)


def test_unknown_system_and_settings(tmp_path, tiny_system):
    path = tmp_path / "model.safetensors"
    save_tiny(path, system="diffusion")
    assert "'diffusion', which this GANSynthesis does not have (it has: tiny)" in message_of(load_model(path).build)
    save_tiny(path, settings={"color": 1})
    assert "settings that the system 'tiny' does not take" in message_of(load_model(path).build)


def test_torch_file_with_plain_weights_is_taken(tmp_path, tiny_system):
    path = tmp_path / "model.pt"
    system = Tiny()
    torch.save({"card": make_card().to_json(), "state": system.state_dict()}, path)
    model = load_model(path)
    assert model.sha256 == save_model(tmp_path / "same.safetensors", system.state_dict(), make_card())
    assert torch.equal(model.build().convolution.weight, system.convolution.weight)


class Intruder:
    def __reduce__(self):
        return os.mkdir, ("intruder",)


def test_torch_file_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    torch.save({"card": make_card().to_json(), "state": Intruder()}, path)
    assert "more than plain weights" in message_of(load_model, path)
    assert not (tmp_path / "intruder").exists()
    for content in ({"weights": {}}, {"card": make_card().to_json(), "state": [1]}):
        torch.save(content, path)
        message_of(load_model, path)
    path.write_bytes(b"nothing")
    message_of(load_model, path)


def test_list_has_shipped_models_first_and_survives_broken_files(folders):
    save_tiny(folders.shipped / "b.safetensors", name="b")
    save_tiny(folders.user / "a.safetensors", name="a")
    save_tiny(folders.user / "b2.safetensors", seed=1, name="b")
    (folders.user / "broken.safetensors").write_bytes(b"nothing at all")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list_models()
    assert [model.card.name for model in found] == ["b", "a"]
    assert found[0].path.parent == folders.shipped
    texts = [str(each.message) for each in caught if each.category is ModelWarning]
    assert len(texts) == 2 and "broken.safetensors" in texts[1] + texts[0] and "b2.safetensors" in texts[0] + texts[1]


def test_name_of_a_broken_model_gives_its_problem(folders):
    folders.user.mkdir()
    (folders.user / "mine.safetensors").write_bytes(b"nothing at all")
    with pytest.warns(ModelWarning):
        assert "not a safetensors file" in message_of(load_model, "mine")


def test_listing_reads_neither_torch_nor_weights(tmp_path, folders):
    path = folders.user / "big.safetensors"
    save_model(path, {"weight": torch.zeros(1 << 20)}, make_card(name="big"))
    script = (
        "import builtins, sys\n"
        "from GANSynthesisLib import models\n"
        "read = 0\n"
        "def opened(path, plain=models._open):\n"
        "    stream = plain(path); stream_read = stream.read\n"
        "    class Counter:\n"
        "        def __enter__(self): return self\n"
        "        def __exit__(self, *problem): stream.close()\n"
        "        def read(self, size=-1):\n"
        "            global read; data = stream_read(size); read += len(data); return data\n"
        "        seek = stream.seek\n"
        "    return Counter()\n"
        "models._open = opened\n"
        "assert 'big' in [model.card.name for model in models.list_models()]\n"
        "assert not {'torch', 'safetensors', 'numpy'} & sys.modules.keys(), 'heavy import'\n"
        "assert read < 100_000, read\n"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "GANSYNTHESIS_MODELS": str(folders.user)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)


def test_user_folder_follows_the_platform(monkeypatch, tmp_path):
    monkeypatch.delenv("GANSYNTHESIS_MODELS")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    expected = {"linux": "data", "win32": "local", "darwin": "Library/Application Support"}
    for platform, folder in expected.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert models.user_models_folder() == tmp_path / folder / "GANSynthesis" / "Models"


def test_every_shipped_model_is_whole(monkeypatch):
    monkeypatch.undo()
    for path in sorted(models.shipped_models_folder().glob("*.safetensors")):
        assert load_model(path).card.licence, path
