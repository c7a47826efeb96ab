"""Train on synthetic, test on real (TSTR): are generated patches of use?

A classifier is trained on real, generated, or both, and tested on real patches held out.

ResNet-50 as Diffusion4Path does it, with torchvision's names so that its weights load; a small network for tests. Every
arm sees the same number of images in training, so that "both" wins by variety and not by more steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

from histogenesis.core.errors import BadInput
from histogenesis.metrics.checks import as_rgb
from histogenesis.metrics.distances.intervals import t_interval

ARMS = ("real", "generated", "real + generated")


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, with the stride in the middle (He et al. 2016, figure 5; the stride as in torchvision)."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):
    """ResNet-50 (He et al. 2016, table 1)."""

    def __init__(self, classes: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        inputs = 64
        for i, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
            layer = []
            for j in range(blocks):
                layer.append(Bottleneck(inputs, width, 2 if i > 1 and j == 0 else 1))
                inputs = 4 * width
            self.add_module(f"layer{i}", nn.Sequential(*layer))
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(1, 5):
            x = self.get_submodule(f"layer{i}")(x)
        return self.fc(x.mean(dim=(2, 3)))


class SmallNetwork(nn.Sequential):
    """Three strided convolutions and a linear layer: seconds on a CPU."""

    def __init__(self, classes: int):
        layers, inputs = [], 3
        for width in (16, 32, 64):
            layers += [nn.Conv2d(inputs, width, 3, 2, 1), nn.GroupNorm(8, width), nn.SiLU()]
            inputs = width
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


NETWORKS = {"resnet50": ResNet50, "small": SmallNetwork}


@dataclass(frozen=True)
class Labelled:
    """images uint8 (n, p, p, 3), labels (n,) str, groups (n,): the patients."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def __len__(self):
        return len(self.images)


def tstr(
    real: Labelled,
    generated: Labelled,
    test: Labelled,
    network: str = "resnet50",
    seeds: int = 5,
    steps: int = 1000,
    batch: int = 64,
    lr: float = 1e-3,
    first_seed: int = 1,
    progress: bool = False,
    on_real: list[nn.Module] | None = None,
) -> dict:
    """Accuracy on held-out real patches of each arm, over several seeds.

    Returns {"classes", "network", "steps", "arms": {arm: {"accuracy": [..], "value", "low", "high", "balanced_accuracy",
    "confusion": summed over seeds, rows true, columns found, "n_train"}}, "n_test", "recognised"}; low and high are Student's
    interval over seeds: of training's chance, not of the patients'. "recognised", of the same form, is how well the classifier
    that learnt from real patches tells of generated ones which class they were to be (1 / classes: by chance). on_real: the
    classifiers of the arm `real`, where they are trained already: they are the same for all samples of one patch set. Raises
    BadInput where test and training share a patient, or a class is missing.
    """
    sets = {"real": real, "generated": generated, "test": test}
    sets = {
        k: Labelled(as_rgb(v.images), np.asarray(v.labels).astype(str), np.asarray(v.groups)) for k, v in sets.items()
    }
    shared = sorted(set(map(str, sets["real"].groups)) & set(map(str, sets["test"].groups)))
    if shared:
        raise BadInput(f"training and test patches share {len(shared)} patients ({shared[0]}, ...): split by patient")
    classes = sorted(set(sets["real"].labels))
    for name, part in sets.items():
        odd = set(classes) ^ set(part.labels)
        if odd:
            raise BadInput(f"{name} patches and real training patches differ in classes: {sorted(odd)}")
        if part.images.shape[1:] != sets["real"].images.shape[1:]:
            raise BadInput(
                f"{name} patches are {part.images.shape[1:3]} px, training ones {sets['real'].images.shape[1:3]} px"
            )
    if len(classes) < 2:
        raise BadInput(
            f"one class ({classes[0]}) cannot be classified: the slide table's column `label` needs two or more"
        )
    coded = {k: (v.images, np.searchsorted(classes, v.labels)) for k, v in sets.items()}
    both = tuple(np.concatenate([coded["real"][i], coded["generated"][i]]) for i in (0, 1))
    training = {"real": coded["real"], "generated": coded["generated"], "real + generated": both}
    arms, recognised = {}, {}
    for arm in ARMS:
        images, labels = training[arm]
        trained = on_real if arm == "real" else None
        if trained is None:
            many = {"network": network, "seeds": seeds, "steps": steps, "batch": batch, "lr": lr}
            trained = train_arm(images, labels, len(classes), **many, first_seed=first_seed, progress=progress)
        arms[arm] = _tested(trained, *coded["test"], len(classes)) | {"n_train": len(images)}
        if arm == "real":
            recognised = _tested(trained, *coded["generated"], len(classes)) | {"n_train": len(images)}
    about = {"classes": classes, "network": network, "steps": steps, "n_test": len(coded["test"][0])}
    return about | {"arms": arms, "recognised": recognised}


def train_arm(
    images, labels, classes, network, seeds, steps, batch, lr, first_seed=1, progress=False
) -> list[nn.Module]:
    """Classifiers that differ in their seed alone."""
    seeds = range(first_seed, first_seed + seeds)
    return [train_classifier(images, labels, classes, network, steps, batch, lr, seed, progress) for seed in seeds]


def _tested(models: list[nn.Module], images: np.ndarray, labels: np.ndarray, classes: int) -> dict:
    """Accuracies of classifiers that differ in their seed alone."""
    tables = [_confusion(labels, predict(model, images), classes) for model in models]
    accuracy = [float(np.trace(t) / t.sum()) for t in tables]
    value, low, high = t_interval(accuracy)
    return {
        "accuracy": accuracy,
        "value": value,
        "low": low,
        "high": high,
        "balanced_accuracy": float(np.mean([np.mean(np.diag(t) / t.sum(axis=1)) for t in tables])),
        "confusion": np.sum(tables, axis=0).tolist(),
    }


def train_classifier(images, labels, classes, network, steps, batch, lr, seed, progress=False) -> nn.Module:
    """AdamW, one-cycle rate, the eight turns and mirrors; classes drawn evenly. Deterministic in the seed on the CPU."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[network](classes).to(device).train()
    rng = np.random.default_rng(seed)
    by_class = [np.flatnonzero(labels == c) for c in range(classes)]
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps)
    for _ in trange(steps, desc=f"{network}, seed {seed}", unit="step", disable=not progress):
        wanted = rng.integers(classes, size=batch)
        rows = np.array([by_class[c][rng.integers(len(by_class[c]))] for c in wanted])
        x = _tensor(np.rot90(images[rows], int(rng.integers(4)), axes=(1, 2)), device)
        x = x.flip(3) if rng.integers(2) else x
        loss = F.cross_entropy(model(x), torch.from_numpy(wanted).to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def predict(model: nn.Module, images, batch: int = 64) -> np.ndarray:
    """Class indices, (n,)."""
    device = next(model.parameters()).device
    parts = [
        model(_tensor(images[i : i + batch], device)).argmax(1).cpu().numpy() for i in range(0, len(images), batch)
    ]
    return np.concatenate(parts)


def _tensor(images, device):
    return torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def _confusion(true, found, classes):
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (true, found), 1)
    return table
