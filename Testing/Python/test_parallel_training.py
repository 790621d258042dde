"""Several processes that torchrun has started train one model: the same as one process would."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import training_fixtures
from synthetic_cases import LABELS, write_cases
from training_fixtures import FLAT, GENERATE, REGISTER, bits, history

from GANSynthesisLib.shares import Share
from GANSynthesisLib.systems import build_system
from GANSynthesisLib.training import train
from GANSynthesisLib.training.cases import find_cases
from GANSynthesisLib.training.checkpoint import load_checkpoint
from GANSynthesisLib.training.loading import load_case
from GANSynthesisLib.training.patches import PatchSampler

data, no_curves, one_thread = training_fixtures.data, training_fixtures.no_curves, training_fixtures.one_thread
STEPS = 6
# The same whatever the number of processes: losses that are means over the images of a batch, and no chance but the
# sampler's, which all of them share.
SAME = {
    "paired": ("paired", {**FLAT, "adversarial_weight": 1, "validation_fraction": 0.25, "validate_every": 3}),
    "cyclegan": ("unpaired", {**FLAT, "identity_weight": 1, "gradient_consistency_weight": 1}),
}
# Noise and simulated misalignment are other ones in every process; Dice is of a whole batch.
OTHER = {
    "segmentor": ("unpaired", {
        key: value for key, value in {**FLAT, "labels": LABELS, "segmentor_width": 4}.items()
        if key not in ("levels", "blocks", "discriminator_width", "discriminator_layers")
    }),
    "wgan": ("images", GENERATE),
    "wgan_registration": ("pairs", {**REGISTER, "batch": 2}),
}


def job(system: str, folder: str, settings: dict, data: Path, output: Path, **more) -> dict:
    return {"system": system, "data": str(data / folder), "settings": {**settings, "checkpoint_every": 3},
            "output": str(output), "steps": STEPS, "seed": 3, **more}


def run_jobs(folder: Path, jobs: list[dict]) -> subprocess.CompletedProcess:
    (folder / "jobs.json").write_text(json.dumps(jobs))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
             str(Path(__file__).with_name("parallel_work.py")), str(folder / "jobs.json")]
    return subprocess.run(words, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """What two processes leave behind: of every job, of one that the second process stops and that goes on, and of two
    that cannot be trained."""
    folder = tmp_path_factory.mktemp("two")
    jobs = [job(system, where, settings, data, folder / f"{system}.safetensors")
            for system, (where, settings) in {**SAME, **OTHER}.items()]
    stopped = job("cyclegan", *SAME["cyclegan"], data, folder / "stopped.safetensors")
    jobs += [{**stopped, "canceled_by": 1, "after": 4}, {**stopped, "resume": True}]
    write_cases(folder / "broken", 2)
    (folder / "broken" / "source" / "sub-01.nii.gz").write_bytes(b"no image")
    jobs += [job("paired", "paired", {**FLAT, "batch": 3}, data, folder / "refused.safetensors"),
             job("paired", "broken", FLAT, folder, folder / "unread.safetensors")]
    done = run_jobs(folder, jobs)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("system", SAME)
def test_two_processes_have_the_losses_and_weights_of_one(system, data, trained, tmp_path):
    alone = job(system, *SAME[system], data, tmp_path / f"{system}.safetensors")
    train(alone.pop("system"), Path(alone.pop("data")), Path(alone.pop("output")), **alone)
    one, two = (load_checkpoint(folder / f"{system}.run" / "checkpoint.pt") for folder in (tmp_path, trained))
    assert one["sampler"] == two["sampler"]
    assert [row.keys() for row in one["history"]] == [row.keys() for row in two["history"]]
    for first, second in zip(one["history"], two["history"], strict=True):
        assert second == pytest.approx(first, rel=1e-3, abs=1e-4)
    for name, value in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], value, atol=2e-4, rtol=0)


@pytest.mark.parametrize("system", OTHER)
def test_every_system_trains_with_chance_of_its_own_in_each_process(system, trained):
    content = load_checkpoint(trained / f"{system}.run" / "checkpoint.pt")
    assert content["step"] == STEPS
    assert not torch.equal(content["torch"], content["others"][0]["torch"])
    assert all(value.isfinite().all() for value in content["weights"].values())


def test_only_the_first_process_reports_and_writes(trained):
    assert "step 6/6" in (trained / "cyclegan.safetensors.said-0").read_text()
    assert (trained / "cyclegan.safetensors.said-1").read_text() == ""
    assert [row["step"] for row in history(trained / "paired.run")] == [3, 6]
    assert not list(trained.glob("*.run/cases"))


def test_a_run_stopped_by_any_process_goes_on_and_ends_with_the_same_bits(trained):
    stopped = [(trained / f"stopped.safetensors.said-{rank}-stopped").read_text() for rank in (0, 1)]
    assert stopped == ["Training stopped at step 4; --resume goes on from there."] * 2
    assert bits(trained / "stopped.safetensors") == bits(trained / "cyclegan.safetensors")
    ends = [load_checkpoint(trained / f"{name}.run" / "checkpoint.pt") for name in ("stopped", "cyclegan")]
    assert torch.equal(ends[0]["others"][0]["torch"], ends[1]["others"][0]["torch"])


def test_one_process_goes_on_with_what_two_have_begun(data, trained, tmp_path):
    """Their pools and random numbers go; the model is whole."""
    run = tmp_path / "cyclegan.run"
    run.mkdir()
    content = load_checkpoint(trained / "cyclegan.run" / "checkpoint.pt")
    torch.save({**content, "step": STEPS - 1}, run / "checkpoint.pt")
    alone = job("cyclegan", *SAME["cyclegan"], data, tmp_path / "cyclegan.safetensors", resume=True)
    train(alone.pop("system"), Path(alone.pop("data")), Path(alone.pop("output")), **alone)
    assert load_checkpoint(run / "checkpoint.pt")["step"] == STEPS
    assert load_checkpoint(run / "checkpoint.pt")["others"] == []


@pytest.mark.parametrize("count", [2, 4])
def test_the_processes_cut_the_samples_that_one_would_cut(data, count):
    system = build_system("cyclegan", {**FLAT, "batch": 4, "context": "3D", "patch": "8,16,16"})
    cases = [load_case(case, system) for case in find_cases(data / "unpaired", system.roles, (), False)]
    whole = PatchSampler(cases, system, 7)
    parts = [PatchSampler(cases, system, 7, Share(rank, count)) for rank in range(count)]
    for _ in range(3):
        expected = whole.batch("cpu")
        found = [part.batch("cpu") for part in parts]
        for role, patches in expected.items():
            together = torch.stack([part[role] for part in found], 1).flatten(0, 1)
            assert torch.equal(together, patches)
        assert all(part.state() == whole.state() for part in parts)


def test_a_batch_that_cannot_be_shared_is_refused_by_all(trained):
    for rank in (0, 1):
        said = (trained / f"refused.safetensors.said-{rank}-stopped").read_text()
        assert said == "batch is 3, for 2 processes together: set batch to a multiple of 2."
    assert not (trained / "refused.run").exists()


def test_a_case_that_one_process_cannot_read_stops_all_of_them(trained):
    for rank in (0, 1):
        assert "Training case 'sub-01'" in (trained / f"unread.safetensors.said-{rank}-stopped").read_text()
    assert not (trained / "unread.run").exists()
