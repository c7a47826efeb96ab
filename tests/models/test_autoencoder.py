"""The VQ autoencoder's training: with an adversary, from published weights, with a perceptual distance; killed and resumed."""

from hashlib import sha256

import numpy as np
import pytest
import torch

from histogenesis.core.errors import BadInput
from histogenesis.evaluation.reconstruction import measure, perceptual_distance, reconstruct
from histogenesis.models.batches import Batches
from histogenesis.models.discriminator import Discriminator, PerceptualDistance
from histogenesis.models.model import Normalisation, build_model, load_model, save_model
from histogenesis.models.networks.vq import VQF4, WEIGHTS
from histogenesis.models.training import Trainer, validation_loss
from histogenesis.recipe import Adversarial, Model, Perceptual

NETWORK = {"kind": "vq-f4", "channels": 8, "multipliers": [1, 1, 2], "blocks": 1, "codebook_size": 32}
ADVERSARIAL = {"start_step": 4, "channels": 4, "layers": 2}
UNIT = Normalisation.unit()


class Patches:
    """Made-up noise of three colours: what a blurred reconstruction loses."""

    mpp, patch_px = np.full(32, np.nan), 16

    def __len__(self):
        return 32

    def read(self, indices):
        return np.stack([np.random.default_rng(k).integers(60, 200, (16, 16, 3)) for k in indices]).astype(np.uint8)


def section(steps=10, adversarial=ADVERSARIAL, perceptual=None, weights=None, **training):
    training = {"steps": steps, "batch": 4, "lr": 2e-3, "precision": "fp32", "checkpoint_every": 3, **training}
    objective = {"kind": "autoencoder", "adversarial": adversarial, "perceptual": perceptual}
    network = {**NETWORK, "weights": weights}
    values = {"patches": "p", "conditions": [], "network": network, "objective": objective, "training": training}
    return Model.model_validate(values)


def trainer(folder, **options):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_model(section(**options), 16, UNIT)
    batches = Batches(Patches(), UNIT, model.objective.sample_sigma, 1, True)
    result = Trainer(model, section(**options), batches, folder, "digest", "cpu")
    result.resume()
    return result


def everything(t):
    """The bytes of all that training changes: network, average, discriminator and the optimisers' moments."""
    return {f"{g}/{n}": w.detach().clone() for g, named in t._groups().items() for n, w in named.items()}


@pytest.mark.parametrize("stop_at", [3, 6])  # before the adversary begins, and after
def test_a_resumed_training_is_the_same_also_its_discriminator(tmp_path, stop_at):
    whole = trainer(tmp_path / "whole")
    whole.run(None, None)
    trainer(tmp_path / "pieces", steps=stop_at).run(None, None)
    second = trainer(tmp_path / "pieces")
    assert second.step == stop_at
    second.run(None, None)
    wanted, found = everything(whole), everything(second)
    assert any(name.startswith("adversary/") for name in wanted)
    assert wanted.keys() == found.keys()
    assert not [name for name in wanted if not torch.equal(wanted[name], found[name])]


def test_the_adversary_changes_nothing_before_its_step_and_something_after_it(tmp_path):
    with_it, without = trainer(tmp_path / "a"), trainer(tmp_path / "b", adversarial=None)
    born = {name: w.clone() for name, w in with_it.discriminator.network.state_dict().items()}

    def step():
        for t in (with_it, without):
            t.train_step([t.batches.read(t.step, range(4))])
        return all(torch.equal(w, without.weights[name]) for name, w in with_it.weights.items())

    assert [step() for _ in range(6)] == [True] * 4 + [False] * 2
    learnt = with_it.discriminator.network.state_dict()
    assert not torch.equal(born["final_conv.conv.weight"], learnt["final_conv.conv.weight"])
    assert learnt["0.adn.N.num_batches_tracked"] == 3 * 2, "it sees what was made twice, and real patches, in two steps"


