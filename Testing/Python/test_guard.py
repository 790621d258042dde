"""The input guard: silent on images like the training images, one plain sentence for each thing that does not fit."""

import dataclasses
import json

import numpy as np
import pytest
from synthetic_cases import LABELS, SMALL, head, labels_of, other_contrast, write_cases

from GANSynthesisLib import appearance
from GANSynthesisLib.appearance import measure, summarize, thinned
from GANSynthesisLib.card import Card, Port
from GANSynthesisLib.files import read_volume, write_volume
from GANSynthesisLib.guard import check_inputs
from GANSynthesisLib.models import list_models, load_model
from GANSynthesisLib.training import extract_segmentor, train
from GANSynthesisLib.training.cases import DataError
from GANSynthesisLib.training.statistics import input_statistics
from GANSynthesisLib.volumes import Volume
from GANSynthesisLib.working import intensity_range

MEDIAN = {"kind": "median", "lower": 0.0, "upper": 3.0}
WINDOW = {"kind": "window", "lower": 0.0, "upper": 255.0}


def brain(seed=0, spacing=(2.0, 2.0, 2.0), radii=(65.0, 80.0, 60.0), tissues=(300.0, 700.0, 900.0), name="Image",
          skull=0.0, air=0.0, shift=0.0):  # fmt: skip
    """Shells of three tissues, darkest outside, in air that is exactly 0; `skull` mm of bright head around them.

    air: standard deviation of noise around the body. shift: added to all values, also to those of the air.
    """
    random = np.random.default_rng(seed)
    radii = np.array(radii) * random.uniform(0.95, 1.05)
    shape = np.ceil(2 * (radii + skull + 8) / spacing).astype(int)
    i, j, k = (np.arange(n) - (n - 1) / 2 for n in shape)
    points = np.stack(np.meshgrid(k, j, i, indexing="ij"), -1)[..., ::-1] * spacing
    depth = np.sqrt((points**2 / radii**2).sum(-1))
    voxels = np.select([depth < 0.5, depth < 0.8, depth < 1], tissues[::-1], 0.0)
    if skull:
        around = (depth >= 1) & ((points**2 / (radii + skull) ** 2).sum(-1) < 1)
        voxels = np.where(around, 1.3 * max(tissues), voxels)
    voxels = voxels + random.normal(0, 0.05 * max(tissues), voxels.shape) * (voxels > 0)
    voxels += np.abs(random.normal(0, air, voxels.shape)) if air else 0
    return Volume((voxels + shift).astype(np.float32), np.diag([*spacing, 1.0]), name=name)


def card_of(images, intensity=MEDIAN, modality="T1", **changes) -> Card:
    """A card of a model that was trained on these images: role -> list of volumes."""
    ports = tuple(Port(role, modality, intensity=intensity) for role in images)
    seen = {port.name: summarize([measure(image, intensity_range(port)) for image in images[port.name]])
            for port in ports}
    fields = {
        "name": "small", "title": "Small", "description": "", "system": "paired", "task": "synthesize", "settings": {},
        "inputs": ports, "outputs": (Port("target", "T2", needs=("source",)),), "spacing": (2.0, 2.0, 2.0),
        "shape": (3, 64, 64), "context": "2.5D", "anatomy": "adult brain, skull-stripped",
        "training": json.loads(json.dumps({"inputs": seen})),
    }
    return Card(**{**fields, **changes})


@pytest.fixture(scope="module")
def card() -> Card:
    return card_of({"source": [brain(seed) for seed in range(4)]})


def findings(card, volume) -> list[str]:
    return check_inputs(card, {"source": volume})


def turned(volume: Volume, degrees: float) -> Volume:
    """The same voxels, their axes turned about left-right."""
    a, matrix = np.deg2rad(degrees), np.eye(4)
    matrix[1:3, 1:3] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    return volume.with_voxels(volume.voxels, ijk_to_ras=matrix @ volume.ijk_to_ras)


# --- silent


