"""Check one slide and record what it is: size, mpp, vendor, sha256."""

from histogenesis.steps.command import run
from histogenesis.steps.register_slide import register_slide

if __name__ == "__main__":
    run(register_slide)
