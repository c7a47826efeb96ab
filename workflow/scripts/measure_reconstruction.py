"""How much of held-out patches an autoencoder keeps: what a model that draws in its latent space cannot exceed."""

from histogenesis.steps.command import run
from histogenesis.steps.measure_reconstruction import measure_reconstruction

if __name__ == "__main__":
    run(measure_reconstruction)