@pytest.mark.parametrize("seed", range(10, 18))
def test_images_like_the_training_images_give_no_finding(card, seed):
    volume = brain(seed, tissues=(150.0, 350.0, 450.0))  # another gain, as of another scanner
    assert findings(card, volume) == []
    assert findings(card, turned(volume, 15)) == []
    assert findings(card, brain(seed, spacing=(1.5, 1.5, 3.0))) == []


def test_order_and_sense_of_axes_change_nothing(card):
    volume = brain(3, spacing=(2.0, 2.0, 7.0), tissues=(800.0, 700.0, 200.0), skull=14.0)
    order = np.array([[0, -1, 0, volume.shape[2] - 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    voxels = np.ascontiguousarray(volume.voxels.transpose(1, 2, 0)[:, ::-1, :])
    other = volume.with_voxels(voxels, ijk_to_ras=volume.ijk_to_ras @ order)
    assert other.canonical().shape == volume.shape
    assert findings(card, other) == findings(card, volume) != []


def test_optional_inputs_and_unusable_volumes_are_left_alone(card):
    assert check_inputs(card, {}) == []
    assert check_inputs(card, {"source": None}) == []
    assert findings(card, brain().with_voxels(np.full((9, 9, 9), np.nan))) == []
    assert findings(card, brain().with_voxels(np.zeros((9, 9, 9)))) == []


# --- each finding


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (brain(skull=16.0, air=15.0), "has skin and skull (2.6 liters"),
        (brain(skull=26.0), "has skin and skull (3"),  # air set to zero looks masked: the size tells
        (brain(tissues=(900.0, 500.0, 300.0)), "bright and dark parts in other shares"),
        (brain(shift=-1024.0), "like the Hounsfield units of a CT"),
        (brain().with_voxels(brain().voxels, unit="HU"), "like the Hounsfield units of a CT"),
        (brain(spacing=(1.0, 1.0, 6.0)), "voxels of 1 x 1 x 6 mm, the model was trained on 2 x 2 x 2 mm: details"),
        (brain(spacing=(5.0, 5.0, 5.0)), "fine details will be guessed"),
        (brain(radii=(20.0, 80.0, 60.0)), "shows only 4"),
        (brain(radii=(40.0, 180.0, 45.0)), "mm from back to front, the training images at most"),
        (brain().with_voxels(brain().voxels[30:31]), "has 1 slices where the model looks at 3"),
        (turned(brain(), 35), "is turned by 35 degrees"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(card, volume, words):
    said = findings(card, volume)
    assert any(words in sentence for sentence in said), said
    for sentence in said:
        assert sentence.startswith("'Image'") and sentence.endswith(".") and "\n" not in sentence
    assert len(said) == 1, said  # one cause, one sentence


def test_values_lost_in_a_fixed_window_or_outside_of_it_are_said():
    seen = [brain(seed, tissues=(60.0, 150.0, 220.0)) for seed in range(3)]
    card = card_of({"source": seen}, WINDOW)
    assert findings(card, brain(9, tissues=(60.0, 150.0, 220.0))) == []
    for tissues in ((0.3, 0.7, 0.9), (300.0, 700.0, 900.0)):
        (said,) = findings(card, brain(9, tissues=tissues))
        assert "the model expects 0 to 255: rescale the intensities" in said


def test_whole_heads_are_what_a_model_of_whole_heads_wants():
    card = card_of({"source": [brain(seed, skull=22.0, air=15.0) for seed in range(3)]}, anatomy="brain")
    assert findings(card, brain(9, skull=22.0, air=15.0)) == []
    assert any("is skull-stripped" in said for said in findings(card, brain(9)))


def test_mr_is_no_ct():
    card = card_of({"source": [brain(seed, shift=-1024.0) for seed in range(3)]},
                   {"kind": "hounsfield", "lower": -1024.0, "upper": 3071.0}, "CT", anatomy="head")
    assert findings(card, brain(9, shift=-1024.0)) == []
    assert any("not a CT in Hounsfield units" in said for said in findings(card, brain(9)))


def test_swapped_inputs_are_noticed():
    images = {"fixed": [brain(seed, radii=(30.0, 40.0, 30.0), tissues=(90.0, 150.0, 60.0)) for seed in range(3)],
              "moving": [brain(seed, tissues=(60.0, 150.0, 220.0)) for seed in range(3)]}
    outputs = (Port("transform", "", "mm", needs=("fixed", "moving")),)
    card = card_of(images, WINDOW, task="register", system="registration", outputs=outputs, context="3D",
                   shape=(48, 48, 48), anatomy="prostate")
    fixed, moving = images["fixed"][0], images["moving"][0]
    assert check_inputs(card, {"fixed": fixed, "moving": moving}) == []
    assert check_inputs(card, {"fixed": moving, "moving": fixed})[0].endswith("swap them.")


# --- cards that say less


def test_card_without_statistics_still_knows_its_spacing_and_modality(card):
    bare = dataclasses.replace(card, training={})
    assert findings(bare, brain(skull=20.0)) == []
    assert len(findings(bare, brain(spacing=(1.0, 1.0, 6.0)))) == 1
    assert "Hounsfield" in findings(bare, brain(shift=-1024.0))[0]
    silent = dataclasses.replace(bare, spacing=None, inputs=(Port("source", ""),))
    assert findings(silent, brain(spacing=(1.0, 1.0, 6.0), shift=-1024.0)) == []


@pytest.mark.parametrize("inputs", [[], {"source": 3}, {"source": {"count": 2}}, {"other": {}}])
def test_statistics_of_another_shape_are_not_used(card, inputs):
    assert findings(dataclasses.replace(card, training={"inputs": inputs}), brain(skull=20.0)) == []


# --- what is measured


def test_few_voxels_of_a_large_volume_are_looked_at_and_say_the_same():
    large = Volume(np.zeros((256, 256, 256), np.int8))
    assert thinned(large).voxels.size <= appearance.MEASURED_VOXELS
    assert thinned(Volume(np.zeros((20, 512, 512), np.int8))).shape[0] == 20  # thick slices are few enough
    fine, coarse = (measure(brain(0, spacing=(step,) * 3), intensity_range(Port("source", "T1", intensity=MEDIAN)))
                    for step in (1.0, 2.0))
    assert fine.foreground_ml == pytest.approx(coarse.foreground_ml, rel=0.03)
    assert fine.foreground_extent == pytest.approx(coarse.foreground_extent, abs=6)
    assert appearance.histogram_distance(fine.histogram, coarse.histogram) < 0.02


def test_examples_of_many_histograms_cover_them_all():
    images = [brain(seed, tissues=(300.0, 700.0, 700.0 + 40 * seed)) for seed in range(16)]
    measured = [measure(image, intensity_range(Port("source", "T1", intensity=MEDIAN))) for image in images]
    summary = summarize(measured)
    assert summary["count"] == 16 and len(summary["histograms"]) == appearance.EXAMPLES
    assert set(summary) == set(appearance.SUMMARY)
    for image in measured:
        nearest = min(appearance.histogram_distance(image.histogram, each) for each in summary["histograms"])
        assert nearest <= summary["histogram_spread"] + 1e-3


def test_rare_images_are_among_the_examples():
    usual = measure(brain(0), intensity_range(Port("source", "T1", intensity=MEDIAN)))

    def peak_at(number):
        return dataclasses.replace(usual, histogram=tuple(float(bin_ == number) for bin_ in range(appearance.BINS)))

    shares = np.linspace(0, 1, 30)
    crowd = [dataclasses.replace(usual, histogram=(*[0.0] * 15, 1 - share, share, *[0.0] * 15)) for share in shares]
    kept = summarize([*crowd, peak_at(0), peak_at(31)])["histograms"]
    assert list(peak_at(0).histogram) in kept and list(peak_at(31).histogram) in kept


def test_training_records_what_its_images_look_like_and_a_manifest_gives_the_same(tmp_path):
    data = write_cases(tmp_path / "data", 3, shape=(6, 24, 20))
    model = train("paired", data, tmp_path / "model.safetensors", steps=1,
                  settings={**SMALL, "context": "2D", "patch": "16,16"})
    card = load_model(model).card
    seen = card.training["inputs"]
    assert list(seen) == ["source"] and seen["source"]["count"] == 3
    assert seen["source"]["spacing"][2] == [3.0, 3.0]
    assert input_statistics(card, data) == seen
    assert check_inputs(card, {"source": read_volume(next((data / "source").iterdir()))}) == []
    stranger = dataclasses.replace(card, training={**card.training, "subjects": ["nobody"]})
    with pytest.raises(DataError, match="no image of the input 'source'"):
        input_statistics(stranger, data)


def test_segmentor_of_a_translation_has_the_statistics_of_the_target_images(tmp_path):
    for number in range(2):
        image = head(number, shape=(6, 24, 20))
        write_volume(image, tmp_path / "source" / f"{number}.nii.gz")
        write_volume(labels_of(image), tmp_path / "labels" / f"{number}.nii.gz")
        write_volume(other_contrast(head(9 + number, shape=(6, 24, 20))), tmp_path / "target" / f"{number}.nii.gz")
    settings = {**SMALL, "context": "2D", "patch": "16,16", "labels": LABELS, "segmentation_weight": 1,
                "segmentor_width": 4}
    whole = train("cyclegan", tmp_path, tmp_path / "whole.safetensors", steps=1, settings=settings)
    segmentor = load_model(extract_segmentor(whole, tmp_path / "segmentor.safetensors"))
    inputs = load_model(whole).card.training["inputs"]
    assert inputs["source"] != inputs["target"]
    assert segmentor.card.training["inputs"] == {"source": inputs["target"]}


# --- real images


@pytest.fixture(scope="module")
def shipped() -> dict[str, Card]:
    return {model.card.name: model.card for model in list_models()}


def real(folder, path) -> Volume:
    volume = read_volume(folder / path)
    return volume.with_voxels(volume.voxels, name="Image")


@pytest.mark.parametrize("patient", ["ms_patient26", "glioma_aurora", "glioma_brats"])
def test_real_brains_of_other_patients_fit_the_shipped_models(shared_data, shipped, patient):
    t1, t2 = (real(shared_data, f"brain_multicontrast/{patient}/{kind}.nii.gz") for kind in ("T1", "T2"))
    assert check_inputs(shipped["brain-t1-to-t2"], {"source": t1}) == []
    assert check_inputs(shipped["brain-t2-tissue"], {"source": t2}) == []
    assert check_inputs(shipped["brain-registration"], {"fixed": t1, "moving": t2}) == []
    assert "of that modality" in check_inputs(shipped["brain-t1-to-t2"], {"source": t2})[0]
    assert "of that modality" in check_inputs(shipped["brain-t2-tissue"], {"source": t1})[0]


def test_real_head_with_skull_and_thick_slices_does_not_fit(shared_data, shipped):
    volume = real(shared_data, "brain_multicontrast/clinical_brainix/T1.nii.gz")
    skull, slices = check_inputs(shipped["brain-t1-to-t2"], {"source": volume})
    assert "skin and skull" in skull and "0.94 x 0.94 x 6 mm" in slices


def test_real_ct_does_not_fit_a_model_of_mr(shared_data, shipped):
    volume = real(shared_data, "organs_ct_mr/abdomen/example_ct.nii.gz")
    assert "Hounsfield" in check_inputs(shipped["brain-registration"], {"moving": volume})[0]


# --- memory


def test_too_little_memory_is_told_of_the_machine_and_of_the_gpu_that_computes(card, monkeypatch):
    pytest.importorskip("slicer")
    from GANSynthesisLib.mrml import guard

    grid = brain().grid
    monkeypatch.setattr(guard, "free_host_bytes", lambda: 64 << 30)
    assert guard.too_little_memory(card, [grid], None) == []
    assert guard.too_little_memory(card, [grid], 8 << 30) == []
    (said,) = guard.too_little_memory(card, [grid], 100 << 20)
    assert "of the GPU's memory are needed and 0.1 GB are free" in said and "the CPU will do some" in said
    monkeypatch.setattr(guard, "free_host_bytes", lambda: 100 << 20)
    (said,) = guard.too_little_memory(card, [grid], None)
    assert "GB of memory are needed and 0.1 GB are free" in said
