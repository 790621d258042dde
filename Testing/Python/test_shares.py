"""How processes that were started together share the work."""

import pytest

from GANSynthesisLib.shares import ALONE, Share, ShareError, own_share


def torchrun(rank: int, count: int, on_node: int) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(on_node)}


def srun(rank: int, count: int, nodes: int = 1) -> dict[str, str]:
    return {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": str(count), "SLURM_STEP_NUM_NODES": str(nodes)}


@pytest.mark.parametrize(
    ("environment", "share"),
    [
        ({}, ALONE),
        (torchrun(3, 4, 2), Share(3, 4, 2)),
        (srun(5, 8, 2), Share(5, 8, 2)),
        ({**srun(0, 4), **torchrun(1, 2, 2)}, Share(1, 2, 1)),  # torchrun within a step
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}, ALONE),  # a script without srun
    ],
)
def test_the_launcher_says_which_share_is_ours(environment, share):
    assert own_share(environment) == share
    assert share.on_node * share.nodes == share.count


@pytest.mark.parametrize("launched", [torchrun, srun])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_together_the_processes_have_every_item_once(launched, count):
    items = [f"case {number}" for number in range(11)]
    parts = [own_share(launched(rank, count, *([count] if launched is torchrun else []))).of(items)
             for rank in range(count)]
    assert sorted(item for part in parts for item in part) == sorted(items)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    "environment",
    [torchrun(2, 2, 2), torchrun(0, 3, 2), {"WORLD_SIZE": "two", "RANK": "0"}, {"WORLD_SIZE": "0"}, srun(0, 3, 2)],
)
def test_a_launcher_that_contradicts_itself_is_refused(environment):
    with pytest.raises(ShareError, match="launcher"):
        own_share(environment)
