"""Files that appear whole or not at all, and locks that outlive nobody."""

import os
import re
import subprocess
import sys

import pytest

from histogenesis.core.files import holder, lock, write_json, write_text, written


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_written_has_the_mode_that_the_umask_says(mask, tmp_path):
    before = os.umask(mask)
    try:
        with written(tmp_path / "deep/er/a.bin") as part:  # as a library that writes for its owner alone
            os.close(os.open(part, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "deep/er/a.bin").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), written(tmp_path / "a.txt") as part:
        part.write_text("half of the n")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"a": float("nan")}, allow_nan=False)
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'


def test_a_lock_is_had_by_one_process_and_ends_with_it(tmp_path):
    code = "import sys; from histogenesis.core.files import lock; print(lock(sys.argv[1], 'me'), flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "l.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout.readline() == "True\n"
    assert not lock(tmp_path / "l.lock") and holder(tmp_path / "l.lock") == "me"
    other.kill()
    other.wait()
    assert lock(tmp_path / "l.lock", "the next") and holder(tmp_path / "l.lock") == "the next"


def test_nobody_else_writes_and_renames_or_locks(root):
    """The one place for both: no module, script or rule makes its own."""
    own = re.compile(r"os\.(replace|rename)\(|\bflock\(")
    found = [
        f"{path.relative_to(root)}:{number}"
        for part in ("src", "workflow", "rules")
        for path in sorted((root / part).rglob("*"))
        if path.suffix in (".py", ".smk") and path != root / "src/histogenesis/core/files.py"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if own.search(line)
    ]
    assert not found
