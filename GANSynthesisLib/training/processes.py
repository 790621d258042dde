"""The processes of one training run: as many as torchrun or srun has started, and what they tell each other."""

from __future__ import annotations

from typing import Any

import torch

from GANSynthesisLib.devices import DeviceError, choose_device
from GANSynthesisLib.shares import Share, own_share


class Processes:
    """Talk among the processes of a launched Fabric; a single one talks to itself, at no cost."""

    def __init__(self, fabric):
        self.fabric, self.share = fabric, Share(fabric.global_rank, fabric.world_size)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes what all of them share."""
        return self.share.rank == 0

    @property
    def alone(self) -> bool:
        return self.share.count == 1

    def wait(self) -> None:
        """Go on when all have come here."""
        if not self.alone:
            self.fabric.barrier()

    def any(self, answer: bool) -> bool:
        """Whether one of them says yes."""
        return answer if self.alone else any(self.gathered(answer))

    def mean(self, numbers: list[torch.Tensor]) -> list[float]:
        """Numbers averaged over the processes; NaN where one of them has it."""
        own = torch.stack([number.detach().float() for number in numbers])
        return (own if self.alone else self.fabric.all_reduce(own, reduce_op="mean")).tolist()

    def gathered(self, own: Any) -> list[Any]:
        """What each of them has, in the order of their ranks. Tensors must be on the CPU."""
        if self.alone:
            return [own]
        answers: list[Any] = [None] * self.share.count
        torch.distributed.all_gather_object(answers, own)
        return answers


def launched_fabric(device: str, precision: str):
    """A Fabric for this process and those it was started with (see `shares.own_share`), ready to compute.

    Gradients are averaged over the processes in every turn (distributed data parallel); weights whose player waits
    have none, which has to be found out in each turn. Raises DeviceError, ShareError.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    share = own_share()
    accelerator, devices = choose_device(device)
    if share.count == 1:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=precision)
    else:
        if ":" in device:
            raise DeviceError(f"{share.count} processes cannot share the device {device}: choose cuda, auto or cpu.")
        if accelerator == "cuda" and share.on_node > torch.cuda.device_count():
            raise DeviceError(f"{share.on_node} processes were started on a machine with {torch.cuda.device_count()} "
                              "GPUs: start one for each, or choose cpu.")
        fabric = Fabric(accelerator=accelerator, devices=share.on_node, num_nodes=share.nodes, precision=precision,
                        strategy=DDPStrategy(find_unused_parameters=True))
    fabric.launch()
    return fabric
