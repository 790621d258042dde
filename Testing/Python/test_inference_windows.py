"""However a volume is tiled, the result is that of one pass; memory that runs out on the way changes nothing."""

import itertools

import numpy as np
import pytest
import torch
from synthetic_cases import head
from test_inference import CONTEXTS, paired, segmentor
from torch.utils._python_dispatch import TorchDispatchMode

from GANSynthesisLib.evaluation.seams import seam_ratio, window_planes
from GANSynthesisLib.inference import apply_model, ladder
from GANSynthesisLib.inference.ladder import Way, next_way
from GANSynthesisLib.inference.memory import MemoryModel, is_out_of_memory, measured_memory
from GANSynthesisLib.inference.networks import Networks
from GANSynthesisLib.inference.plan import WindowPlan, halved, least_work, slices, whole, windows_of
from GANSynthesisLib.inference.windows import apply_in_windows, axis_weights
from GANSynthesisLib.networks.translation import BACKBONES, Translator, pad_to_multiple
from GANSynthesisLib.progress import never, silent
from GANSynthesisLib.systems.paired import Paired
from GANSynthesisLib.volumes import Volume

CPU = torch.device("cpu")


class Convolutions(torch.nn.Module):
    """A network without normalization, with random weights that see `layers` voxels to every side.

    multiple: what it pads an image to, by repeating its border.
    """

    def __init__(self, layers: int = 2, multiple: int = 1):
        super().__init__()
        self.multiple = multiple
        torch.manual_seed(1)
        channels = [1] + [4] * (layers - 1) + [1]
        stages = [torch.nn.Conv3d(a, b, 3, padding=1) for a, b in itertools.pairwise(channels)]
        self.stages = torch.nn.Sequential(*[part for stage in stages for part in (stage, torch.nn.Tanh())])

    def forward(self, image):
        padded, crop = pad_to_multiple(image, self.multiple)
        return self.stages(padded)[crop]

    def apply(self, tiles):
        return {"target": self(tiles["source"])}


