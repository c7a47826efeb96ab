"""Drawing at the machine's speed: one graph for all tiles, no waiting inside a pass, and an error of bfloat16 that is known."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from histogenesis.core import device
from histogenesis.models.model import build_model
from histogenesis.models.networks import ddpmpp
from histogenesis.models.networks.ddpmpp import doubled, laid_out
from histogenesis.models.normalisation import Normalisation
from histogenesis.models.speed import GRAPHS, WARM_UP, Replayed, ready
from histogenesis.sampling.guidance import guide

NETWORKS = {
    "ddpmpp": {"kind": "ddpmpp", "channels": 16, "multipliers": [1, 2], "blocks": 1, "attention_px": [8], "heads": 2}
    | {"dropout": 0.1},
    "efficient": {"kind": "efficient", "channels": 16, "multipliers": [1, 2], "blocks": [1, 2]}
    | {"attention": [False, True], "heads": 2, "dropout": 0.0, "halve_first": False},
    "classic-unet": {
        "kind": "classic-unet",
        "channels": 16,
        "multipliers": [1, 2],
        "attention_channels": [32],
        "heads": 2,
    },
    "jit": {"kind": "jit", "token_px": 4, "channels": 24, "blocks": 3, "heads": 2, "bottleneck": 12},
}
OBJECTIVES = {
    "edm": {"kind": "edm", "sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2},
    "flow": {"kind": "flow", "sigma_data": 0.5, "p_mean": 0.8, "p_std": 0.8},
    "v": {"kind": "v", "schedule": "cosine", "timesteps": 100, "min_snr": None, "loss": "mse"},
}


def model(network="ddpmpp", objective="edm", conditions=("mpp", "label", "lowres", "context"), **how):
    """With weights that are not those of the beginning, where most branches of a network give nothing."""
    torch.manual_seed(0)
    section = {"network": NETWORKS[network], "objective": OBJECTIVES[objective], "conditions": list(conditions)}
    built = build_model(section | {"training": {"steps": 1}, "lowres_factor": 2}, 16, Normalisation.unit(), ["a", "b"])
    with torch.no_grad():
        for w in built.network.parameters():
            w.add_(0.05 * torch.randn(w.shape))
    return ready(built, "cpu", **({"precision": "fp32"} | how))


def question(seed, batch=2):
    g = torch.Generator().manual_seed(seed)
    x, cond_image = torch.randn(batch, 3, 16, 16, generator=g), torch.randn(batch, 6, 16, 16, generator=g)
    sigma, mpp = torch.rand(batch, generator=g) + 0.1, torch.full((batch,), 1.0 + seed)
    return x, sigma, mpp, None, cond_image, torch.rand(batch, generator=g), torch.randint(0, 2, (batch,), generator=g)


@pytest.fixture(autouse=True)
def half_is_half(monkeypatch):
    """Also on a CPU that has no instructions for it, and would compute in float32."""
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)


PAIRS = [("ddpmpp", "edm"), ("efficient", "v"), ("classic-unet", "edm"), ("jit", "flow")]


@pytest.mark.parametrize(("network", "objective"), PAIRS)
def test_it_is_one_graph_that_all_tiles_share(network, objective):
    denoiser = model(network, objective, precision="bf16")
    torch._dynamo.reset()
    counter = CompileCounter()
    compiled = torch.compile(denoiser.estimate, fullgraph=True, dynamic=False, backend=counter)  # a break would raise
    with torch.inference_mode():
        for seed in range(4):  # other pixels, noise levels, mpps and classes: other tiles, steps and levels
            assert torch.equal(compiled(*question(seed)), denoiser.estimate(*question(seed)))
    assert counter.frame_count == 1, "compiled once"


class Waiting(TorchDispatchMode):
    """Notes what would make Python wait for a GPU: values read back, and tensors made from Python's numbers and sent there."""

    READS = ("_local_scalar_dense", "nonzero", "is_nonzero", "item", "lift_fresh", "unique")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if any(name in func.name() for name in self.READS) or (
            "device" in (kwargs or {}) and "_to_copy" in func.name()
        ):
            self.found.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("network", "objective"), PAIRS)
def test_nothing_in_a_pass_waits_for_the_device(network, objective):
    denoiser = model(network, objective, conditions=("mpp", "label"), precision="bf16")
    x, sigma, mpp, *_ = question(1)
    ask = guide(denoiser, "b", 0.5)
    denoiser.normalisation.encode(x)  # its mean is sent to a device once
    with torch.inference_mode(), Waiting() as waiting:
        denoiser.normalisation.decode(ask(x, sigma, mpp))
    assert waiting.found == []
    with Waiting() as waiting:
        bool(x.sum() > 0)
    assert waiting.found, "what it looks for would be found"


@pytest.mark.parametrize(("network", "objective"), PAIRS)
def test_the_error_of_bfloat16_is_that_of_its_eight_bits(network, objective):
    """Against float32: one rounding is 2^-9 at most, and some tens of them in a row add up to a percent or two."""
    exact, half = model(network, objective), model(network, objective, precision="bf16")
    autocast = model(network, objective)
    autocast.precision = "bf16"  # as in training: float32 weights that are cast in each forward
    with torch.inference_mode():
        wanted = exact(*question(3, batch=8))
        noise = (
            wanted
            - exact.objective.scalings(question(3, batch=8)[1][:, None, None, None]).skip * question(3, batch=8)[0]
        )
        error = float((half(*question(3, batch=8)) - wanted).square().mean().sqrt() / noise.square().mean().sqrt())
        usual = float((autocast(*question(3, batch=8)) - wanted).square().mean().sqrt() / noise.square().mean().sqrt())
    assert 0 < error < 0.03 and error < 2 * usual, (error, usual)


