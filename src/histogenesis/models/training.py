"""Training: a function of (recipe, patches) and of the step alone.

Which patches a step sees, how they are turned, their noise, sigma and dropout are all keyed by (seed, step, place in the
global batch). So a training that was killed and resumed, or split over several processes, is the same training.
"""

import json
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from histogenesis.core.device import precision_on
from histogenesis.core.errors import BadInput
from histogenesis.core.files import write_text
from histogenesis.core.interrupt import Stopped, StopRequest
from histogenesis.models.batch import Batch
from histogenesis.models.batches import Batches, Picked
from histogenesis.models.checkpoint import adam, fill_steps, load_checkpoint, save_checkpoint
from histogenesis.models.latent import Autoencoder
from histogenesis.models.model import Denoiser, Upscaler
from histogenesis.models.options import ModelOptions

READ_EVERY = 16  # steps between two looks at a GPU's losses


class Diverged(BadInput):
    """The loss or its gradient is not a number, or the loss is far above its best."""


class Trainer:
    """Holds what changes while training: weights, their EMA, Adam's moments, the step, and a discriminator if any."""

    def __init__(
        self,
        denoiser: Denoiser | Upscaler | Autoencoder,
        section: Any,
        batches: Batches,
        state: Path,
        digest: str,
        device: str,
    ):
        section = ModelOptions.of(section)
        self.t, self.batches, self.state, self.digest, self.device = section.training, batches, state, digest, device
        self.denoiser = denoiser.to(device).train()
        self.denoiser.precision = precision_on(device, self.t.precision)
        # What only training needs of a model: weights to start from, and a network that judges it and learns in turn with it.
        self.discriminator = denoiser.begin_training(section, device) if isinstance(denoiser, Autoencoder) else None
        self.weights = dict(self.denoiser.network.named_parameters())
        self.ema = {name: w.detach().clone() for name, w in self.weights.items()}
        stored = (
            self.denoiser.network.state_dict().keys()
        )  # statistics of batch normalisation, embeddings that are given
        self.buffers = {name: b for name, b in self.denoiser.network.named_buffers() if name in stored}
        self.optimizer = adam(self.weights, self.t.lr, self.t.betas)
        self.on_gpu = torch.device(device).type == "cuda"
        if self.on_gpu:
            self.denoiser.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # PyTorch's stubs know no memory_format
            self.denoiser.layout = torch.channels_last
            if self.t.compile:
                self.denoiser.network.compile(dynamic=False)
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        normalises = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in self.denoiser.network.modules())
        if normalises and (self.world > 1 or self.t.micro_batch):
            raise BadInput(
                "batch normalisation sees the whole batch at once: train this network in one process, without micro_batch"
            )
        self.step, self.best = 0, math.inf
        self.running: float | None = None
        self.unread: list[
            tuple[int, Tensor, Tensor]
        ] = []  # (step, loss, norm of the gradient) that the device has made
        self.stop: StopRequest | bool = False

    # ------------------------------------------------------------------ one step

    def micro_batches(self) -> list[range]:
        """This process's shares of the global batch: a fixed cut, dealt out to the processes in turn."""
        size = self.t.micro_batch or self.t.batch // math.gcd(self.t.batch, self.world)
        shares = [range(i, i + size) for i in range(0, self.t.batch, size)]
        return shares[self.rank :: self.world]

    def train_step(self, shares: list[Batch]) -> list[float]:
        """One optimiser step; returns the losses that are known by now, each of a whole global batch.

        On a GPU they are read every READ_EVERY steps, so that it is not waited for; state is saved after they were.
        """
        total = torch.zeros((), device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        for batch in shares:
            loss = self.denoiser.sample_loss(batch, True).sum() / self.t.batch
            loss.backward()
            total += loss.detach()
        if self.world > 1:
            self._sum_over_processes(total)
        norm = torch.nn.utils.clip_grad_norm_(self.weights.values(), self.t.clip_gradient or math.inf)
        self.unread.append((self.step, total, norm))
        losses = self.read_losses() if not self.on_gpu or len(self.unread) >= READ_EVERY else []
        self.optimizer.param_groups[0]["lr"] = self.learning_rate()
        self.optimizer.step()
        if self.discriminator:
            self.discriminator.learn(self.learning_rate())
        self._update_ema()
        self.step += 1
        return losses

    def read_losses(self) -> list[float]:
        """Wait for the device, and look at the losses that were not read yet. Raises Diverged."""
        unread, self.unread = self.unread, []
        values = torch.stack([torch.stack([loss, norm.float()]) for _, loss, norm in unread]).tolist() if unread else []
        for (step, _, _), (loss, norm) in zip(unread, values):
            self._check(step, loss, norm)
        return [loss for loss, _ in values]

    def learning_rate(self) -> float:
        """Rises over the warm-up; from `decay_after_steps` on, falls with 1 / sqrt(step) (Karras et al. 2024); or falls to
        `cosine_to` on a half cosine over all steps."""
        rise = min(1.0, (self.step + 1) / self.t.warmup_steps) if self.t.warmup_steps else 1.0
        decay = math.sqrt(max(1.0, self.step / self.t.decay_after_steps)) if self.t.decay_after_steps else 1.0
        lr = self.t.lr * rise / decay
        if self.t.cosine_to is None:
            return lr
        return self.t.cosine_to + (lr - self.t.cosine_to) * (1 + math.cos(math.pi * self.step / self.t.steps)) / 2

    def _sum_over_processes(self, total: Tensor) -> None:
        gradients = [w.grad if w.grad is not None else torch.zeros_like(w) for w in self.weights.values()]
        flat = torch.cat([total.reshape(1), *(g.reshape(-1) for g in gradients)])
        dist.all_reduce(flat)
        total.copy_(flat[0])
        parts = flat[1:].split([g.numel() for g in gradients])
        for w, part in zip(self.weights.values(), parts):
            w.grad = part.reshape(w.shape).clone()

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Exponential moving average with a half-life in images, shorter at the start (Karras et al. 2022, ema_rampup)."""
        images = (self.step + 1) * self.t.batch
        half_life = (
            min(self.t.ema_half_life_images, images * self.t.ema_rampup)
            if self.t.ema_rampup
            else (self.t.ema_half_life_images)
        )
        decay = 0.5 ** (self.t.batch / max(half_life, 1e-8))
        torch._foreach_lerp_(list(self.ema.values()), list(self.weights.values()), 1 - decay)

    def _check(self, step: int, loss: float, gradient_norm: float) -> None:
        if not math.isfinite(loss) or not math.isfinite(gradient_norm):
            wrong = f"the gradient's norm is {gradient_norm}" if math.isfinite(loss) else f"the loss is {loss}"
            raise Diverged(
                f"step {step}: {wrong}. The last good state is kept in {self.state}; lower training.lr, or"
                " set training.clip_gradient: 1 or training.precision: fp32, and run again"
            )
        self.running = loss if self.running is None else 0.98 * self.running + 0.02 * loss
        if step >= 20:
            self.best = min(self.best, self.running)
            if self.running > self.t.diverged_at * self.best:
                raise Diverged(
                    f"step {step}: the running loss {self.running:.3g} is over {self.t.diverged_at:g} times its best"
                    f" ({self.best:.3g}). The last good state is kept in {self.state}; lower training.lr and run again"
                )

    # ------------------------------------------------------------------ state

    def _groups(self) -> dict[str, dict[str, Tensor]]:
        moments = {name: self.optimizer.state[w] for name, w in self.weights.items()}
        groups = {"buffers": self.buffers} if self.buffers else {}
        groups |= self.discriminator.groups() if self.discriminator else {}
        return groups | {
            "weights": dict(self.weights),
            "average": self.ema,
            "first": {name: m["exp_avg"] for name, m in moments.items()},
            "second": {name: m["exp_avg_sq"] for name, m in moments.items()},
        }

    def save(self) -> None:
        if self.rank == 0:
            log = self.state / "train.jsonl"
            metadata = {
                "best": self.best if math.isfinite(self.best) else None,
                "running": self.running,
                "log": log.read_text() if log.exists() else "",
            }
            save_checkpoint(self.state / "checkpoint.safetensors", self.step, self.digest, self._groups(), metadata)

    def resume(self) -> None:
        """Go on from the last whole checkpoint, if there is one, and from the log as it was then."""
        log = ""
        checkpoint = load_checkpoint(self.state / "checkpoint.safetensors", self.digest, self._groups())
        if checkpoint:
            self.step, metadata = checkpoint
            self.best, self.running, log = metadata["best"] or math.inf, metadata["running"], metadata["log"]
            fill_steps(self.optimizer, self.step)
            if self.discriminator:
                self.discriminator.resume(self.step)
        if self.rank == 0:
            write_text(self.state / "train.jsonl", log)

    def log(self, **values) -> None:
        if self.rank == 0:
            with open(self.state / "train.jsonl", "a") as file:
                file.write(json.dumps(values) + "\n")

    # ------------------------------------------------------------------ the loop

    def run(self, validate: Callable[[], float] | None, render_samples: Callable[[int], None] | None) -> None:
        """Train to `training.steps`; raises Stopped after a SIGTERM or SIGUSR1, with the state saved."""
        self.stop = StopRequest()
        bar = tqdm(total=self.t.steps, initial=self.step, unit="step", disable=self.rank > 0, mininterval=2)
        since, losses = time.monotonic(), []
        for shares in self._fed():
            losses += self.train_step(shares)
            bar.update()
            last = self.step == self.t.steps
            logs, saves = (self.step % every == 0 or last for every in (self.t.log_every, self.t.checkpoint_every))
            validates, renders = (self.step % every == 0 for every in (self.t.validate_every, self.t.sample_every))
            stopping = self._stop_everywhere()
            if logs or saves or validates or last or stopping:
                losses += self.read_losses()
            if logs:
                loss = sum(losses) / len(losses)
                bar.set_postfix(loss=f"{loss:.4f}")
                images = self.step * self.t.batch
                seconds = round(time.monotonic() - since, 3)
                self.log(step=self.step, images=images, loss=loss, lr=self.learning_rate(), seconds=seconds)
                since, losses = time.monotonic(), []
            if validate and (validates or last):
                self.log(step=self.step, validation_loss=validate())
            if render_samples and self.rank == 0 and renders and not last:
                render_samples(self.step)
            if saves or stopping:
                self.save()
            if stopping and not last:
                raise Stopped(f"step {self.step}: stopped on request, state saved in {self.state}")
        bar.close()

    def _fed(self) -> Iterator[list[Batch]]:
        """This process's shares of each step. For a GPU patches are held there, if they fit, or read ahead by several threads.

        On a CPU such threads would take turns with those of the network, which wait for each other: half the speed.
        """
        shares, steps = self.micro_batches(), range(self.step, self.t.steps)

        def pick(step: int) -> list[Picked]:
            return [self.batches.pick(step, share) for share in shares]

        def make_batches(picked: list[Picked]) -> list[Batch]:
            return [self.batches.make(share.to(self.device)) for share in picked]

        if not self.on_gpu:
            yield from (make_batches(pick(step)) for step in steps)
            return
        self.batches.cache_on(self.device)
        with ThreadPoolExecutor(self.t.readers) as readers:
            ahead = deque(readers.submit(pick, step) for step in steps[: 2 * self.t.readers])
            for step in steps:
                picked = ahead.popleft().result()
                if step + 2 * self.t.readers in steps:
                    ahead.append(readers.submit(pick, step + 2 * self.t.readers))
                yield make_batches(picked)

    def _stop_everywhere(self) -> bool:
        if self.world == 1:
            return bool(self.stop)
        flag = torch.tensor(float(bool(self.stop)), device=self.device)
        dist.all_reduce(flag)
        return bool(flag > 0)


@torch.no_grad()
def validation_loss(trainer: Trainer, held_out: Batches, images: int) -> float:
    """The loss of the EMA weights on held-out patches: always the same patches, noise and sigmas."""
    size = trainer.t.micro_batch or trainer.t.batch
    with ema_weights(trainer):
        losses = [
            trainer.denoiser.sample_loss(
                held_out.read(0, range(i, min(i + size, images)), trainer.device), dropout=False
            )
            for i in range(0, images, size)
        ]
    return float(torch.cat(losses).mean())


class ema_weights:
    """Within this block the network has the EMA weights, and no dropout."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def __enter__(self):
        self._swap()
        self.trainer.denoiser.eval()

    def __exit__(self, *error):
        self._swap()
        self.trainer.denoiser.train()

    @torch.no_grad()
    def _swap(self):
        for name, w in self.trainer.weights.items():
            raw = w.detach().clone()
            w.copy_(self.trainer.ema[name])
            self.trainer.ema[name].copy_(raw)


def join_processes() -> str:
    """Join the other processes, where some share the step (core/launch.py); returns this process's device."""
    gpu = torch.cuda.is_available()
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        dist.init_process_group("nccl" if gpu else "gloo")
    local = int(os.environ.get("LOCAL_RANK", 0))
    if gpu:
        torch.cuda.set_device(local)
    return f"cuda:{local}" if gpu else "cpu"
