"""Features of real and generated patches by one encoder, kept as HDF5 for the evaluation."""

from histogenesis.steps.command import run
from histogenesis.steps.extract_features import extract_features

if __name__ == "__main__":
    run(extract_features)
