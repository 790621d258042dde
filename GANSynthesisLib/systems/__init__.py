"""The list of systems: one line per method."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from GANSynthesisLib.systems.base import System

_PLACES = {
    "paired": ("GANSynthesisLib.systems.paired", "Paired"),
    "cyclegan": ("GANSynthesisLib.systems.cyclegan", "CycleGAN"),
    "mr_gan": ("GANSynthesisLib.systems.mr_gan", "MRGAN"),
    "context_aware": ("GANSynthesisLib.systems.context_aware", "ContextAware"),
    "shape_consistency": ("GANSynthesisLib.systems.shape_consistency", "ShapeConsistency"),
    "tdgan": ("GANSynthesisLib.systems.tdgan", "TDGAN"),
    "collagan": ("GANSynthesisLib.systems.collagan", "CollaGAN"),
    "thin_slices": ("GANSynthesisLib.systems.thin_slices", "ThinSlices"),
    "high_resolution": ("GANSynthesisLib.systems.high_resolution", "HighResolution"),
    "segmentor": ("GANSynthesisLib.systems.segmentor", "Segmentor"),
    "wgan_registration": ("GANSynthesisLib.systems.wgan_registration", "WGANRegistration"),
    "adversarial_registration": (
        "GANSynthesisLib.systems.adversarial_registration", "AdversarialRegistration",
    ),
    "synthesis_registration": ("GANSynthesisLib.systems.synthesis_registration", "SynthesisRegistration"),
    "classifier": ("GANSynthesisLib.systems.classifier", "Classifier"),
    "coverage": ("GANSynthesisLib.systems.coverage", "Coverage"),
    "gan": ("GANSynthesisLib.systems.gan", "GAN"),
    "lsgan": ("GANSynthesisLib.systems.lsgan", "LSGAN"),
    "dcgan": ("GANSynthesisLib.systems.dcgan", "DCGAN"),
    "progressive": ("GANSynthesisLib.systems.progressive", "Progressive"),
    "cgan": ("GANSynthesisLib.systems.cgan", "CGAN"),
    "acgan": ("GANSynthesisLib.systems.acgan", "ACGAN"),
    "infogan": ("GANSynthesisLib.systems.infogan", "InfoGAN"),
    "wgan": ("GANSynthesisLib.systems.wgan", "WGAN"),
    "mgan": ("GANSynthesisLib.systems.mgan", "MGAN"),
}


class UnknownSystem(ValueError):
    """No system has that name; the message lists those there are."""


def names() -> tuple[str, ...]:
    return tuple(_PLACES)


def system_class(name: str) -> type[System]:
    from importlib import import_module

    if name not in _PLACES:
        raise UnknownSystem(f"there is no system {name!r}; there are: {', '.join(_PLACES)}.")
    place, attribute = _PLACES[name]
    return getattr(import_module(place), attribute)


def systems() -> dict[str, type[System]]:
    """All systems by name."""
    return {name: system_class(name) for name in _PLACES}


def build_system(name: str, settings: dict) -> System:
    """A system with fresh weights; settings by name, checked against their ranges."""
    chosen = system_class(name)
    return chosen(chosen.Settings.parse(settings))


def describe_systems() -> list[dict]:
    """JSON-able description of every system: name, task, roles, turns, settings with ranges, citation."""
    described = []
    for name, chosen in systems().items():
        described.append({
            "name": name, "title": chosen.title, "task": chosen.task, "roles": list(chosen.roles),
            "optional_roles": list(chosen.optional_roles), "turns": list(chosen.turns),
            "summary": " ".join((chosen.__doc__ or "").split()), "citation": chosen.citation,
            "settings": chosen.Settings.describe(),
        })
    return described
