"""3D convolutions of small volumes, which torch leaves to a slow kernel."""

from __future__ import annotations

import pytest
import torch

from GANSynthesisLib.networks.convolution import Conv3d, convolve_doubled, convolve_joined

SHAPES = [
    {"in_channels": 3, "out_channels": 5, "kernel_size": 3, "padding": 1},
    {"in_channels": 4, "out_channels": 2, "kernel_size": 4, "stride": 2, "padding": 1, "bias": False},
    {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "groups": 2, "dilation": 2},
    {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": "same"},
    {"in_channels": 2, "out_channels": 3, "kernel_size": 1},
]


@pytest.fixture
def to_onednn(monkeypatch):
    """How often a convolution was handed to oneDNN."""
    calls, given = [], torch.ops.aten.mkldnn_convolution
    monkeypatch.setattr(torch.ops.aten, "mkldnn_convolution", lambda *each: calls.append(1) or given(*each))
    return calls


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_small_volume_is_convolved_as_torch_does_it(shape):
    torch.manual_seed(0)
    ours, image = Conv3d(**shape), torch.randn(1, shape["in_channels"], 9, 8, 7)
    theirs = torch.nn.Conv3d(**shape)
    theirs.load_state_dict(ours.state_dict())
    assert torch.allclose(ours(image), theirs(image), atol=1e-5)
    ours(image).square().sum().backward()
    theirs(image).square().sum().backward()
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_only_what_torch_overlooks_takes_the_other_way(to_onednn):
    layer = Conv3d(4, 4, 3, padding=1)
    layer(torch.zeros(1, 4, 16, 16, 8))
    assert len(to_onednn) == int(torch.backends.mkldnn.is_available())
    layer(torch.zeros(2, 4, 8, 8, 8))  # several at once, large ones and bf16 are left to torch
    layer(torch.zeros(1, 4, 80, 80, 2))
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.zeros(1, 4, 8, 8, 8))
    assert len(to_onednn) == int(torch.backends.mkldnn.is_available())


def test_a_gradient_penalty_goes_through_it():
    torch.manual_seed(0)
    layer, image = Conv3d(2, 3, 3), torch.randn(1, 2, 6, 6, 6, requires_grad=True)
    slope, = torch.autograd.grad(layer(image).square().sum(), image, create_graph=True)
    slope.square().sum().backward()
    reference = torch.nn.Conv3d(2, 3, 3)
    reference.load_state_dict(layer.state_dict())
    slope, = torch.autograd.grad(reference(image).square().sum(), image, create_graph=True)
    slope.square().sum().backward()
    assert torch.allclose(layer.weight.grad, reference.weight.grad, rtol=1e-3)


def test_a_kernel_deeper_than_the_image_has_whole_gradients_in_bf16():
    torch.manual_seed(0)
    layer, image = Conv3d(16, 16, 3, padding=1), torch.randn(2, 16, 2, 8, 8)
    layer(image).square().sum().backward()
    exact = layer.weight.grad.clone()
    for _ in range(5):  # what is left unset is whatever the memory held before
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            layer(image).float().square().sum().backward()
        assert torch.allclose(layer.weight.grad, exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (4, 2, 1), (5, 1, 2), (3, 2, 1), (1, 1, 0)])
def test_an_image_in_two_parts_has_the_gradients_of_the_whole(depth, kernel, stride, padding):
    torch.manual_seed(0)
    ours, image = Conv3d(2, 3, kernel, stride, padding), torch.randn(1, 2, depth + kernel - 1, 6, 7)
    theirs = torch.nn.Conv3d(2, 3, kernel, stride, padding)
    theirs.load_state_dict(ours.state_dict())
    found = []
    for layer in (ours, theirs):
        given = image.clone().requires_grad_()
        answer = layer(given)
        found.append((answer, *torch.autograd.grad(answer.square().sum(), (given, layer.weight, layer.bias))))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-3) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (1, 2, 1)])
def test_a_convolution_of_doubled_voxels_makes_none_of_them(shape):
    torch.manual_seed(0)
    image, skip = torch.randn(2, 3, *shape), torch.randn(2, 4, *(2 * size for size in shape))
    layer = (torch.nn.Conv2d if len(shape) == 2 else Conv3d)(7, 5, 3, padding=1, bias=False)
    doubled = torch.nn.functional.interpolate(image, scale_factor=2, mode="nearest")
    expected = layer(torch.cat([skip, doubled], 1))
    found = convolve_joined(layer, skip, image)
    assert torch.allclose(found, expected, atol=1e-5)
    gradients = [torch.autograd.grad(each.square().sum(), layer.weight)[0] for each in (found, expected)]
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-3)
    alone = layer(torch.cat([torch.zeros_like(skip), doubled], 1))
    assert torch.allclose(convolve_doubled(image, layer.weight[:, 4:]), alone, atol=1e-5)
