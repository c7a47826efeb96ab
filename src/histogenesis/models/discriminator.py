"""What an autoencoder is judged by beside the difference of pixels: a fixed network's features, and a network that learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import relu

from histogenesis.core.errors import BadInput
from histogenesis.models.checkpoint import adam, fill_steps
from histogenesis.models.networks.vq import check_sha256
from histogenesis.models.options import Options

DELTA, LARGEST = 1e-6, 1e4  # of the adaptive weight: Esser et al. 2021, eq. 7, and their code


class PerceptualDistance:
    """Squared distance of the features that a TorchScript file gives pictures (B, 3, H, W) in 0..255.

    section: `file` and `sha256`. With the vgg16.pt of StyleGAN2-ADA, asked for `return_lpips`, it is LPIPS (Zhang et al. 2018).
    """

    def __init__(self, section: Options, device: str):
        check_sha256(Path(section.file), section.sha256)
        try:
            self.features = torch.jit.load(section.file, map_location=device).eval()
        except RuntimeError:
            raise BadInput(f"{section.file} is not a TorchScript file; pickled weights are never loaded") from None
        for w in self.features.parameters():
            w.requires_grad_(False)
        known = {argument.name for argument in self.features.forward.schema.arguments}
        wanted = {"return_lpips": True, "resize_images": False}
        self.options = {name: value for name, value in wanted.items() if name in known}

    def __call__(self, a_bchw: Tensor, b_bchw: Tensor) -> Tensor:
        """Of pictures in [-1, 1]; shape (B,), float32."""
        # Without TorchScript's optimiser, whose first calls round differently from later ones: a resumed training would too.
        with torch.autocast(a_bchw.device.type, enabled=False), torch.jit.optimized_execution(False):
            a, b = (self.features((x.float() + 1) * 127.5, **self.options).flatten(1) for x in (a_bchw, b_bchw))
        return (a - b).square().sum(dim=1)


class Discriminator:
    """A patch discriminator (Isola et al. 2017) with its own optimiser, and what an autoencoder learns from it.

    Trained with the hinge loss and weighed as VQGAN does it (Esser et al. 2021, eqs. 6 and 7, and their code). The network is
    MONAI's; the losses are not: its PatchAdversarialLoss puts a tanh before the hinge, and one on the autoencoder's side too,
    both of which VQGAN has not. Batch normalisation and the weight, a ratio of gradients, see the whole batch at once, so that
    there is one process and no micro-batches. section: `weight`, `start_step`, `channels`, `layers`.
    """

    def __init__(self, section: Options, lr: float, betas: Sequence[float], patch_px: int, device: str):
        from monai.networks.nets.patchgan_discriminator import PatchDiscriminator  # seconds to import

        least = 3 * 2**section.layers  # the layers halve the picture, and two more convolutions take 1 px each
        if patch_px < least:
            raise BadInput(
                f"the discriminator's {section.layers} layers need patches of {least} px, not {patch_px}: lower"
                " objective.adversarial.layers"
            )
        self.section = section
        self.network = PatchDiscriminator(2, section.channels, 3, num_layers_d=section.layers).to(device).train()
        self.weights = dict(self.network.named_parameters())
        self.optimizer = adam(self.weights, lr, betas)
        self.step = 0  # of the training; it learns from `start_step` on
        self.last_pair: tuple[Tensor, Tensor] | None = None

    def logits(self, pictures_bchw: Tensor) -> Tensor:
        """High where a patch looks real; (B, 1, h, w)."""
        return self.network(pictures_bchw)[-1]

    def loss(self, real: Tensor, generated: Tensor, reconstruction: Tensor, last_weight: Tensor) -> Tensor:
        """-D(made), times the adaptive weight lambda: a number. What it was shown is kept, to learn from it afterwards.

        reconstruction: the other losses, a number; last_weight: of the decoder, where gradients are compared.
        """
        if self.step < self.section.start_step:
            return torch.zeros((), device=generated.device)
        self.last_pair = real.detach(), generated.detach()
        self.network.requires_grad_(False)
        loss = -self.logits(generated).mean()
        size = [torch.autograd.grad(x, last_weight, retain_graph=True)[0].norm() for x in (reconstruction, loss)]
        weight = (size[0] / (size[1] + DELTA)).clamp(max=LARGEST).detach()
        return self.section.weight * weight * loss

    def learn(self, lr: float) -> None:
        """One optimiser step, after each of the autoencoder's: the hinge loss of what `loss` was shown."""
        self.step += 1
        if self.last_pair is None:
            return
        real, generated = self.last_pair
        self.network.requires_grad_(True)
        loss = (relu(1 - self.logits(real)).mean() + relu(1 + self.logits(generated)).mean()) / 2
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        self.last_pair = None

    def groups(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint holds of it."""
        moments = {name: self.optimizer.state[w] for name, w in self.weights.items()}
        return {
            "adversary": self.network.state_dict(),
            "adversary-first": {name: m["exp_avg"] for name, m in moments.items()},
            "adversary-second": {name: m["exp_avg_sq"] for name, m in moments.items()},
        }

    def resume(self, step: int) -> None:
        """After a checkpoint of that step has filled its groups."""
        self.step = step
        fill_steps(self.optimizer, max(0, step - self.section.start_step))
