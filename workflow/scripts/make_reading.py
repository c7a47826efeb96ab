"""Make a reader study: the folder that readers receive, and the key, which they do not."""

from histogenesis.steps.command import run
from histogenesis.steps.make_reading import make_reading

if __name__ == "__main__":
    run(make_reading)
