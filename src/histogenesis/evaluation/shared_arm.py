"""The classifiers that learnt from real patches alone: trained once for all samples that are compared with one patch set.

A file of weights says what it is of: the patches, their classes, how they were trained. Of anything else it is not taken.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from histogenesis.core.files import written
from histogenesis.evaluation.tstr import NETWORKS, Labelled, train_arm
from histogenesis.metrics.checks import as_rgb


def digest_of(real: Labelled, options: dict[str, Any]) -> str:
    """Of the patches, their classes, and how the classifiers are trained."""
    found = hashlib.sha256(json.dumps(options, sort_keys=True).encode())
    found.update("\0".join(np.asarray(real.labels).astype(str)).encode())
    found.update(np.ascontiguousarray(real.images).tobytes())
    return found.hexdigest()


def train_on_real(real: Labelled, options: dict[str, Any], out: Path) -> None:
    """Train the arm `real` and write its weights. options: network, seeds, steps, batch, lr, first_seed of `utility`."""
    classes = sorted(set(np.asarray(real.labels).astype(str)))
    labels = np.searchsorted(classes, np.asarray(real.labels).astype(str))
    models = train_arm(as_rgb(real.images), labels, len(classes), **options, progress=True)
    weights = {f"{n}.{name}": w.contiguous().cpu() for n, m in enumerate(models) for name, w in m.state_dict().items()}
    about = {
        "digest": digest_of(real, options),
        "network": options["network"],
        "classes": classes,
        "seeds": len(models),
    }
    with written(out) as part:  # one key: safetensors writes several in any order, and the same bytes would be others
        save_file(weights, part, {"about": json.dumps(about)})


def trained_on_real(path: Path, real: Labelled, options: dict[str, Any]) -> list[nn.Module] | None:
    """The classifiers of a file, if they are of these patches and trained so; else None."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with safe_open(path, "pt", device=device) as file:
        about = json.loads(file.metadata().get("about", "{}"))
        if about.get("digest") != digest_of(real, options):
            return None
        found = []
        for n in range(about["seeds"]):
            model = NETWORKS[about["network"]](len(about["classes"])).to(device)
            names = [name for name in file.keys() if name.startswith(f"{n}.")]  # noqa: SIM118, a file is no dict
            model.load_state_dict({name.removeprefix(f"{n}."): file.get_tensor(name) for name in names})
            found.append(model.eval())
    return found
