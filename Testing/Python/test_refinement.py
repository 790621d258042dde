"""Last steps of a segmentation: neighbors that look alike get one label, and shapes become likely ones."""

import numpy as np
import pytest
from synthetic_cases import SMALL, head, write_cases

from GANSynthesisLib.__main__ import main
from GANSynthesisLib.card import ModelError
from GANSynthesisLib.evaluation import dice
from GANSynthesisLib.files import write_volume
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.inference.refinement import dense_crf
from GANSynthesisLib.inference.shapes import fit_shapes, load_shapes, save_shapes
from GANSynthesisLib.models import load_model
from GANSynthesisLib.training import train
from GANSynthesisLib.volumes import Grid, Volume, VolumeError

NAMES = {1: "egg"}


def unsure(labels: np.ndarray, classes: int, noise: float) -> np.ndarray:
    """Probabilities (C, K, J, I) of a network that is mostly right and noisy."""
    scores = np.stack([2.0 * (labels == value) for value in range(classes)])
    scores += noise * np.random.default_rng(0).normal(size=scores.shape)
    shares = np.exp(scores)
    return (shares / shares.sum(0)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 48, 40), (12, 32, 28)])
def test_a_random_field_mends_noise_and_keeps_to_the_edges_of_the_image(shape):
    at = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape), indexing="ij")
    labels = (at[1] ** 2 + at[2] ** 2 + at[0] ** 2 < 0.4).astype(np.uint8) + (at[2] > 0.9)
    image = (labels * 0.8 - 0.8 + 0.05 * np.random.default_rng(1).normal(size=shape)).astype(np.float32)
    given = unsure(labels, 3, 1.5)
    found = dense_crf(given, image)
    assert np.allclose(found.sum(0), 1, atol=1e-5)
    assert (given.argmax(0) == labels).mean() < 0.9 and (found.argmax(0) == labels).mean() > 0.98


def test_a_random_field_does_not_smooth_over_what_the_image_tells_apart():
    """A line one voxel wide, of which the network is but nearly sure."""
    image = np.full((1, 21, 21), -0.6, np.float32)
    image[:, 10] = 0.6
    labels = (image > 0).astype(np.uint8)
    given = unsure(labels, 2, 0.0)
    assert np.array_equal(dense_crf(given, image).argmax(0), labels)
    assert not dense_crf(given, np.zeros_like(image)).argmax(0).any()


# Shapes


def egg(a: float, b: float, center=(0.0, 0.0), flat: bool = True, spacing: float = 1.5) -> Volume:
    """An ellipse (a cylinder, if not flat) of half axes a and b in mm."""
    grid = Grid.centred((0, 0, 0), (1 if flat else 20, 64, 64), (spacing, spacing, 2))
    k, j, i = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in grid.shape), indexing="ij")
    inside = ((i * spacing - center[0]) / a) ** 2 + ((j * spacing - center[1]) / b) ** 2 < 1
    return Volume((inside & (np.abs(k) < 6)).astype(np.uint8), grid.ijk_to_ras, name=f"egg {a:g}x{b:g}")


def eggs(flat: bool = True) -> list[Volume]:
    return [egg(a, 30, (a - 20, 3), flat) for a in (16, 18, 20, 22, 24, 26)]


@pytest.mark.parametrize("flat", [True, False])
def test_a_shape_like_those_known_stays_and_a_bite_out_of_it_is_filled(flat):
    shapes = fit_shapes(eggs(flat), NAMES)
    assert len(shapes.modes) <= 3
    whole = egg(21, 30, (-5, -4), flat)
    kept = shapes.refined(unsure(whole.voxels, 2, 0.0), whole.grid)
    assert dice(kept.argmax(0), whole.voxels, NAMES)[1] > 0.96
    bitten = whole.voxels.copy()
    bitten[:, 28:38, 30:64] = 0
    mended = shapes.refined(unsure(bitten, 2, 0.0), whole.grid)
    before, after = (dice(found, whole.voxels, NAMES)[1] for found in (bitten, mended.argmax(0)))
    assert before < 0.93 and after > before + 0.02