def smooth(shape) -> torch.Tensor:
    noise = torch.randn(1, 1, *[size // 4 + 1 for size in shape], generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.interpolate(noise, size=shape, mode="trilinear")[0]


def in_windows(apply, image, plan, **more):
    with torch.inference_mode():
        found, left_out = apply_in_windows(
            apply, {"source": image}, plan, ["target"], device=CPU, progress=silent, cancelled=never, **more
        )
    return (found["target"], left_out) if more else found["target"]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference as a fraction of the range."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / (expected.max() - expected.min()))


def one_pass(net: Convolutions, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(image[None])[0]


# Plans


SHAPES = [(37, 44, 41), (1, 50, 60), (50, 1, 33), (5, 6, 7), (70, 16, 90)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [(16, 16, 16), (24, 32, 16), (40, 16, 48), (64, 64, 64)])
@pytest.mark.parametrize("multiple", [1, 8])
def test_every_plan_of_windows_gives_the_result_of_one_pass(shape, window, multiple):
    image, net = smooth(shape), Convolutions(2, multiple)
    plan = windows_of(shape, window, multiple, overlap=8)
    assert all(at % multiple == 0 for axis in plan.starts for at in axis)
    assert difference(in_windows(net.apply, image, plan), one_pass(net, image)) <= 1e-4


@pytest.mark.parametrize("most", [16**3, 20_000, 40_000, 10**6])
def test_the_plan_with_the_least_work_is_exact_and_fits(most):
    image, net = smooth((45, 60, 52)), Convolutions(2, multiple=4)
    plan = least_work((45, 60, 52), most, multiple=4, overlap=16)
    assert np.prod(plan.window) <= max(most, 16**3)
    assert plan.is_whole == (most >= 45 * 60 * 52)
    assert difference(in_windows(net.apply, image, plan), one_pass(net, image)) <= 1e-4


def test_the_least_work_is_less_than_that_of_any_cube():
    shape, most, overlap = (256, 256, 160), 96**3, 32
    best = least_work(shape, most, 16, overlap)
    cubes = [windows_of(shape, (side,) * 3, 16, overlap) for side in range(48, 97, 16)]
    assert best.work < min(cube.work for cube in cubes if np.prod(cube.window) <= most)
    assert whole(shape).work == 1


@pytest.mark.parametrize(("size", "window", "starts"), [(41, 16, (0, 8, 16, 24, 32)), (9, 9, (0,)), (30, 16, (0, 14))])
def test_the_weights_of_all_windows_add_up_to_one(size, window, starts):
    weights = axis_weights(size, window, starts)
    total = torch.zeros(starts[-1] + window)
    for start, each in zip(starts, weights, strict=True):
        total[start : start + window] += each
    assert torch.allclose(total, torch.ones(()), atol=1e-6)


def test_windows_are_halved_along_their_longest_side_down_to_sixteen():
    plan, seen = windows_of((64, 100, 30), (64, 100, 30), 1), []
    while plan:
        seen.append(plan.window)
        plan = halved(plan, 1)
    assert seen[:4] == [(64, 100, 30), (64, 50, 30), (32, 50, 30), (32, 25, 30)]
    assert seen[-1] == (16, 16, 16)


# Nothing is computed for nothing


def test_windows_without_the_body_are_left_out_and_get_the_lowest_value():
    image, net = smooth((40, 40, 40)), Convolutions()
    mask = torch.zeros(40, 40, 40, dtype=torch.bool)
    mask[2:9, 3:12, 20:30] = True
    plan = windows_of((40, 40, 40), (16, 16, 16), 1, overlap=8)
    found, left_out = in_windows(net.apply, image, plan, masks={"target": mask})
    expected = in_windows(net.apply, image, plan).masked_fill(~mask, -1)
    assert torch.equal(found, expected)
    assert left_out == len(plan.corners) - 2 * 2 * 3


@pytest.mark.parametrize("slab", [1, 3])
def test_slices_of_one_value_are_computed_once(slab):
    image, net = smooth((12, 20, 20)), Convolutions()
    image[:, 5:] = -1
    plan = slices((12, 20, 20), slab, batch=2)
    found, left_out = in_windows(net.apply, image, plan, masks={})
    one_by_one = [in_windows(net.apply, image[:, at : at + slab], whole((slab, 20, 20))) for at in plan.starts[0]]
    if slab == 1:
        assert torch.allclose(found, torch.cat(one_by_one, 1), atol=1e-6)
    else:
        assert torch.allclose(found[:, 8], found[:, 7], atol=1e-6)
    assert left_out >= 12 - 5 - slab - 1
    assert torch.isfinite(found).all()


def test_a_window_larger_than_the_volume_repeats_its_border():
    image, seen = smooth((3, 9, 9)), []
    plan = WindowPlan((3, 9, 9), (5, 9, 9), ((0,), (0,), (0,)))
    tiled = in_windows(lambda tiles: seen.append(tiles["source"]) or {"target": tiles["source"]}, image, plan)
    assert torch.allclose(tiled, image, atol=1e-6)
    assert torch.equal(seen[0][0, 0, 4], image[0, 2])


def test_of_a_mapped_volume_only_the_window_at_work_is_read(tmp_path):
    image, largest = smooth((40, 48, 32)), []
    mapped = np.memmap(tmp_path / "volume", np.float32, "w+", shape=tuple(image.shape))
    mapped[:] = image.numpy()
    mapped.flush()
    read = torch.from_numpy(np.memmap(tmp_path / "volume", np.float32, "c", shape=tuple(image.shape)))
    net, storage = Convolutions(), read.untyped_storage().data_ptr()

    def apply(tiles):
        assert tiles["source"].untyped_storage().data_ptr() != storage
        largest.append(tiles["source"].untyped_storage().nbytes())
        return net.apply(tiles)

    tiled = in_windows(apply, read, windows_of((40, 48, 32), (16, 16, 16), 1, overlap=8))
    assert difference(tiled, one_pass(net, image)) <= 1e-4
    assert max(largest) == 16**3 * 4


def test_a_mapped_input_gives_the_same_result_as_one_in_memory(tmp_path):
    volume, model = head(0, (20, 40, 36)), paired(tmp_path, "3D")
    np.save(tmp_path / "voxels.npy", volume.voxels)
    mapped = Volume(np.load(tmp_path / "voxels.npy", mmap_mode="r"), volume.ijk_to_ras, name=volume.name)
    found = [apply_model(model, {"source": each}).outputs["target"].voxels for each in (volume, mapped)]
    assert np.array_equal(*found)


# Seams


@pytest.mark.parametrize("layers", [2, 6])
def test_no_seam_shows_where_windows_meet(layers):
    image, net = smooth((40, 40, 72)), Convolutions(layers)
    plan = windows_of((40, 40, 72), (16, 16, 16), 1, overlap=8)
    tiled = in_windows(net.apply, image, plan)[0].numpy()
    planes = window_planes(plan.starts, plan.window)
    assert seam_ratio(tiled, planes, one_pass(net, image)[0].numpy()) <= 1.02


def test_a_seam_is_seen():
    image = smooth((32, 40, 48))[0].numpy()
    planes = [[16], [20], [24]]
    assert seam_ratio(image, planes, image) == pytest.approx(1)
    spoiled = image.copy()
    spoiled[:, 20:] += 0.02 * np.ptp(image)
    assert seam_ratio(spoiled, planes, image) > 1.02
    with pytest.raises(ValueError, match="no seam to look for"):
        seam_ratio(image, [[], [0, 40], []])


# Networks worked through in slabs


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("shape", [(37, 22, 29), (1, 40, 33), (5, 3, 4)])
@pytest.mark.parametrize("slab_bytes", [1, 40_000, 10**9])
def test_a_pass_in_slabs_is_the_plain_pass(backbone, shape, slab_bytes):
    torch.manual_seed(0)
    network = Translator(2, 3, "3D", 1, 8, backbone, levels=3, blocks=2).eval()
    image = torch.randn(2, 2, *shape)
    with torch.inference_mode():
        plain = network(image)
        network.slab_bytes = slab_bytes
        assert difference(network(image), plain) <= 1e-5


def test_gradients_pass_through_a_network_that_is_set_to_slabs():
    network = Translator(1, 1, "3D", 1, 4, "unet", levels=2)
    network.slab_bytes = 1
    network(torch.randn(1, 1, 8, 8, 8)).mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


@pytest.mark.parametrize("backbone", ["unet", "resnet"])
def test_a_pass_in_slabs_takes_a_fraction_of_the_memory(backbone):
    network = Translator(1, 1, "3D", 1, 8, backbone, levels=1, blocks=1).eval()
    plain = measured_memory(network, (28, 96, 16), (56, 96, 16), 1)
    network.slab_bytes = 1
    assert measured_memory(network, (28, 96, 16), (56, 96, 16), 1).per_voxel < 0.7 * plain.per_voxel


def test_the_memory_model_counts_what_is_alive():
    class TwoMaps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image):
            first = image + 1
            second = first * 2
            del first
            return second.square_().add_(1)

    model = measured_memory(TwoMaps(), (4, 8, 8), (8, 8, 8), 3)
    assert model == MemoryModel(2 * 3 * 4, 0)
    assert model.most_voxels(2400) == 100


# Out of memory


MESSAGES = ["CUDA out of memory. Tried to allocate 2.00 GiB", "DefaultCPUAllocator: can't allocate memory: you tried",
            "[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes"]


@pytest.mark.parametrize("message", MESSAGES)
def test_what_torch_says_when_memory_runs_out_is_known(message):
    assert is_out_of_memory(RuntimeError(message))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.cuda.OutOfMemoryError())


@pytest.mark.parametrize("message", ["size mismatch", "the view was not allocated by this allocator",
                                     "Invalid memory allocation flag"])
def test_other_errors_are_no_lack_of_memory(message):
    assert not is_out_of_memory(RuntimeError(message))
    assert not is_out_of_memory(ValueError("out of memory"))


class FailsOnce(TorchDispatchMode):
    """Runs out of memory at one operator, the `at`-th, and never again; counts them all."""

    def __init__(self, at: int):
        super().__init__()
        self.at, self.count = at, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        if self.count == self.at:
            raise RuntimeError(MESSAGES[0])
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("make", [paired, segmentor])
def test_memory_that_runs_out_at_any_operator_is_survived_with_the_same_result(tmp_path, monkeypatch, context, make):
    model, volume = make(tmp_path, context), head(0, (6, 24, 20))
    name, inner = model.card.outputs[0].name, ladder.apply_in_windows
    usual = apply_model(model, {"source": volume}, device="cpu").outputs[name].voxels
    rounding = 0 if make is segmentor else 1e-5 * np.ptp(usual)

    def run(at: int):
        mode = FailsOnce(at)

        def failing(*given, **more):
            with mode:
                return inner(*given, **more)

        monkeypatch.setattr(ladder, "apply_in_windows", failing)
        return apply_model(model, {"source": volume}, device="cpu"), mode.count

    _, count = run(0)
    for at in (1, 2, *range(3, count, count // 12), count):
        result, _ = run(at)
        assert len(result.report["warnings"]) == 1 and "out of memory: went on" in result.report["warnings"][0]
        assert np.abs(result.outputs[name].voxels.astype(float) - usual).max() <= rounding


def test_the_ladder_goes_down_in_order_and_every_step_is_in_the_report(tmp_path, monkeypatch):
    model, volume, seen, apply = paired(tmp_path, "3D"), head(0, (20, 40, 36)), [], Paired.apply

    def limited(system, inputs):
        seen.append(tuple(inputs["source"].shape[2:]))
        if np.prod(seen[-1]) > 16**3:
            raise RuntimeError(MESSAGES[1])
        return apply(system, inputs)

    monkeypatch.setattr(Paired, "apply", limited)
    result = apply_model(model, {"source": volume}, device="cpu")
    assert result.report["warnings"] == [
        "out of memory: went on with the thinnest slabs",
        "out of memory: went on in bf16",
        "out of memory: went on with windows of (20, 20, 36) voxels",
        "out of memory: went on with windows of (20, 20, 20) voxels",
        "out of memory: went on with windows of (16, 20, 20) voxels",
        "out of memory: went on with windows of (16, 16, 20) voxels",
        "out of memory: went on with windows of (16, 16, 16) voxels",
        ladder.NORMALIZED_IN_WINDOWS,
    ]
    assert result.report["settings"]["precision"] == "bf16"
    assert np.isfinite(result.outputs["target"].voxels).all()


def test_memory_that_is_never_enough_is_said(tmp_path, monkeypatch):
    def failing(system, inputs):
        raise RuntimeError(MESSAGES[1])

    monkeypatch.setattr(Paired, "apply", failing)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        apply_model(paired(tmp_path, "2D"), {"source": head(0)}, device="cpu")


def test_the_cpu_is_the_last_step_of_a_gpu(tmp_path):
    model = paired(tmp_path, "2D")
    networks = Networks(model.build(), CPU)
    way = Way(slices((4, 8, 8), 1, 1), 1, "bf16", torch.device("cuda"))
    down, words = next_way(way, model.card, networks)
    assert (down.device, words) == (CPU, "went on with the CPU")
    assert next_way(Way(down.plan, 1, "bf16", CPU), model.card, networks)[0].plan.batch == 1


def test_an_error_that_is_not_about_memory_is_not_hidden(tmp_path, monkeypatch):
    def broken(system, inputs):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Paired, "apply", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        apply_model(paired(tmp_path, "3D"), {"source": head(0)})


@pytest.mark.parametrize(("megabytes", "windows", "precision"), [(200, 1, "32"), (66, 1, "bf16"), (46, 8, "32")])
def test_memory_decides_on_a_whole_pass_bf16_or_windows(tmp_path, monkeypatch, megabytes, windows, precision):
    monkeypatch.setattr(ladder, "available_bytes", lambda device: megabytes << 20)
    monkeypatch.setattr(Networks, "certainly_fits", lambda *given: False)
    monkeypatch.setattr(Networks, "memory", MemoryModel(200))
    result = apply_model(paired(tmp_path, "3D"), {"source": head(0, (20, 80, 76))}, device="cpu")
    settings = result.report["settings"]
    assert (settings["windows"] > 1, settings["precision"]) == (windows > 1, precision)
    assert bool(result.report["warnings"]) == (settings["windows"] > 1 or precision == "bf16")
    assert (settings["work"] > 1) == (windows > 1)
    assert np.isfinite(result.outputs["target"].voxels).all()
