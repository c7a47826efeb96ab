"""A small encoder that is trained on the run's own real training patches, so that no run depends on a download.

Three tasks without labels, learnt at once: tell two crops of one patch from crops of others (SimCLR, Chen et al. 2020,
with geometric views only, so that stain and sharpness stay visible to the encoder); measure how much a crop was
blurred, noised and restained; and read its mpp. The last two make the features sensitive to what generated images get wrong.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from tqdm import trange

from histogenesis.core.device import computed_on
from histogenesis.core.errors import BadInput

HEADER, FORMAT = "histogenesis", "encoder 1"
LEAST_PX = 16
CROP_PX = 64
DISTORTIONS = 5  # blur, noise, and the density of R, G, B


class Block(nn.Module):
    """A residual block; the first convolution may halve the size."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        y = F.silu(self.norm1(self.conv1(x)))
        return F.silu(self.norm2(self.conv2(y)) + self.skip(x))


class Network(nn.Module):
    """(n, 3, h, w) in [-1, 1] -> features (n, dimensions), the mean of the last map; any size from 16 px."""

    def __init__(self, channels: int = 16, dimensions: int = 64):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 5, 2, 2)
        self.body = nn.Sequential(
            Block(channels, channels, 1), Block(channels, 2 * channels, 2), Block(2 * channels, dimensions, 2)
        )

    def forward(self, x):
        return self.body(F.silu(self.stem(x))).mean(dim=(2, 3))


def train_encoder(images: np.ndarray, mpp: np.ndarray, steps: int = 300, batch: int = 64, seed: int = 1, progress=True):
    """Train on real patches, uint8 (n, p, p, 3) with their mpp (n,); returns (Network on the CPU, log).

    Deterministic in the seed on one machine and number of threads. log: dict of lists (step, loss of each task).
    """
    if len(images) < 8:
        raise BadInput(
            f"{len(images)} patches cannot train an encoder: cut at least 8 (a lower patches.min_tissue may help)"
        )
    if min(images.shape[1:3]) < LEAST_PX:
        raise BadInput(f"the encoder needs patches of at least {LEAST_PX} px, and these are {images.shape[1]} px")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network()
        project = nn.Sequential(nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 32))
        read = nn.Linear(64, DISTORTIONS + 1)
    model = nn.ModuleList([network, project, read]).to(device)
    log_mpp = torch.from_numpy(np.log2(mpp.astype(np.float32)))
    log_mpp = (log_mpp - log_mpp.mean()) / log_mpp.std().clamp_min(1e-3) if len(images) > 1 else log_mpp * 0
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    crop = min(CROP_PX, max(LEAST_PX, 3 * min(images.shape[1:3]) // 4))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    log = {"step": [], "contrast": [], "distortion": [], "mpp": []}
    for step in trange(steps, desc="encoder", unit="step", disable=not progress):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 20) * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = torch.randperm(len(pixels), generator=generator)[:batch]
        chosen = pixels[rows].permute(0, 3, 1, 2).float() / 255
        first, second = _view(chosen, crop, generator), _view(chosen, crop, generator)
        distorted, amounts = _distort(_view(chosen, crop, generator), generator)
        features = network(torch.cat([first, second, distorted]).to(device) * 2 - 1)
        one, two, three = features.chunk(3)
        contrast = _contrast(project(one), project(two))
        answers = read(three)
        distortion = F.mse_loss(answers[:, :DISTORTIONS], amounts.to(device))
        scale = F.mse_loss(read(one)[:, DISTORTIONS], log_mpp[rows].to(device))
        optimiser.zero_grad(set_to_none=True)
        (contrast + 3 * distortion + 0.5 * scale).backward()
        optimiser.step()
        if step % 20 == 0 or step == steps - 1:
            for name, value in zip(log, (step, contrast, distortion, scale)):
                log[name].append(value if name == "step" else round(float(value.detach()), 5))
    return network.cpu().eval(), log


def _view(x, crop, generator):
    """The same random crop and one of the eight turns and mirrors, drawn for the batch's halves anew."""
    parts = []
    for chunk in x.chunk(8):
        top, left = (int(torch.randint(n - crop + 1, (), generator=generator)) for n in x.shape[2:])
        turn, mirror = (int(torch.randint(n, (), generator=generator)) for n in (4, 2))
        part = torch.rot90(chunk[:, :, top : top + crop, left : left + crop], turn, (2, 3))
        parts.append(part.flip(3) if mirror else part)
    return torch.cat(parts)


def _distort(x, generator):
    """Blur, noise and restain each image by a random amount; returns them with the amounts (n, 5), of order 1."""
    n = len(x)
    amounts = torch.rand(n, DISTORTIONS, generator=generator)
    some = torch.rand(n, 3, generator=generator) < 0.5  # which of blur, noise, stain
    amounts[:, 0] *= some[:, 0]
    amounts[:, 1] *= some[:, 1]
    amounts[:, 2:] = (2 * amounts[:, 2:] - 1) * some[:, 2:3]
    blurred = F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), 5, 1)
    x = x + (blurred - x) * amounts[:, 0, None, None, None]
    density = -torch.log((x * 255 + 1) / 256) * torch.exp(0.4 * amounts[:, 2:, None, None])
    x = torch.exp(-density)
    noise = torch.randn(x.shape, generator=generator)
    return (x + 0.1 * amounts[:, 1, None, None, None] * noise).clamp(0, 1), amounts


def _contrast(a, b, temperature: float = 0.2):
    """NT-Xent (Chen et al. 2020, eq. 1)."""
    z = F.normalize(torch.cat([a, b]), dim=1)
    n = len(a)
    similarity = z @ z.T / temperature
    similarity = similarity.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), float("-inf"))
    partner = (torch.arange(2 * n, device=z.device) + n) % (2 * n)
    return F.cross_entropy(similarity, partner)


def save_encoder(path: Path, network: Network, log: dict, seed: int) -> None:
    """One safetensors file: the weights, and in its header how they came about."""
    how = computed_on("cuda" if torch.cuda.is_available() else "cpu")
    header = {
        HEADER: json.dumps({"format": FORMAT, "log": log, "seed": seed, **how}, sort_keys=True)
    }  # one key: several would
    # be written in random order
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(save({k: v.contiguous() for k, v in network.state_dict().items()}, metadata=header))
    os.replace(temporary, path)


def load_encoder(path: Path) -> tuple[Network, str]:
    """The network, and the sha256 of its file. Raises BadInput for a file that is no such encoder."""
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such encoder; train it first (train_encoder.py), or leave `learned` out")
    try:
        with safe_open(path, "pt") as file:
            if json.loads((file.metadata() or {}).get(HEADER, "{}")).get("format") != FORMAT:
                raise BadInput(f"{path} is not an encoder of this version: train it again (train_encoder.py)")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
    except SafetensorError as error:
        raise BadInput(f"{path} is not a safetensors file ({error}): train it again (train_encoder.py)") from None
    network = Network(len(state["stem.bias"]), state["body.2.skip.weight"].shape[0])
    network.load_state_dict(state)
    return network.eval(), hashlib.sha256(path.read_bytes()).hexdigest()