def test_nothing_found_stays_nothing():
    shapes, empty = fit_shapes(eggs(), NAMES), egg(20, 30)
    given = unsure(np.zeros_like(empty.voxels), 2, 0.0)
    assert np.array_equal(shapes.refined(given, empty.grid), given)


def test_a_shape_model_is_the_same_from_its_file(tmp_path):
    shapes, whole = fit_shapes(eggs(), NAMES), egg(21, 30)
    save_shapes(shapes, tmp_path / "eggs.npz")
    again = load_shapes(tmp_path / "eggs.npz")
    assert again.label_names == NAMES
    given = unsure(whole.voxels, 2, 0.5)
    assert np.allclose(again.refined(given, whole.grid), shapes.refined(given, whole.grid), atol=0.02)


def test_too_few_label_maps_and_ones_that_lack_a_structure_are_named():
    with pytest.raises(VolumeError, match="4 label maps are too few"):
        fit_shapes(eggs()[:4], NAMES)
    empty = egg(20, 30).with_voxels(np.zeros((1, 64, 64), np.uint8), name="nothing")
    with pytest.raises(VolumeError, match="'nothing' has no egg"):
        fit_shapes([*eggs(), empty], NAMES)


# In use


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("segmentor")
    write_cases(folder / "cases", 2, labels=True, shape=(4, 24, 20))
    train("segmentor", folder / "cases", folder / "tiny.safetensors", steps=30, settings={
        **{name: value for name, value in SMALL.items() if name not in ("levels", "blocks", "width")
           and not name.startswith("discriminator")},
        "context": "2D", "patch": "16,16", "labels": "background,tissue,bright", "segmentor_width": 4,
    })
    return load_model(folder / "tiny.safetensors")


def test_a_model_s_labels_are_refined_on_their_own_grid_and_the_report_says_so(segmentor):
    image = head(7, (4, 24, 20))
    plain = apply_model(segmentor, {"source": image})
    refined = apply_model(segmentor, {"source": image}, refine="crf")
    labels, before = refined.outputs["segmentation"], plain.outputs["segmentation"]
    assert labels.grid.same_as(image.grid) and labels.label_names == before.label_names
    assert (labels.voxels != before.voxels).any()
    assert refined.report["settings"]["refine"] == "crf" and "refine" not in plain.report["settings"]


def test_the_command_line_makes_a_shape_model_and_refines_with_it(segmentor, tmp_path, capsys):
    files = []
    for number, each in enumerate(eggs()):
        inner = egg(8, 12, (number, 0)).voxels
        files.append(tmp_path / f"{number}.nii.gz")
        write_volume(each.with_voxels(each.voxels + (inner & each.voxels)), files[-1])
    shapes = tmp_path / "shapes.npz"
    assert main(["shapes", *map(str, files), "--names", "tissue", "bright", "--output", str(shapes)]) == 0
    write_volume(head(7, (4, 24, 20)), tmp_path / "head.nii.gz")
    words = ["apply", str(segmentor.path), "--input", f"source={tmp_path / 'head.nii.gz'}", "--output",
             f"segmentation={tmp_path / 'out.seg.nrrd'}", "--device", "cpu"]
    assert main([*words, "--refine", f"shape={shapes}"]) == 0 and (tmp_path / "out.seg.nrrd").exists()
    assert main([*words, "--refine", "shapes"]) == 2
    assert "refine is 'shapes'; it must be crf or shape=FILE" in capsys.readouterr().err


def test_a_shape_model_of_other_structures_and_a_file_that_is_none_are_refused(segmentor, tmp_path):
    save_shapes(fit_shapes(eggs(), NAMES), tmp_path / "eggs.npz")
    (tmp_path / "no.npz").write_text("nothing")
    image = {"source": head(7, (4, 24, 20))}
    with pytest.raises(ModelError, match="is of egg, where the model 'tiny' finds tissue, bright"):
        apply_model(segmentor, image, refine=f"shape={tmp_path / 'eggs.npz'}")
    for file in ("no.npz", "missing.npz"):
        with pytest.raises(ModelError, match="cannot be read"):
            apply_model(segmentor, image, refine=f"shape={tmp_path / file}")
