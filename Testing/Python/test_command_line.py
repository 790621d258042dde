"""The command line: what systems and models it lists, training and applying, and errors in one sentence."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic_cases import LABELS, SMALL, head, other_contrast, write_cases, write_images, write_pairs

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.models import load_model

REPOSITORY = Path(__file__).resolve().parents[2]
FLAT = [f"{name}={value}" for name, value in {**SMALL, "context": "2D", "patch": "16,16"}.items()]


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(tmp_path / "my models"))
    monkeypatch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with the cases, one trained model of every task, and images to apply them to."""
    root = tmp_path_factory.mktemp("trained")
    write_cases(root / "cases", 2, labels=True)
    write_images(root / "pictures", 2, (1, 20, 20))
    write_pairs(root / "pairs", 1)
    write_volume(head(5), root / "T1.nii.gz")
    write_volume(other_contrast(head(5)), root / "T2.nrrd")
    small = ["--steps", "2", "--device", "cpu", "--settings"]
    segmenting = ["segmentation_weight=1", f"labels={LABELS}", "segmentor_width=4", "target_modality=T2"]
    generating = ["width=4", "critic_width=4", "patch=16,16", "batch=2", "critic_turns=1"]
    registering = ["width=4", "critic_width=4", "patch=16", "spacing=5", "keypoints=4", "batch=1", "aligned=yes"]
    for system, data, settings in (
        ("paired", "cases", [*FLAT, "target_modality=T2"]), ("cyclegan", "cases", [*FLAT, *segmenting]),
        ("wgan", "pictures", generating), ("wgan_registration", "pairs", registering),
    ):
        words = ["train", system, "--data", root / data, "--output", root / f"{system}.safetensors", *small, *settings]
        assert main([str(word) for word in words]) == 0
    return root


def run(*words) -> int:
    return main([str(word) for word in words])