def test_conditions_are_told_in_float32():
    """In half precision the steps 999 and 1000, or the mpps 0.501 and 0.5, would be the same."""
    denoiser = model(objective="v", conditions=("mpp",), precision="bf16")
    assert all(w.dtype == torch.float32 for module in denoiser.network.float32 for w in module.parameters())
    assert denoiser.network.encoder[0].conv0.weight.dtype == torch.bfloat16, "and the rest is cast once"
    assert torch.equal(denoiser.network.noise_embedding.frequencies, model().network.noise_embedding.frequencies)


def test_a_cpu_does_not_compile():
    assert model(precision="bf16").run is None


class FakeGraphs:
    """CUDA graphs on a CPU: what ran while one was captured runs again at a replay, from the same memory into the same."""

    def __init__(self, monkeypatch, function):
        self.function, self.capturing, self.calls, self.replays = function, None, 0, 0
        stream = SimpleNamespace(wait_stream=lambda other: None)
        for name, fake in (("Stream", lambda: stream), ("current_stream", lambda: stream), ("stream", self.at_ease)):
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=None))
        monkeypatch.setattr(torch.cuda, "graph", self.capture)

    def at_ease(self, stream):
        return nullcontext()

    @contextmanager
    def capture(self, graph):
        self.capturing = graph
        yield
        self.capturing = None

    def __call__(self, *tensors):
        self.calls += 1
        output = self.function(*tensors)
        if self.capturing is not None:

            def replay():
                self.replays += 1
                output.copy_(self.function(*tensors))

            self.capturing.replay = replay
        return output


def test_a_graph_is_captured_once_for_each_shape_and_gives_what_the_function_gives(monkeypatch):
    def function(x, y):
        return x * 2 if y is None else x + y

    fake = FakeGraphs(monkeypatch, function)
    replayed, torch_rand = Replayed(fake), torch.Generator().manual_seed(1)
    x = [torch.rand(2, 3, generator=torch_rand) for _ in range(3)]
    found = [replayed(one, one.flip(0)) for one in x]
    assert fake.calls == WARM_UP + 1 and fake.replays == 3
    assert all(torch.equal(out, one + one.flip(0)) for out, one in zip(found, x)), "none is written over by the next"
    assert torch.equal(replayed(x[0], None), 2 * x[0]) and fake.calls == 2 * (WARM_UP + 1), "None is a shape of its own"
    for n in range(GRAPHS):
        before = fake.calls
        assert torch.equal(replayed(torch.ones(1, n + 4), None), torch.full((1, n + 4), 2.0))
        assert fake.calls - before == (WARM_UP + 1 if n < GRAPHS - 2 else 1), "beyond so many it is called as it is"


def test_what_cannot_be_captured_is_called_as_it_is_and_that_is_said_once(monkeypatch, capsys):
    fake = FakeGraphs(monkeypatch, lambda x: x + 1)

    @contextmanager
    def refuse(graph):
        yield
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    replayed = Replayed(fake)
    assert [float(replayed(torch.tensor([v]))) for v in (1.0, 2.0)] == [2, 3] and not fake.replays
    assert capsys.readouterr().out.count("no CUDA graph of this network (operation not permitted") == 1


def test_large_pictures_are_drawn_by_whole_pixels_on_a_cpu_and_small_ones_are_not():
    large, small = (torch.zeros(2, 8, side, side, dtype=torch.bfloat16) for side in (32, 16))
    assert laid_out(large).is_contiguous(memory_format=torch.channels_last)
    for other in (small, small.contiguous(memory_format=torch.channels_last), large.float()):
        assert laid_out(other).is_contiguous()
    learns = large.clone().requires_grad_()
    assert laid_out(learns) is learns
    assert laid_out(doubled(small)).is_contiguous(memory_format=torch.channels_last)


def test_whole_pixels_give_the_picture_to_the_rounding_of_bfloat16(monkeypatch):
    """The same network and noise, laid out as PyTorch does it by itself; beside both in float32."""
    x, sigma, mpp = torch.randn(3, 3, 64, 64), torch.tensor([0.1, 0.5, 2.0]), torch.ones(3)
    drawn = model(conditions=("mpp",))
    exact = drawn(x, sigma, mpp)
    ready(drawn, "cpu", "fp32").precision = "bf16"
    with torch.inference_mode():
        pixels = drawn(x, sigma, mpp)
        monkeypatch.setattr(ddpmpp, "laid_out", lambda x: x)
        planes = drawn(x, sigma, mpp)
    error = (planes - exact).abs().mean()
    assert 0 < (pixels - exact).abs().mean() < 1.2 * error
    assert (pixels - planes).abs().mean() < error


@pytest.mark.parametrize("type", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learns", [False, True])
def test_doubled_is_each_pixel_four_times(type, learns):
    x = torch.randn(2, 3, 4, 5, dtype=type, requires_grad=learns)
    two = doubled(x)
    assert torch.equal(two.detach().float(), torch.kron(x.detach().float(), torch.ones(2, 2)))
    if learns:
        two.sum().backward()
        assert torch.equal(x.grad, torch.full_like(x, 4))
