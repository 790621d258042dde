"""How many processes work together, and which one this is: torchrun and SLURM say so in the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


class ShareError(ValueError):
    """The environment of a launcher contradicts itself; the message says how."""


@dataclass(frozen=True)
class Share:
    """Process `rank` (from 0) of `count`, on one of `nodes` machines with as many processes each."""

    rank: int = 0
    count: int = 1
    nodes: int = 1

    @property
    def on_node(self) -> int:
        """Processes on each machine."""
        return self.count // self.nodes

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Every `count`-th item from the `rank`-th on: together the processes have each item once."""
        return items[self.rank :: self.count]


ALONE = Share()


def own_share(environment: Mapping[str, str] = os.environ) -> Share:
    """The share that torchrun (RANK, WORLD_SIZE), or else srun, gives to this process; all of it without them.

    A SLURM script that runs without srun is one process, whatever it has asked for: only a step has tasks.
    Raises ShareError where the numbers cannot be: a rank outside the count, another number of processes on a machine.
    """
    if "WORLD_SIZE" in environment:
        count = _number(environment, "WORLD_SIZE")
        rank, on_node = _number(environment, "RANK", 0), _number(environment, "LOCAL_WORLD_SIZE", count)
        nodes = count // max(on_node, 1)
    elif "SLURM_STEP_NUM_TASKS" in environment:
        count, rank = _number(environment, "SLURM_STEP_NUM_TASKS"), _number(environment, "SLURM_PROCID", 0)
        nodes = _number(environment, "SLURM_STEP_NUM_NODES", 1)
        on_node = count // max(nodes, 1)
    else:
        return ALONE
    if not 0 <= rank < count or nodes * on_node != count:
        raise ShareError(
            f"The launcher says that this is process {rank} of {count} on {nodes} machines: start the same number of "
            "processes, at least one, on every machine."
        )
    return Share(rank, count, nodes)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.strip().isdigit():
        raise ShareError(f"The environment variable {name} is '{text}': a launcher sets it to a whole number.")
    return int(text)
