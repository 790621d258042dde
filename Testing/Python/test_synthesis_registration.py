"""Registration by translation: what is compared, how it is optimized, and that it works in a scene."""

import numpy as np
import pytest
import slicer
import torch
from synthetic_cases import head, other_contrast, shifted, write_pairs

from GANSynthesisLib import models
from GANSynthesisLib.inference import apply_model
from GANSynthesisLib.models import load_model
from GANSynthesisLib.mrml import read_provenance
from GANSynthesisLib.networks.registration import apply_linear, grid_points, sample
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import train
from GANSynthesisLib.volumes import Volume
from SlicerHost.host import start_host
from SlicerHost.scene import start_scene

SPACING = 4.0


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """A head and another modality of it, (1, 1, 24, 24, 24) in [−1, 1]."""
    volume = head(3, (24, 24, 24))
    return tuple(
        torch.from_numpy(each.voxels / each.voxels.max() * 2 - 1).float()[None, None]
        for each in (volume, other_contrast(volume))
    )


def displaced_pair() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A pair, and where each fixed point lies in the moving image: shifted, stretched and bent by several mm."""
    fixed, other = images()
    points = grid_points((24, 24, 24), SPACING)
    bend = 3 * torch.sin(points[:, [1, 2, 0]] / 20)
    matrix = torch.eye(4)[None].clone()
    matrix[0, :3, :3] += torch.tensor([[0.05, 0, 0], [0.08, 0, 0], [0, 0, -0.05]])
    matrix[0, :3, 3] = torch.tensor([5.0, -4.0, 3.0])
    truth = apply_linear(matrix, points + bend)
    return {"fixed": sample(fixed, truth, SPACING, -1), "moving": other}, truth


def registration(**settings):
    torch.manual_seed(0)
    return build_system("synthesis_registration", {
        "patch": "24,24,24", "spacing": SPACING, "width": 4, "critic_width": 4, "translate": False, "steps": 20,
        "margin": 8, "control_spacing": 16, **settings,
    }).eval()


def mapped(result: dict) -> torch.Tensor:
    return apply_linear(result["matrix"], grid_points((24, 24, 24), SPACING) + result["displacement"])


def mean_error(points: torch.Tensor, pair: dict, truth: torch.Tensor) -> float:
    """Over the fixed body, in mm."""
    return float((points - truth).square().sum(1).sqrt()[0][pair["fixed"][0, 0] > -1].mean())


@pytest.mark.parametrize("settings", [
    {"similarity": "nmi"}, {"similarity": "mind"}, {"similarity": "both", "diffeomorphic": True},
])
def test_a_pair_of_two_modalities_is_aligned_by_similarity_alone(settings):
    pair, truth = displaced_pair()
    system, start = registration(**settings), grid_points((24, 24, 24), SPACING)
    with torch.inference_mode():
        result = system.apply(pair)
        at_first = system.quality(pair, {"seen": pair["moving"]}, start)
    before, after = mean_error(start, pair, truth), mean_error(mapped(result), pair, truth)
    assert before > 6
    assert after < 0.35 * before
    assert float(result["quality"]) > float(at_first)


def test_without_the_dense_part_the_map_is_affine():
    pair, truth = displaced_pair()
    result = registration(dense=False).apply(pair)
    assert not result["displacement"].any()
    assert mean_error(mapped(result), pair, truth) < 4


def test_a_small_grid_and_an_image_without_foreground_give_a_finite_map():
    torch.manual_seed(0)
    system = registration(patch="16,16,16", dense=False, steps=3)
    moving = torch.rand(1, 1, 16, 16, 16) * 2 - 1
    for fixed in (torch.rand_like(moving) * 2 - 1, torch.full_like(moving, -1.0)):
        result = system.apply({"fixed": fixed, "moving": moving})
        assert all(torch.isfinite(value).all() for value in result.values())
    assert not torch.equal(system.apply({"fixed": moving.flip(2), "moving": moving})["matrix"][0], torch.eye(4))


def test_the_margin_widens_what_is_compared_by_so_many_mm():
    fixed = torch.full((1, 1, 24, 24, 24), -1.0)
    fixed[0, 0, 12, 12, 12] = 0.5
    assert [int(registration(margin=margin)._compared(fixed, 1).sum()) for margin in (0, 4, 8)] == [1, 27, 125]
    assert int(registration(margin=8)._compared(fixed, 2).sum()) == 27


def test_a_stiffer_displacement_bends_less():
    pair, _ = displaced_pair()
    soft, stiff = (registration(smoothness_weight=weight, steps=8).apply(pair) for weight in (1.0, 1e5))
    assert stiff["displacement"].abs().max() < 0.5 * soft["displacement"].abs().max()


def test_each_pair_of_a_batch_is_registered_for_itself():
    pair, _ = displaced_pair()
    other = {"fixed": pair["moving"], "moving": pair["fixed"]}
    system = registration(steps=3)
    alone = [system.apply(each) for each in (pair, other)]
    together = system.apply({role: torch.cat([pair[role], other[role]]) for role in pair})
    for number, each in enumerate(alone):
        assert torch.allclose(together["matrix"][number], each["matrix"][0], atol=1e-4)
        assert torch.allclose(together["displacement"][number], each["displacement"][0], atol=1e-3)
        assert float(together["quality"][number]) == pytest.approx(float(each["quality"]), abs=1e-4)


def test_what_is_compared_is_the_translation():
    pair, _ = displaced_pair()
    system = registration(translate=True, steps=0)
    seen = system.register(pair)["seen"]
    body = pair["moving"] > -1
    assert torch.equal(seen[body], system.to_target(pair["moving"]).clamp(-1, 1)[body])
    assert (seen[~body] == -1).all()
    assert torch.equal(registration(steps=0).register(pair)["seen"], pair["moving"])


def test_further_steps_reach_a_higher_similarity():
    pair, _ = displaced_pair()
    system = registration(steps=4)
    with torch.inference_mode():
        assert float(system.optimized(pair, 12)["quality"]) > float(system.apply(pair)["quality"])


def test_the_game_is_played_on_parts_of_the_grids():
    system = registration(crop="8,16,12")
    seen = []
    system.game.generators_turn = lambda batch: seen.append(batch) or {}
    pair, _ = displaced_pair()
    system.generators_turn(pair)
    assert {tuple(image.shape) for image in seen[0].values()} == {(1, 1, 8, 16, 12)}
    assert set(seen[0]) == {"source", "target"}


def test_only_the_translator_stays_with_the_model():
    system = registration()
    assert {name.split(".")[0] for name in system.deployed_state()} == {"to_target"}
    played = {name for names in system.players.values() for name in names}
    assert {name.split(".")[0] for name in system.state_dict()} == played, "every network is there once"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained for two steps, in a folder of its own."""
    folder = tmp_path_factory.mktemp("models")
    settings = {
        "patch": "24,24,24", "spacing": 4, "width": 4, "critic_width": 4, "crop": "16,16,16", "batch": 1, "warmup": 0,
        "validation_fraction": 0.5, "validate_every": 2, "translate": False, "steps": 20, "margin": 8,
        "smoothness_weight": 1000,
    }
    pairs = write_pairs(tmp_path_factory.mktemp("pairs"), 2, aligned=False)
    train("synthesis_registration", pairs, folder / "by-similarity.safetensors", settings=settings, steps=2)
    return folder


