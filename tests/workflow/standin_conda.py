"""What Snakemake asks of `conda`, answered with venv and pip: environments are really made, from their files, pins and all.

Not a solver: Python is the one that runs this (it must be of the minor version that the file wants), and conda packages
besides Python and pip are refused.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import yaml


def create(file: Path, prefix: Path) -> None:
    *conda, last = yaml.safe_load(file.read_text())["dependencies"]
    versions = dict(package.split("=", 1) for package in conda)
    if set(versions) != {"python", "pip"}:
        sys.exit(f"the stand-in knows python and pip, not {sorted(versions)}")
    if not versions["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}."):
        sys.exit(f"python={versions['python']} is wanted, this is {sys.version.split()[0]}")
    subprocess.run([sys.executable, "-m", "venv", prefix], check=True)
    pip = [prefix / "bin/python", "-m", "pip", "install", "--quiet", "--retries", "10"]
    subprocess.run([*pip, f"pip=={versions['pip']}"], check=True)
    subprocess.run([*pip, "--no-deps", *last["pip"]], check=True)  # the file is to be whole: nothing else comes with it


def main() -> None:
    command, base = " ".join(sys.argv[1:]), Path(__file__).parent.parent
    if command == "info --json":
        print(json.dumps({"conda_prefix": str(base), "platform": "linux-64"}))
    elif command == "--version":
        print("conda 25.1.0")
    elif command == "config --get channel_priority --json":
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif command == "clean -y --tarballs":
        pass  # pip keeps none
    elif found := re.fullmatch(r"env create --quiet --no-default-packages --file (\S+) --prefix (\S+)", command):
        create(Path(found[1]), Path(found[2]))
    else:
        sys.exit(f"the stand-in was asked: conda {command}")


if __name__ == "__main__":
    main()
