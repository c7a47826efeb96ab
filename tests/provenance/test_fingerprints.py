"""A fingerprint that misses a change gives stale results; one that is lost costs an hour on a login node."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from histogenesis.provenance import fingerprints as module
from histogenesis.provenance.fingerprints import BLOCK, BLOCKS, combined, fingerprint, fingerprints


def old(path: Path, content: bytes) -> Path:
    """A file that was written a while ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    then = time.time() - 100 - path.stat().st_mtime % 10
    os.utime(path, (then, then))
    return path


def bytes_read() -> int:
    """By this process, as the kernel counts them."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """The files whose bytes were read."""
    names, real = [], module.fingerprint

    def spy(path):
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(module, "fingerprint", spy)
    return names


def test_content_is_read_once_and_a_touch_changes_nothing(tmp_path, read):
    cache, slide = tmp_path / ".histogenesis" / "f.jsonl", old(tmp_path / "s.svs", b"abc")
    first = fingerprints([slide], cache)[slide]
    assert fingerprints([slide], cache)[slide] == first and read == ["s.svs"]
    os.utime(slide, (1, 1))
    assert fingerprints([slide], cache)[slide] == first and read == ["s.svs"] * 2
    old(slide, b"abd")
    assert fingerprints([slide], cache)[slide] != first


def test_every_byte_of_a_small_file_counts(tmp_path):
    content = bytearray(os.urandom(BLOCK * BLOCKS))
    path = tmp_path / "s"
    path.write_bytes(content)
    before = fingerprint(path)
    for place in (0, 1, BLOCK - 1, BLOCK, len(content) // 3, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert fingerprint(path) != before, place


def test_of_a_large_file_ends_middle_and_size_count_and_little_is_read(tmp_path):
    size = 400 * BLOCK
    path = tmp_path / "s.svs"
    with open(path, "wb") as file:
        file.truncate(size)
    before = fingerprint(path)
    for place in (0, size - 1, round((size - BLOCK) / (BLOCKS - 1)) + 5):
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(b"\1")
        assert fingerprint(path) != before, place
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(b"\0")
    with open(path, "ab") as file:
        file.write(b"\0")
    assert fingerprint(path) != before
    huge = tmp_path / "huge.svs"
    with open(huge, "wb") as file:
        file.truncate(1 << 40)  # holes
    before = bytes_read()
    fingerprint(huge)
    assert bytes_read() - before < (BLOCKS + 2) * BLOCK


def test_a_file_just_written_is_not_remembered(tmp_path):
    """Two writes within one tick of a coarse clock have one size and one time: the first must not be believed."""
    cache, slide = tmp_path / "c" / "f.jsonl", tmp_path / "s.svs"
    slide.write_bytes(b"one")
    stat = slide.stat()
    first = fingerprints([slide], cache)[slide]
    slide.write_bytes(b"two")
    os.utime(slide, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprints([slide], cache)[slide] != first


def test_the_cache_moves_with_the_project(tmp_path, read):
    old(tmp_path / "one/slides/s.svs", b"abc")
    cache = Path(".histogenesis/f.jsonl")
    fingerprints([tmp_path / "one/slides/s.svs"], tmp_path / "one" / cache)
    assert str(tmp_path) not in (tmp_path / "one" / cache).read_text()
    (tmp_path / "one").rename(tmp_path / "two")
    fingerprints([tmp_path / "two/slides/s.svs"], tmp_path / "two" / cache)
    assert read == ["s.svs"]


def test_missing_files_do_not_stop_the_others(tmp_path):
    slide = old(tmp_path / "s.svs", b"abc")
    found = fingerprints([slide, tmp_path / "no.svs", slide / "below"], tmp_path / "c")
    assert found[slide] and list(found.values()).count(None) == 2
    assert fingerprints([tmp_path], tmp_path / "d") == {tmp_path: None}, "a folder is no file"


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[]\n[1, 2]\n", b"\xff\xfe\n", b'["s.svs", [3, 1, "no'])
def test_a_broken_cache_is_made_anew(tmp_path, rubbish, read):
    cache = old(tmp_path / "c" / "f.jsonl", rubbish + b"\n")
    slide = old(tmp_path / "s.svs", b"abc")
    assert fingerprints([slide], cache) == fingerprints([slide], cache) == {slide: fingerprint(slide)}
    assert read == ["s.svs"]


def test_what_was_read_before_ctrl_c_is_kept(tmp_path):
    """The process is stopped in the middle, and the next one reads only the rest."""
    slides = [old(tmp_path / f"{n}.svs", bytes([n])) for n in range(40)]
    program = f"""
import signal, time, sys
from histogenesis.provenance import fingerprints as module
signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background ignores it
real = module.fingerprint
def slow(path):
    time.sleep(0.7)
    return real(path)
module.fingerprint = slow
print("begun", flush=True)
module.fingerprints({[str(s) for s in slides]!r}, {str(tmp_path / "c/f.jsonl")!r})
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    deadline = time.monotonic() + 30
    cache = tmp_path / "c/f.jsonl"
    while not (cache.exists() and cache.read_text().count("\n") >= 4) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(2)
    process.communicate(timeout=30)
    kept = cache.read_text().count("\n")
    assert 4 <= kept < 40
    fingerprints(slides, cache)
    assert cache.read_text().count("\n") == 40


def test_two_writers_at_once_leave_whole_lines(tmp_path):
    cache = tmp_path / "c" / "f.jsonl"
    slides = [old(tmp_path / f"{n}.svs", bytes([n])) for n in range(40)]
    threads = [threading.Thread(target=fingerprints, args=(slides[n::8], cache)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({json.loads(line)[0] for line in cache.read_text().splitlines()}) == 40


def test_a_cache_of_many_old_lines_is_tidied(tmp_path):
    slide = old(tmp_path / "s.svs", b"abc")
    line = json.dumps([str(slide), [1, 1, "x"]])
    cache = old(tmp_path / "c" / "f.jsonl", "".join(f"{line}\n" for _ in range(500)).encode())
    fingerprints([slide], cache)
    assert cache.read_text().count("\n") == 2


def test_several_files_have_one_fingerprint():
    assert combined(["a"]) == "a"
    assert len({combined(["a", "b"]), combined(["b", "a"]), combined(["a", None]), combined(["a", "b", None])}) == 4
