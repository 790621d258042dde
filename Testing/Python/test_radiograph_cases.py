"""The command `drr` and what comes of it: pictures, training cases, models trained on them and applied to pictures."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic_cases import SMALL
from test_radiographs import chest

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.models import load_model
from GANSynthesisLib.radiographs.cases import PoseRange, make_cases
from GANSynthesisLib.radiographs.drr import Patient
from GANSynthesisLib.radiographs.projection import Projection
from GANSynthesisLib.systems import build_system

DETECTOR = ["--rows", "40", "--columns", "44", "--pixel", "9", "--step", "6"]
NAMED = ["--structures", "lungs=1", "heart=2"]
TRAINED = {**SMALL, "context": "2D", "patch": "32,32", "labels": "background,lungs,heart", "segmentor_width": 4}


@pytest.fixture(autouse=True)
def no_curves(monkeypatch):
    """Drawing curves takes longer than these runs."""
    monkeypatch.setattr("GANSynthesisLib.training.curves._plot", lambda *drawing: None)


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    """A folder with ct.nii.gz and labels.nii.gz."""
    folder = tmp_path_factory.mktemp("ct")
    for name, volume in zip(("ct", "labels"), chest("ct"), strict=True):
        write_volume(volume, folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def cases(ct, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    words = ["drr", str(ct / "ct.nii.gz"), "--output", str(folder), "--labels", str(ct / "labels.nii.gz"), *NAMED,
             "--cases", "4", "--bones", *DETECTOR]
    assert main(words) == 0
    return folder


def settings_of(system: str, **more) -> dict:
    known = build_system(system, {}).settings.as_dict()
    return {name: value for name, value in {**TRAINED, **more}.items() if name in known}


def train(system: str, data, output, steps: int = 2, **more):
    from GANSynthesisLib.training import train

    return train(system, data, output, settings=settings_of(system, **more), steps=steps)


def radiograph_picture(path) -> np.ndarray:
    """A picture of 60 × 50 pixels, brighter toward the lower edge."""
    random = np.random.default_rng(5)
    pixels = (np.linspace(20, 180, 60)[:, None] + random.uniform(0, 40, (60, 50))).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))
    return pixels


def test_one_radiograph_with_labels_and_bones(ct, tmp_path, capsys):
    output, report = tmp_path / "x.nrrd", tmp_path / "x.json"
    words = ["drr", str(ct / "ct.nii.gz"), "--output", str(output), "--labels", str(ct / "labels.nii.gz"), *NAMED,
             "--bones", "--report", str(report), "--angles", "5", "0", "0", *DETECTOR]
    assert main(words) == 0
    image, bones, labels = (read_volume(tmp_path / name) for name in ("x.nrrd", "x_bones.nrrd", "x_labels.seg.nrrd"))
    assert image.shape == bones.shape == labels.shape == (1, 40, 44)
    assert image.spacing == pytest.approx((9, 9, 1))
    assert labels.label_names == {1: "lungs", 2: "heart"}
    assert set(np.unique(labels.voxels)) == {0, 1, 2}
    assert (bones.voxels <= image.voxels + 1e-4).all()
    said = json.loads(report.read_text())
    assert "not for diagnosis" in said["notice"] and said["inputs"][0]["hash"]
    assert said["settings"]["pixel"] == 9 and said["angles"] == [5, 0, 0]


def test_a_picture_shows_bone_bright(ct, tmp_path):
    assert main(["drr", str(ct / "ct.nii.gz"), "--output", str(tmp_path / "x.png"), *DETECTOR]) == 0
    pixels = read_volume(tmp_path / "x.png").voxels[0]
    assert pixels.dtype == np.uint8 and (pixels.min(), pixels.max()) == (0, 255)
    assert pixels[:, 20:24].mean() > 1.3 * pixels[10:25, 12:15].mean()  # the spine, a lung


def test_cases_differ_and_are_the_same_for_the_same_seed(tmp_path):
    patient, projection = Patient.of(*chest(), {"lungs": (1,)}), Projection(rows=24, columns=24, pixel=16, step=8)
    rows = [make_cases([patient, patient], tmp_path / name, 3, projection, seed=seed)
            for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    images = [[read_volume(tmp_path / name / "source" / f"{row['name']}.nrrd").voxels for row in found]
              for name, found in zip("abc", rows, strict=True)]
    assert all(np.array_equal(one, two) for one, two in zip(images[0], images[1], strict=True))
    assert not np.array_equal(images[0][0], images[0][2])
    assert not np.array_equal(images[0][0], images[2][0])
    assert {row["name"].split("_")[0] for row in rows[0]} == {"sub-chest", "sub-chestx1"}


def test_mirrored_cases_swap_left_and_right():
    random, mirrored = np.random.default_rng(0), PoseRange(mirror=1.0)
    assert all(mirrored.draw(random)["scale"][0] < 0 < mirrored.draw(random)["scale"][1] for _ in range(5))


def test_the_folder_says_what_it_holds(cases):
    report = json.loads((cases / "drr.json").read_text())
    assert "Synthetic" in report["notice"] and len(report["cases"]) == 4
    assert report["structures"] == {"lungs": [1], "heart": [2]}
    for role in ("source", "labels", "target"):
        assert len(list((cases / role).glob("sub-ct_drr-*.nrrd"))) == 4


def test_a_segmentor_of_cases_is_applied_to_a_picture_on_its_own_pixels(cases, tmp_path):
    model = train("segmentor", cases, tmp_path / "s.safetensors", spacing=9)
    radiograph_picture(tmp_path / "x.png")
    output = tmp_path / "lungs.seg.nrrd"
    assert main(["apply", str(model), "--input", f"source={tmp_path / 'x.png'}", "--output",
                 f"segmentation={output}"]) == 0
    picture, found = read_volume(tmp_path / "x.png"), read_volume(output)
    assert found.grid.same_as(picture.grid)


def test_bones_are_regressed_from_cases(cases, tmp_path):
    model = train("paired", cases, tmp_path / "bones.safetensors")
    output = tmp_path / "bones.nrrd"
    source = next((cases / "source").glob("*.nrrd"))
    assert main(["apply", str(model), "--input", f"source={source}", "--output", f"target={output}"]) == 0
    assert read_volume(output).grid.same_as(read_volume(source).grid)


def test_td_gan_freezes_its_segmentor_and_segments_pictures(cases, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for role in ("source", "labels"):
        (data / role).symlink_to(cases / role, target_is_directory=True)
    (data / "target").mkdir()
    radiograph_picture(data / "target" / "x.jpg")
    radiograph_picture(tmp_path / "y.png")
    model = train("tdgan", data, tmp_path / "td.safetensors", steps=3, segmentor_steps=2)
    card = load_model(model).card
    assert card.tasks == ("synthesize", "segment")
    assert card.output("segmentation").needs == ("target",)
    words = ["--output", f"segmentation={tmp_path / 'y.seg.nrrd'}"]
    assert main(["apply", str(model), "--input", f"target={tmp_path / 'y.png'}", *words]) == 0
    assert read_volume(tmp_path / "y.seg.nrrd").grid.same_as(read_volume(tmp_path / "y.png").grid)


def test_what_td_gan_freezes_is_the_mean_of_the_second_half():
    system = build_system("tdgan", settings_of("tdgan", segmentor_steps=4))
    weight = next(system.segmentor.parameters())
    for value in (1.0, 2.0, 3.0, 5.0):
        torch.nn.init.constant_(weight, value)
        assert not system.frozen
        system.after_turn("segmentor")
    assert system.frozen and torch.allclose(weight, torch.tensor(4.0))
    before = weight.clone()
    system.after_turn("generators")
    assert torch.equal(weight, before)


def test_players_of_td_gan_pass_until_it_is_their_turn():
    system = build_system("tdgan", settings_of("tdgan", segmentor_steps=1))
    labels = torch.zeros(1, 1, 1, 32, 32)
    labels[..., 8:20, 8:20] = 1
    batch = {"source": labels * 1.5 - 1, "target": torch.rand(1, 1, 1, 32, 32) * 2 - 1, "labels": labels}
    assert system.generators_turn(batch) == {} == system.discriminators_turn(batch)
    assert set(system.segmentor_turn(batch)) == {"segmentor"}
    system.after_turn("segmentor")
    assert system.segmentor_turn(batch) == {}
    losses = system.generators_turn(batch)
    assert {"segmentation", "parsing", "cycle", "adversarial"} <= set(losses)
    losses["segmentation"].backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in system.to_target.parameters())
    assert "judge_parsing" in system.discriminators_turn(batch)


@pytest.mark.parametrize(("words", "sentence"), [
    (["--output", "x.jpg"], "must end in .png or one of"),
    (["--output", "x.png", "--structures", "lungs=1"], "give the label map, too"),
    (["--output", "x.png", "--labels", "a", "b"], "1 CTs and 2 label maps"),
    (["--output", "x.png", "--cases", "-1"], "--cases is -1"),
    (["--output", "x.png", "--rows", "2"], "rows is 2; it must be between"),
    (["--output", "x.png", "--labels", "LABELS", "--structures", "lungs"], "expected NAME=VALUES"),
    (["--output", "x.png", "--labels", "LABELS", "--structures", "bone=9"], "have no voxel of 'bone'"),
])
def test_words_that_do_not_fit_end_in_one_sentence(ct, words, sentence, capsys):
    words = [str(ct / "labels.nii.gz") if word == "LABELS" else word for word in words]
    assert main(["drr", str(ct / "ct.nii.gz"), *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_what_is_no_ct_ends_in_one_sentence(ct, capsys):
    assert main(["drr", str(ct / "labels.nii.gz"), "--output", "x.png"]) == 2
    assert "no CT in Hounsfield units" in capsys.readouterr().err
