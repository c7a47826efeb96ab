"""A crash is tried again, refused input is not: rules/retries.smk leans on an inside of Snakemake, which this watches."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.workflow

SNAKEFILE = """
from pathlib import Path
include: "{root}/rules/retries.smk"

rule all:
    input: "refused.txt", "crashed.txt", "spoke.txt"

rule work:
    output: "{{kind}}.txt"
    log: "{{kind}}.log"
    params: code=lambda w: {{"refused": 1, "crashed": 139, "spoke": 1}}[w.kind]
    shell: "echo try >> {{wildcards.kind}}.tries; cat {{wildcards.kind}}.says > {{log}}; exit {{params.code}}"
"""


def test_only_what_may_pass_is_tried_again(tmp_path, root):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(root=root))
    (tmp_path / "refused.says").write_text("  3%|#  | 1/9\rerror: slide a.svs has no mpp: give the column mpp\n")
    (tmp_path / "crashed.says").write_text("")
    (tmp_path / "spoke.says").write_text("error: a line of another program\nTraceback\nOSError: [Errno 5]\n")
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "--retries", "2", "--keep-going"]
    done = subprocess.run(words, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    tries = {path.stem: path.read_text().count("try") for path in tmp_path.glob("*.tries")}
    assert tries == {"refused": 1, "crashed": 3, "spoke": 3}, done.stderr
