"""Versions of the software that computes: for model cards and reports."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import PackageNotFoundError, version

from GANSynthesisLib import __version__

PACKAGES = ("torch", "lightning-fabric", "SimpleITK", "numpy")


def software_versions() -> dict[str, str]:
    """Package -> version, of those that are installed."""
    return dict(_installed())


@functools.cache
def _installed() -> dict[str, str]:
    found = {"GANSynthesis": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
