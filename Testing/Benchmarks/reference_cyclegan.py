"""CycleGAN as its paper describes it (Zhu 2017), written down plainly: what our training is held against.

Least-squares losses, cycle weight 10, no identity loss, a pool of 50 fakes for each discriminator, two Adam optimizers
(2e-4; 0.5, 0.999), a step of both generators and then one of both discriminators at half the loss; the
discriminators are frozen in the generators' step, as in the authors' code. fp32; volumes in memory, random patches,
flips.
"""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import command  # noqa: F401  puts the library on the path
import torch
import torch.nn.functional as F
from plain_networks import PlainTranslator

from GANSynthesisLib.files import read_volume
from GANSynthesisLib.networks.discriminators import PatchDiscriminator
from GANSynthesisLib.networks.translation import Translator


class Pool:
    def __init__(self, size: int = 50):
        self.size, self.images = size, []

    def query(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.size:
            self.images.append(image.clone())
            return image
        if random.random() < 0.5:
            return image
        place = random.randrange(self.size)
        old, self.images[place] = self.images[place], image.clone()
        return old


class Images:
    """Random patches of all volumes of a folder, in −1 … 1."""

    def __init__(self, folder: Path, window: tuple[int, int, int]):
        self.window, self.volumes = window, []
        for path in sorted(Path(folder).glob("*.nii.gz")):
            voxels = torch.from_numpy(read_volume(path).voxels.astype("float32"))
            self.volumes.append(2 * (voxels - voxels.min()) / (voxels.max() - voxels.min()) - 1)

    def draw(self) -> torch.Tensor:
        volume = random.choice(self.volumes)
        corner = [random.randint(0, size - part) for size, part in zip(volume.shape, self.window, strict=True)]
        where = tuple(slice(at, at + part) for at, part in zip(corner, self.window, strict=True))
        patch = volume[where]
        return (patch.flip(-1) if random.random() < 0.5 else patch)[None, None]


def reference_steps(clock, data: str, context: str, window: list[int], width: int) -> None:
    torch.manual_seed(0)
    source_images, target_images = (Images(Path(data) / role, tuple(window)) for role in ("source", "target"))
    body = {"context": context, "width": width, "backbone": "resnet", "blocks": 9}
    to_target, to_source = (PlainTranslator(Translator(1, 1, **body)) for _ in range(2))
    judge_target, judge_source = (PatchDiscriminator(1, context, width=width) for _ in range(2))
    judges = list(itertools.chain(judge_target.parameters(), judge_source.parameters()))
    generator_optimizer = torch.optim.Adam(
        itertools.chain(to_target.parameters(), to_source.parameters()), lr=2e-4, betas=(0.5, 0.999))
    judge_optimizer = torch.optim.Adam(judges, lr=2e-4, betas=(0.5, 0.999))
    pools = {"target": Pool(), "source": Pool()}

    def judged(judge, real, fake) -> torch.Tensor:
        is_real, is_fake = judge(real), judge(fake)
        return (F.mse_loss(is_real, torch.ones_like(is_real)) + F.mse_loss(is_fake, torch.zeros_like(is_fake))) / 2

    goes_on = True
    while goes_on:
        began = time.perf_counter()
        source, target = source_images.draw(), target_images.draw()
        clock.waiting += time.perf_counter() - began

        for weight in judges:
            weight.requires_grad_(False)
        generator_optimizer.zero_grad()
        fake_target, fake_source = to_target(source), to_source(target)
        verdict_target, verdict_source = judge_target(fake_target), judge_source(fake_source)
        loss = (
            F.mse_loss(verdict_target, torch.ones_like(verdict_target))
            + F.mse_loss(verdict_source, torch.ones_like(verdict_source))
            + 10 * F.l1_loss(to_source(fake_target), source) + 10 * F.l1_loss(to_target(fake_source), target)
        )
        loss.backward()
        generator_optimizer.step()

        for weight in judges:
            weight.requires_grad_(True)
        judge_optimizer.zero_grad()
        judged(judge_target, target, pools["target"].query(fake_target.detach())).backward()
        judged(judge_source, source, pools["source"].query(fake_source.detach())).backward()
        judge_optimizer.step()
        goes_on = clock.tick()