def test_training_is_validated_by_the_cycle(trained):
    numbers = load_model(trained / "by-similarity.safetensors").card.metrics["validation"]
    assert set(numbers) == {"cycle"} and np.isfinite(numbers["cycle"])


def scanned_twice() -> tuple[Volume, Volume]:
    """A head with air on all sides, and another modality of it, moved by 3, −4.5 and 3 mm."""
    fixed = Volume(np.pad(head(5, (16, 24, 24)).voxels, 5), np.diag([3.0, 3, 4, 1]), name="fixed")
    return fixed, shifted(other_contrast(fixed))


def test_a_shift_between_modalities_is_found_through_a_trained_model(trained):
    fixed, moving = scanned_twice()
    result = apply_model(load_model(trained / "by-similarity.safetensors"), {"fixed": fixed, "moving": moving})
    points = fixed.grid.points()[fixed.voxels > 0]
    errors = np.linalg.norm(result.outputs["transform"].points(points) - (points + [3.0, -4.5, 3.0]), axis=1)
    assert errors.mean() < 3, "it was 6.2 mm, and a voxel is 4 mm"
    assert 1 < result.report["quality"] < 3


def test_it_registers_in_the_scene_and_leaves_its_similarity_on_the_transform(trained, monkeypatch, tmp_path):
    start_host()
    import GANSynthesis

    monkeypatch.setenv("GANSYNTHESIS_MODELS", str(trained))
    monkeypatch.setattr(models, "shipped_models_folder", lambda: tmp_path)
    start_scene()
    fixed, moving = scanned_twice()
    nodes = [slicer.util.addVolumeFromArray(each.voxels, ijkToRAS=each.ijk_to_ras) for each in (fixed, moving)]
    transform, warped = GANSynthesis.GANSynthesisLogic().register(*nodes, "by-similarity")
    assert read_provenance(transform)["Quality"]["quality"] > 1
    aligned = other_contrast(fixed).voxels
    before, after = (np.abs(slicer.util.arrayFromVolume(node) - aligned).mean() for node in (nodes[1], warped))
    assert after < 0.8 * before
