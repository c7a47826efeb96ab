"""Drawing at the machine's speed: weights cast once, channels last, compiled for one shape, replayed as a CUDA graph.

On a CPU only the weights are cast: compiling takes minutes there and gains a fifth, and channels last loses at small sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from histogenesis.core.device import precision_on
from histogenesis.models.denoiser import Denoiser
from histogenesis.models.latent import Autoencoder
from histogenesis.models.upscaler import Upscaler

GRAPHS = 4  # shapes that one model is asked at, and each graph keeps its memory; more are computed without
WARM_UP = 3  # runs before a graph is captured: compilation, and cuDNN's choice of kernels, must not be in it

Model = TypeVar("Model", bound=Denoiser | Upscaler | Autoencoder)


def ready(denoiser: Model, device: str, precision: str, fast: bool | None = None) -> Model:
    """Make a trained model ready to draw; changes and returns it. fast: compiled and as a CUDA graph; default: on a GPU.

    A CPU without bfloat16 computes in float32; raises BadInput where a GPU has none.
    """
    on_gpu = torch.device(device).type == "cuda"
    denoiser.precision = precision = precision_on(device, precision)
    denoiser.eval().requires_grad_(False)
    if not isinstance(denoiser, Denoiser):
        return denoiser
    if precision == "bf16":
        cast_weights(denoiser)
    if on_gpu:
        denoiser.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # PyTorch's stubs know no memory_format
        denoiser.layout = torch.channels_last
    if on_gpu if fast is None else fast:
        denoiser.run = Replayed(torch.compile(denoiser.estimate, fullgraph=True, dynamic=False))
    return denoiser


def cast_weights(denoiser: Denoiser) -> None:
    """Cast the weights to bfloat16 once, where autocast would do so in each forward.

    What tells the network its conditions stays in float32, and so does batch normalisation, whose kernels take both.
    """
    in_float32 = [*denoiser.network.float32, *(m for m in denoiser.network.modules() if isinstance(m, nn.BatchNorm2d))]
    stay = {id(w) for module in in_float32 for w in module.parameters()}
    for w in denoiser.network.parameters():
        if id(w) not in stay:
            w.data = w.data.bfloat16()
    denoiser.cast = True


class Replayed:
    """A function of tensors on a GPU, captured once for each set of shapes and replayed: no kernel is launched by Python."""

    def __init__(self, function: Callable[..., Tensor]):
        self.function = function
        self.captured: dict[tuple, tuple | None] = {}

    def __call__(self, *tensors: Tensor | None) -> Tensor:
        shapes = tuple(None if t is None else (t.shape, t.dtype) for t in tensors)
        if shapes not in self.captured and len(self.captured) < GRAPHS:
            self.captured[shapes] = self.capture(tensors)
        if self.captured.get(shapes) is None:
            return self.function(*tensors)
        graph, inputs, output = self.captured[shapes]
        for own, given in zip(inputs, tensors):
            if own is not None:
                own.copy_(given, non_blocking=True)
        graph.replay()
        return output.clone()  # the next replay writes into the same memory

    def capture(self, tensors: tuple[Tensor | None, ...]) -> tuple | None:
        """(graph, its inputs, its output); None where the function cannot be captured, which is said and costs only time."""
        inputs = tuple(None if t is None else t.clone() for t in tensors)
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.function(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        try:
            with torch.cuda.graph(graph):
                output = self.function(*inputs)
        except RuntimeError as error:
            print(
                f"no CUDA graph of this network ({str(error).splitlines()[0]}): it is run kernel by kernel", flush=True
            )
            return None
        return graph, inputs, output