def test_the_adaptive_weight_makes_both_gradients_equally_long():
    torch.manual_seed(0)
    discriminator = Discriminator(
        Adversarial.model_validate({**ADVERSARIAL, "start_step": 0, "weight": 0.5}), 1e-3, (0.5, 0.9), 16, "cpu"
    )
    last, inner = torch.randn(3, 8, 1, 1, requires_grad=True), torch.randn(4, 8, 16, 16)
    real = torch.randn(4, 3, 16, 16)
    made = torch.nn.functional.conv2d(inner, last)
    reconstruction = (made - real).abs().mean()
    adversarial = discriminator.loss(real, made, reconstruction, last)
    both = [torch.autograd.grad(x, last, retain_graph=True)[0].norm() for x in (reconstruction, adversarial)]
    assert float(both[1] / both[0]) == pytest.approx(0.5, rel=1e-3)
    assert all(w.grad is None for w in discriminator.network.parameters()), "the autoencoder's loss teaches it nothing"
    before = discriminator.logits(real).mean() - discriminator.logits(made.detach()).mean()
    for _ in range(20):
        discriminator.last_pair = real, made.detach()
        discriminator.learn(1e-3)
    assert discriminator.logits(real).mean() - discriminator.logits(made.detach()).mean() > before + 0.5


def test_the_discriminator_is_not_in_the_model(tmp_path):
    t = trainer(tmp_path, steps=5)
    t.run(lambda: validation_loss(t, t.batches, 4), None)
    save_model(tmp_path, t.ema, section(), UNIT, patch_px=16)
    model = load_model(tmp_path)
    assert model.discriminator is None and t.ema.keys() == model.network.state_dict().keys()
    assert torch.equal(model.network.last_weight, t.ema["model.decoder.conv_out.weight"])


def test_what_an_adversary_cannot_do_is_refused(tmp_path):
    with pytest.raises(ValueError, match="sees the whole batch at once"):
        section(micro_batch=2)
    with pytest.raises(BadInput, match="need patches of 24 px, not 16"):
        trainer(tmp_path, adversarial={"layers": 3})


class Features(torch.nn.Module):
    """Half of what is there where it is asked for the sums of LPIPS; twice that where it is asked to enlarge."""

    def forward(self, img: torch.Tensor, resize_images: bool = True, return_lpips: bool = False) -> torch.Tensor:
        scale = 0.5 if return_lpips else 1.0
        return (scale * (2.0 if resize_images else 1.0) / 255) * torch.tanh(img / 100).mean(dim=1) * 255


class Plain(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::2, ::2] / 255


def scripted(module, path):
    torch.jit.script(module).save(str(path))
    return {"file": str(path), "sha256": sha256(path.read_bytes()).hexdigest()}


def test_the_perceptual_distance_is_that_of_the_files_features(tmp_path):
    a, b = torch.rand(2, 3, 3, 8, 8) * 2 - 1
    distance = PerceptualDistance(Perceptual(**scripted(Plain(), tmp_path / "plain.pt")), "cpu")
    assert torch.allclose(distance(a, b), ((a - b) / 2)[:, :, ::2, ::2].square().sum((1, 2, 3)), atol=1e-5)
    distance = PerceptualDistance(Perceptual(**scripted(Features(), tmp_path / "f.pt")), "cpu")
    half = [0.5 * torch.tanh((x + 1) * 1.275).mean(1) for x in (a, b)]
    assert torch.allclose(distance(a, b), (half[0] - half[1]).square().sum((1, 2)), atol=1e-5)
    (tmp_path / "f.pt").write_bytes(b"other")
    with pytest.raises(BadInput, match=r"its sha256 is .* not"):
        PerceptualDistance(Perceptual(file=str(tmp_path / "f.pt"), sha256="0" * 64), "cpu")
    with pytest.raises(BadInput, match="is not a TorchScript file"):
        digest = sha256(b"other").hexdigest()
        PerceptualDistance(Perceptual(file=str(tmp_path / "f.pt"), sha256=digest), "cpu")


def test_a_training_with_a_perceptual_loss_is_resumed_to_the_same_weights(tmp_path):
    perceptual = {**scripted(Features(), tmp_path / "f.pt"), "weight": 0.1}
    whole = trainer(tmp_path / "whole", perceptual=perceptual)
    whole.run(None, None)
    trainer(tmp_path / "pieces", perceptual=perceptual, steps=6).run(None, None)
    second = trainer(tmp_path / "pieces", perceptual=perceptual)
    second.run(None, None)
    plain = trainer(tmp_path / "plain", perceptual=None)
    plain.run(None, None)
    wanted, found, other = everything(whole), everything(second), everything(plain)
    assert not [name for name in wanted if not torch.equal(wanted[name], found[name])]
    assert not torch.equal(
        wanted["weights/model.decoder.conv_out.weight"], other["weights/model.decoder.conv_out.weight"]
    )


