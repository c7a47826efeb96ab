"""The viewer of a run as a folder that opens from any static file server: deep zoom into every synthetic slide and level."""

from histogenesis.steps.command import run
from histogenesis.steps.write_viewer import write_viewer

if __name__ == "__main__":
    run(write_viewer)