def said(capsys) -> str:
    """The one line on stderr, stdout being empty."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


# Lists


def test_systems_as_json_tell_everything_about_each(capsys):
    assert run("systems", "--json") == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {"paired", "cyclegan", "wgan", "wgan_registration"} <= set(listed)
    for each in listed.values():
        assert {"name", "task", "roles", "turns", "settings", "citation"} <= set(each)
        assert each["citation"].endswith(".")
        for setting in each["settings"]:
            assert {"name", "type", "default", "low", "high", "choices", "help"} <= set(setting)
    assert listed["cyclegan"]["roles"] == ["source", "target"]
    assert listed["wgan"]["turns"] == ["critic"] * 5 + ["generator"]
    (width,) = (each for each in listed["paired"]["settings"] if each["name"] == "width")
    assert (width["default"], width["low"], width["high"]) == (32, 4, 256)


def test_systems_as_a_table_have_one_line_each(capsys):
    assert run("systems") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("cyclegan") and "synthesize" in line and "source, target" in line for line in lines)


def test_models_are_listed_with_ports_and_hash(trained, tmp_path, capsys):
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "cyclegan.safetensors").write_bytes((trained / "cyclegan.safetensors").read_bytes())
    assert run("models", "--json") == 0
    (mine,) = (each for each in json.loads(capsys.readouterr().out) if each["name"] == "cyclegan")
    assert mine["tasks"] == ["synthesize", "segment"]
    assert [port["name"] for port in mine["inputs"]] == ["source", "target"]
    assert [port["name"] for port in mine["outputs"]] == ["target", "segmentation"]
    assert len(mine["hash"]) == 64
    assert mine["file"] == str(folder / "cyclegan.safetensors")
    assert run("models") == 0
    assert "source (source), target (T2) -> target, segmentation" in capsys.readouterr().out


def test_a_damaged_model_is_left_out_of_the_list_with_a_warning(trained, tmp_path, capsys):
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "half.safetensors").write_bytes((trained / "paired.safetensors").read_bytes()[:-100])
    assert run("models") == 0
    captured = capsys.readouterr()
    assert "half" not in captured.out
    assert captured.err.startswith("warning: The model file")
    assert "is truncated" in captured.err
    assert captured.err.count("\n") == 1


# Training and applying


def test_a_trained_model_makes_a_synthetic_volume_and_a_report(trained, tmp_path, capsys):
    output, report = tmp_path / "new" / "T2.nii.gz", tmp_path / "new" / "report.json"
    assert run("apply", trained / "paired.safetensors", "--input", f"source={trained / 'T1.nii.gz'}", "--output",
               f"target={output}", "--device", "cpu", "--report", report) == 0
    assert f"wrote {output}" in capsys.readouterr().out
    assert read_volume(output).grid.same_as(read_volume(trained / "T1.nii.gz").grid)
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["outputs"] == {"target": str(output)}
    assert content["inputs"]["source"]["name"] == "T1"
    assert {"model", "model_hash", "settings", "versions", "device", "seconds", "warnings"} <= set(content)
    assert sorted(path.name for path in output.parent.iterdir()) == ["T2.nii.gz", "report.json"]


def test_a_model_is_found_by_its_name_and_segments_real_target_images(trained, tmp_path):
    folder = tmp_path / "my models"
    folder.mkdir()
    (folder / "mine.safetensors").write_bytes((trained / "cyclegan.safetensors").read_bytes())
    output = tmp_path / "tissue.seg.nrrd"
    assert run("apply", "cyclegan", "--input", f"target={trained / 'T2.nrrd'}", "--output", f"segmentation={output}",
               "--device", "cpu") == 0
    labels = read_volume(output)
    assert labels.grid.same_as(read_volume(trained / "T2.nrrd").grid)
    assert set(labels.label_names.values()) <= {"tissue", "bright"}
    assert set(np.unique(labels.voxels)) <= {0, 1, 2}


def test_registration_writes_a_transform_and_a_warped_volume(trained, tmp_path):
    transform, warped = tmp_path / "t.h5", tmp_path / "warped.mha"
    assert run("apply", trained / "wgan_registration.safetensors", "--input", f"fixed={trained / 'T1.nii.gz'}",
               f"moving={trained / 'T2.nrrd'}", "--output", f"transform={transform}", "--output", f"warped={warped}",
               "--device", "cpu") == 0
    assert len(sitk.ReadTransform(str(transform)).TransformPoint((0.0, 0.0, 0.0))) == 3
    assert read_volume(warped).grid.same_as(read_volume(trained / "T1.nii.gz").grid)


def test_generation_takes_a_seed_and_no_input(trained, tmp_path, capsys):
    images = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("apply", trained / "wgan.safetensors", "--output", f"image={tmp_path / name}.nrrd", "--seed", seed,
                   "--device", "cpu") == 0
        images.append(read_volume(tmp_path / f"{name}.nrrd").voxels)
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    capsys.readouterr()
    assert run("apply", trained / "wgan.safetensors", "--input", f"source={trained / 'T1.nii.gz'}", "--output",
               f"image={tmp_path / 'd.nrrd'}") == 2
    assert "takes no input: leave --input out" in said(capsys)


def test_training_goes_on_where_it_stopped(trained, tmp_path):
    words = ["train", "paired", "--data", trained / "cases", "--output", tmp_path / "m.safetensors", "--steps", "3",
             "--device", "cpu", "--settings", *FLAT]
    assert run(*words) == 0
    first = load_model(tmp_path / "m.safetensors")
    assert run(*words, "--resume") == 0
    again = load_model(tmp_path / "m.safetensors")
    assert (again.sha256, again.card) == (first.sha256, first.card)


def test_interrupting_training_says_how_to_go_on(trained, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("GANSynthesisLib.training.train", interrupted)
    assert run("train", "paired", "--data", trained / "cases", "--output", tmp_path / "m.safetensors") == 130
    assert said(capsys) == "stopped; --resume goes on from the last checkpoint"


def test_the_command_line_runs_as_a_module_of_its_own(tmp_path):
    words = [sys.executable, "-m", "GANSynthesisLib", "apply", "nowhere.safetensors", "--output", "target=x.nii"]
    ended = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr == "error: There is no model file nowhere.safetensors.\n"
    assert ended.stdout == ""


# Batches


@pytest.fixture
def folders(trained, tmp_path):
    """Options of a batch: two images and what is none go in, results come out."""
    for name in ("first", "second"):
        write_volume(head(len(name)), tmp_path / "in" / f"{name}.nii.gz")
    (tmp_path / "in" / "broken.nii").write_bytes(b"no image at all")
    return ["--input-folder", tmp_path / "in", "--output-folder", tmp_path / "out", "--device", "cpu"]


def test_a_batch_has_one_line_per_case_and_a_summary_and_goes_on(trained, folders, tmp_path, capsys):
    assert run("batch", trained / "paired.safetensors", *folders) == 1
    broken, first, second, summary = capsys.readouterr().out.splitlines()
    assert broken.startswith("broken: failed: The file 'broken.nii' cannot be read as a volume")
    assert (first[:14], second[:15]) == ("first: done in", "second: done in")
    assert summary == f"3 cases: 2 done, 1 failed, 0 done before; results in {tmp_path / 'out'}"
    assert read_volume(tmp_path / "out" / "first_target.nii.gz").grid.same_as(head().grid)
    (tmp_path / "in" / "broken.nii").unlink()
    assert run("batch", trained / "paired.safetensors", *folders) == 0
    assert capsys.readouterr().out.splitlines() == [
        "first: was done before", "second: was done before",
        f"2 cases: 0 done, 0 failed, 2 done before; results in {tmp_path / 'out'}",
    ]
    assert run("batch", trained / "paired.safetensors", *folders, "--seed", 1) == 2
    assert "other settings (seed), 'paired': choose another folder, or restart" in said(capsys)
    assert run("batch", trained / "paired.safetensors", *folders, "--seed", 1, "--restart") == 0


def test_a_batch_makes_the_outputs_asked_for(trained, folders, tmp_path, capsys):
    assert run("batch", trained / "cyclegan.safetensors", *folders, "--outputs", "target", "segmentation") == 1
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"first_target.nii.gz", "first_segmentation.seg.nrrd"} <= made


def test_an_interrupted_batch_says_how_to_go_on(trained, folders, capsys, monkeypatch):
    def interrupted(*arguments, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("GANSynthesisLib.batch.run.apply_model", interrupted)
    (folders[1] / "broken.nii").unlink()
    assert run("batch", trained / "paired.safetensors", *folders) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "stopped; the same command goes on with what is left"
    assert sorted(path.name for path in folders[3].iterdir()) == ["batch.json"]


# Errors


APPLY_ERRORS = [
    (["apply", "no-such-model", "--output", "target=x.nii"], "There is no model called 'no-such-model'"),
    (["apply", "PAIRED", "--input", "source=SOURCE", "--output", "ct=x.nii"], "has no output 'ct'; it gives: target"),
    (["apply", "PAIRED", "--input", "source=SOURCE", "--output", "target=x.jpg"], "must end in one of .nii.gz"),
    (["apply", "PAIRED", "--input", "source=SOURCE", "--output", "target"], "--output target: expected NAME=VALUE"),
    (["apply", "PAIRED", "--input", "fixed=SOURCE", "--output", "target=x.nii"], "has no input 'fixed'"),
    (["apply", "PAIRED", "--output", "target=x.nii"], "needs source for its output 'target'"),
    (["apply", "PAIRED", "--input", "source=SOURCE", "source=SOURCE", "--output", "target=x.nii"], "'source' twice"),
    (["apply", "PAIRED", "--input", "source=nowhere.nii", "--output", "target=x.nii"], "'nowhere.nii' does not exist"),
    (["apply", "PAIRED", "--input", "source=BROKEN", "--output", "target=x.nii"], "cannot be read as a volume"),
    (["apply", "PAIRED", "--input", "source=FLAT", "--output", "target=x.nii"], "the same value 0 in every voxel"),
    (["apply", "PAIRED", "--input", "source=SOURCE", "--output", "target=x.nii", "--device", "tpu"], "is no device"),
    (["apply", "BROKEN", "--input", "source=SOURCE", "--output", "target=x.nii"], "is not a safetensors file"),
    (["batch", "PAIRED", "--input-folder", "CASES", "--output-folder", "CASES"], "lies in the input folder"),
    (["batch", "PAIRED", "--input-folder", "nowhere", "--output-folder", "out"], "There is no input folder"),
    (["batch", "PAIRED", "--input-folder", "CASES", "--output-folder", "out", "--outputs", "ct"], "no output 'ct'"),
    (["batch", "PAIRED", "--input-folder", "CASES", "--output-folder", "out", "--device", "tpu"], "is no device"),
    (["train", "gann", "--data", "CASES", "--output", "m.safetensors"], "there is no system 'gann'; there are:"),
    (["train", "paired", "--data", "nowhere", "--output", "m.safetensors"], "There is no folder or manifest nowhere"),
    (["train", "paired", "--data", "CASES", "--output", "m.pt"], "must end in .safetensors"),
    (["train", "paired", "--data", "CASES", "--output", "m.safetensors", "--settings", "width"], "expected NAME="),
    (["train", "paired", "--data", "CASES", "--output", "m.safetensors", "--settings", "width=1"], "between 4 and"),
    (["train", "wgan_registration", "--data", "CASES", "--output", "m.safetensors"], "no files for the role 'fixed'"),
]


@pytest.mark.parametrize(("words", "sentence"), APPLY_ERRORS)
def test_errors_are_one_line_and_leave_nothing_behind(trained, tmp_path, monkeypatch, capsys, words, sentence):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "broken.nii").write_bytes(b"no image at all")
    write_volume(head(0).with_voxels(0 * head(0).voxels), tmp_path / "flat.nii")
    places = {
        "PAIRED": trained / "paired.safetensors", "SOURCE": trained / "T1.nii.gz", "CASES": trained / "cases",
        "BROKEN": tmp_path / "broken.nii", "FLAT": tmp_path / "flat.nii",
    }
    for name, place in places.items():
        words = [place if word == name else str(word).replace(f"={name}", f"={place}") for word in words]
    assert run(*words) == 2
    line = said(capsys)
    assert line.startswith("error: ")
    assert sentence in line
    assert list(here.iterdir()) == []


def test_a_fault_of_ours_is_not_hidden(trained, tmp_path, monkeypatch):
    def broken(*arguments, **more):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr("GANSynthesisLib.inference.apply_model", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run("apply", trained / "paired.safetensors", "--input", f"source={trained / 'T1.nii.gz'}", "--output",
            f"target={tmp_path / 'x.nii'}")


def test_an_older_output_survives_a_failure(trained, tmp_path, monkeypatch, capsys):
    from GANSynthesisLib.progress import Cancelled

    def stopped(*arguments, **more):
        raise Cancelled("The model was stopped.")

    monkeypatch.setattr("GANSynthesisLib.inference.apply_model", stopped)
    older = tmp_path / "x.nii"
    older.write_bytes(b"older")
    assert run("apply", trained / "paired.safetensors", "--input", f"source={trained / 'T1.nii.gz'}", "--output",
               f"target={older}") == 2
    assert said(capsys) == "error: The model was stopped."
    assert older.read_bytes() == b"older"
