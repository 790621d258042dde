"""What is seen of a game while it is played, and what is wrong with it: named alerts.

What to do about each is told by `training.advice`.
"""

from __future__ import annotations

import statistics

import torch

from GANSynthesisLib.objectives.divergence import DIVERGENCES
from GANSynthesisLib.objectives.diversity import WINDOW, pairwise_ms_ssim
from GANSynthesisLib.training.stability import ADVERSARIES

WATCHED = 10  # logged rows in a row that must show the same trouble
VANISHED = 1e-3  # of the largest gradient norm that a player began with
UNBEATEN = 0.01  # loss of a discriminator that is never wrong; one that can only guess has 0.25 or more
SURE = 0.95  # divergence, of 0 … 1, that a discriminator sees which nothing made can fool
FOOLED = 0.05  # accuracy of a discriminator that is wrong most of the time; guessing has ½
SWINGS = 0.12  # mean change from row to row of a divergence of 0 … 1
FLIPS = 0.25  # mean change from row to row of a critic's accuracy, which is coarse where a turn has few images
COLLAPSED = 0.1  # of the real images' diversity
FIRST_ROWS, LAST_ROWS = 2 * WATCHED, 500  # of a long history, those that are looked at
PAIRS = 12  # of images whose likeness is measured in one look
_STEADY = dict.fromkeys(DIVERGENCES, SWINGS) | {"equilibrium/accuracy": FLIPS}


# --- pictures -------------------------------------------------------------------------------------------------------


def image_monitors(previews: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Numbers of the images in previews, as `System.preview` gives them of several validation batches; none where
    that is not to be told: fewer than two made or real images, or real ones that are all alike.

    `diversity/made over real`: how much made images differ from each other, as a fraction of how much real ones do;
    `diversity/variance over real`: the same of the variance within an image; `diversity/MS-SSIM made`, `… real`: mean
    structural similarity between two of them.
    """
    made, real = [], []
    for preview in previews:
        generated = [image for name, image in preview.items() if name.startswith("generated")]
        if not (generated and made):  # previews show the same noise, so that one sees it get better
            made += generated
        made += [image for name, image in preview.items() if name.startswith("synthetic")]
        real += [preview[name] for name in ("target", "some target", "real") if name in preview][:1]
    if len(made) < 2 or len(real) < 2:
        return {}
    made, real = torch.cat(made).float(), torch.cat(real).float()
    spread = _spread(real)
    if spread <= 1e-3:
        return {}
    found = {"diversity/made over real": _spread(made) / spread,
             "diversity/variance over real": _contrast(made) ** 2 / max(_contrast(real) ** 2, 1e-12)}
    if min(size for size in real.shape[2:] if size > 1) >= WINDOW:
        found |= {"diversity/MS-SSIM made": pairwise_ms_ssim(made, PAIRS),
                  "diversity/MS-SSIM real": pairwise_ms_ssim(real, PAIRS)}
    return found


def _spread(images: torch.Tensor) -> float:
    """Standard deviation between images, voxel by voxel, averaged over the voxels."""
    return float(images.std(0).mean())


def _contrast(images: torch.Tensor) -> float:
    """Standard deviation within an image, averaged over the images."""
    return float(images.flatten(1).std(1).mean())


# --- numbers of a run -----------------------------------------------------------------------------------------------


def find_trouble(history: list[dict]) -> dict[str, str]:
    """Name of an alert -> what is seen, for the ways in which a game goes wrong, as far as logged rows show them.

    `vanishing-gradient`: for the last rows a player that makes something hardly had a gradient. `discriminator-wins`:
    for the last rows a discriminator was never wrong, and so teaches nothing; `discriminator-fails`: it was wrong most
    of the time, and so teaches nonsense. `oscillation`: how well it does swings from row to row. `collapse`: at the
    last two looks the made images hardly differed.
    """
    if len(history) > FIRST_ROWS + LAST_ROWS:
        history = history[:FIRST_ROWS] + history[-LAST_ROWS:]
    found = {}
    for name in sorted({name for row in history for name in row}):
        values = [row[name] for row in history if name in row]
        last, (family, _, term) = values[-WATCHED:], name.partition("/")
        if len(values) < 2 * WATCHED:
            continue
        if family == "gradient norm" and term not in ADVERSARIES:
            if max(last) < VANISHED * max(values[:WATCHED]):
                found["vanishing-gradient"] = f"the gradient of the {term} fell to {last[-1]:.2g}"
        elif family in ("discriminator", "discriminators") and 0 <= min(last) and max(last) < UNBEATEN:
            found["discriminator-wins"] = f"{term} tells made from real images without an error (loss {last[-1]:.2g})"
        elif name in DIVERGENCES and min(last) > SURE:
            found["discriminator-wins"] = f"made and real images have nothing in common ({term} {last[-1]:.2g} of 1)"
        elif name == "equilibrium/accuracy" and max(last) <= FOOLED:
            found["discriminator-fails"] = f"{1 - last[-1]:.0%} of its answers are wrong"
        if name in _STEADY and _mean_change(last) > _STEADY[name]:
            found["oscillation"] = (f"{term} swings between {min(last):.2g} and {max(last):.2g}, by "
                                    f"{_mean_change(last):.2g} from one logged step to the next")
    return found | _collapse(history)


def _mean_change(values: list[float]) -> float:
    return statistics.mean(abs(after - before) for before, after in zip(values, values[1:], strict=False))


def _collapse(history: list[dict]) -> dict[str, str]:
    ratios = [row["diversity/made over real"] for row in history if "diversity/made over real" in row]
    if len(ratios) > 1 and max(ratios[-2:]) < COLLAPSED:
        return {"collapse": f"made images differ from each other {ratios[-1]:.2g} times as much as real ones"}
    looks = [(row["diversity/MS-SSIM made"], row["diversity/MS-SSIM real"]) for row in history
             if "diversity/MS-SSIM made" in row][-2:]
    if len(looks) > 1 and all(1 - made < COLLAPSED * (1 - real) for made, real in looks):
        return {"collapse": "made images are as good as the same: the MS-SSIM of two of them is "
                            f"{looks[-1][0]:.3f}, of real ones {looks[-1][1]:.3f}"}
    return {}
