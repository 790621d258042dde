"""Which device computes."""

from __future__ import annotations


class DeviceError(ValueError):
    """The device asked for is not there; the message says which are."""


def choose_device(device: str) -> tuple[str, int | list[int]]:
    """`auto`, `cpu`, `cuda` or `cuda:1` as Fabric's accelerator and devices. Raises DeviceError."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        return "cpu", 1
    if device == "cuda" or (device.startswith("cuda:") and device[5:].isdigit()):
        index = int(device[5:] or 0) if ":" in device else 0
        if not torch.cuda.is_available():
            raise DeviceError(f"The device {device} was asked for, but torch finds no GPU: choose auto or cpu.")
        if index >= torch.cuda.device_count():
            raise DeviceError(f"There is no GPU {index}; torch finds {torch.cuda.device_count()}: choose a lower one.")
        return "cuda", [index]
    raise DeviceError(f"{device!r} is no device: choose auto, cpu, cuda or cuda:N.")


def torch_device(device: str):
    """The same choice as a torch.device."""
    import torch

    accelerator, index = choose_device(device)
    return torch.device("cpu") if accelerator == "cpu" else torch.device("cuda", index[0])