def test_the_reconstruction_is_measured_also_by_the_perceptual_distance(tmp_path):
    torch.manual_seed(0)
    images, patients = Patches().read(range(4)), np.arange(4).astype(str)
    without = build_model(section(), 16, UNIT).eval()
    made, codes = reconstruct(without, images)
    assert perceptual_distance(without, images, made) is None
    assert "perceptual" not in measure(images, made, codes, 32, patients)
    model = build_model(section(perceptual=scripted(Plain(), tmp_path / "plain.pt")), 16, UNIT)
    distance = perceptual_distance(model, images, made, batch=3)
    wanted = ((images.astype(float) - made)[:, ::2, ::2] / 255) ** 2
    assert distance == pytest.approx(wanted.sum(axis=(1, 2, 3)), rel=1e-4)
    assert measure(images, made, codes, 32, patients, distance)["perceptual"]["value"] == pytest.approx(distance.mean())


def test_published_weights_are_taken_and_checked(tmp_path):
    torch.manual_seed(5)
    published = VQF4(8, [1, 1, 2], 1, 32, 3, True)
    published.model.save_pretrained(tmp_path / "vq")
    digest = sha256((tmp_path / "vq" / WEIGHTS).read_bytes()).hexdigest()
    network = VQF4(8, [1, 1, 2], 1, 32, 3, True)
    x = torch.randn(1, 3, 16, 24)
    assert not torch.equal(network.encode(x), published.encode(x))
    network.start_from(tmp_path / "vq", digest)
    assert torch.equal(network.encode(x), published.encode(x))
    z = published.encode(x)
    assert torch.equal(network.decode(z), published.decode(z))
    assert torch.allclose(network.decode(z), published.model(x).sample, atol=1e-5), "as the library itself does it"
    with pytest.raises(BadInput, match="its sha256 is"):
        network.start_from(tmp_path / "vq", "0" * 64)
    with pytest.raises(BadInput, match="num_vq_embeddings is 32, and the recipe's network has 64"):
        VQF4(8, [1, 1, 2], 1, 64, 3, True).start_from(tmp_path / "vq", digest)
    with pytest.raises(BadInput, match="mid_block_add_attention is True"):
        VQF4(8, [1, 1, 2], 1, 32, 3, False).start_from(tmp_path / "vq", digest)
    (tmp_path / "vq" / WEIGHTS).rename(tmp_path / "vq" / "diffusion_pytorch_model.bin")
    with pytest.raises(BadInput, match=r"pickled weights .* are never loaded"):
        network.start_from(tmp_path / "vq", digest)


def test_a_training_starts_from_published_weights_or_only_takes_them(tmp_path):
    torch.manual_seed(5)
    published = VQF4(8, [1, 1, 2], 1, 32, 3, True)
    published.model.save_pretrained(tmp_path / "vq")
    digest = sha256((tmp_path / "vq" / WEIGHTS).read_bytes()).hexdigest()
    weights = {"path": str(tmp_path / "vq"), "sha256": digest}
    t = trainer(tmp_path / "state", steps=1, lr=1e-9, weights=weights)
    for name, w in published.named_parameters():
        assert torch.equal(t.weights[name], w) and torch.equal(t.ema[name], w)
    t.run(None, None)
    assert all(torch.allclose(t.ema[name], w, atol=1e-7) for name, w in published.named_parameters())
    assert trainer(tmp_path / "state", steps=2, weights=weights).step == 1, "a resumed one goes on from its own"


def test_the_layout_is_that_of_vq_f4():
    """The encoder and decoder of VQ-f4 (Rombach et al. 2022) with its codebook have 55.3 million weights."""
    with torch.device("meta"):
        network = VQF4(128, [1, 2, 4], 2, 8192, 3, True)
        assert sum(w.numel() for w in network.parameters()) == pytest.approx(55.3e6, rel=0.002)
        assert network.encode(torch.empty(1, 3, 64, 96)).shape == (1, 3, 16, 24)
        attends = [name for name, _ in network.named_modules() if name.endswith("attentions.0")]
    assert len(attends) == 2, "in the middle of the encoder and of the decoder"
