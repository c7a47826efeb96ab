"""The package's version: pyproject.toml reads it here, and so does what runs from a clone, where no package is installed."""

VERSION = "0.1.0"
