"""A run that is handed on: checked wherever it is unpacked, nothing to do there, and what is drawn again is the same.

The lab (lab.py) has real slides, as far as the workflow can know: those of a slide table.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from histogenesis.core.errors import BadInput
from histogenesis.provenance.verify import METADATA_FILE, verify

from .conftest import Run
from .lab import Lab

pytestmark = pytest.mark.workflow
LEVEL, SLIDE = "results/lab/synthetic/synthetic_001/level2.h5", "results/lab/synthetic/synthetic_001.tif"
REAL = [
    "results/lab/patches/fine/a.h5",
    "results/lab/patches/fine/b.png",
    "results/lab/tissue/a/overlay.png",
    "results/lab/evaluation/closest_pairs.png",
    "results/lab/evaluation/synthetic_001/contact.png",
    "results/lab/evaluation/features/he-network/train.h5",
    "results/lab/evaluation/evidence/he-network/8.png",  # generated patches, each beside the real one nearest to it
]
SHOWN = re.compile(r"<figcaption>(.*?)</figcaption>", re.DOTALL)
PERSON = {"USER": "dr-somebody", "LOGNAME": "dr-somebody", "HOME": "/home/dr-somebody"}


def share(lab: Lab, out: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
    """As a user does, with the lab's own copy of the code."""
    command = [sys.executable, "-m", "histogenesis", "share", str(lab.results), "--out", str(out), *arguments]
    env = {**os.environ, **PERSON, **lab.environment, "PYTHONPATH": str(lab.code / "src")}
    done = subprocess.run(command, env=env, cwd=lab.project, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def crates(finished_lab, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("crates")
    paths = {"public": folder / "public.zip", "complete": folder / "complete.zip"}
    share(finished_lab, paths["public"])
    share(finished_lab, paths["complete"], "--with-real-tissue")
    return paths


def unpack(crate: Path, folder: Path, keep_times: bool = True) -> Run:
    """With unzip, which keeps times, or with Python, which does not."""
    if keep_times:
        subprocess.run([shutil.which("unzip") or pytest.skip("no unzip"), "-q", crate, "-d", folder], check=True)
    else:
        shutil.unpack_archive(crate, folder)
    return Run(folder / "code", folder)


def planned(run: Run) -> dict[str, int]:
    """By somebody who has no slides: the slide root is the folder itself."""
    return run.planned(run.folder / "results/lab/recipe.yaml", HISTOGENESIS_SLIDE_ROOT=".")


@pytest.mark.parametrize("kind, keep_times", [("public", True), ("public", False), ("complete", True)])
def test_elsewhere_it_is_whole_and_nothing_is_to_be_done(crates, tmp_path, kind, keep_times):
    run = unpack(crates[kind], tmp_path / "colleague", keep_times)
    assert planned(run) == {}
    assert verify(run.folder)[0] == [], "a dry run changes nothing"


def test_a_deleted_level_is_drawn_again_with_the_same_bytes(crates, tmp_path):
    run = unpack(crates["public"], tmp_path / "colleague")
    before = [(run.folder / name).read_bytes() for name in (LEVEL, SLIDE)]
    for name in (LEVEL, SLIDE):
        (run.folder / name).unlink()
    recipe = run.folder / "results/lab/recipe.yaml"
    done = run.snakemake(SLIDE, "--cores", "2", "--configfile", str(recipe), HISTOGENESIS_SLIDE_ROOT=".")
    assert "draw_level" in done.stderr and "train_model" not in done.stderr
    assert [(run.folder / name).read_bytes() for name in (LEVEL, SLIDE)] == before
    assert not [line for line in verify(run.folder)[0] if not line.startswith("differs: .snakemake")]


def test_with_real_tissue_a_deleted_level_takes_its_evaluation_along(crates, tmp_path):
    run = unpack(crates["complete"], tmp_path / "colleague")
    (run.folder / LEVEL).unlink()
    found = planned(run)
    assert found["draw_level"] == 1 and found["draw_contact_sheet"] == 1 and "cut_patches" not in found


def test_what_differs_is_missing_or_is_extra_is_named(crates, tmp_path):
    folder = unpack(crates["public"], tmp_path / "colleague").folder
    path = folder / LEVEL
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (folder / "results/lab/splits.tsv").unlink()
    (folder / "results/lab/models/another.json").write_text("{}")
    command = [sys.executable, "-m", "histogenesis", "verify", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert set(done.stdout.splitlines()[:3]) == {
        f"differs: {LEVEL}",
        "missing: results/lab/splits.tsv",
        "extra: results/lab/models/another.json",
    }
    assert "3 file(s)" in done.stderr


def test_a_flipped_byte_in_the_zip_is_named(crates, tmp_path):
    crate = tmp_path / "crate.zip"
    content = bytearray(crates["public"].read_bytes())
    with zipfile.ZipFile(crates["public"]) as file:
        info = file.getinfo(LEVEL)
    content[info.header_offset + 30 + len(info.filename) + info.compress_size // 2] ^= 1
    crate.write_bytes(content)
    assert verify(crate)[0] == [f"differs: {LEVEL}"]


def test_what_is_no_crate_is_said(tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK")
    for path, words in [(tmp_path / "x.zip", "whole zip file"), (tmp_path, METADATA_FILE)]:
        with pytest.raises(BadInput, match=words):
            verify(path)


def test_verifying_needs_no_torch(crates):
    code = (
        "import sys; from histogenesis.provenance.verify import verify; assert not verify(sys.argv[1])[0];"
        " assert not {'torch', 'h5py', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(crates["public"])], check=True)


def test_the_same_run_is_the_same_crate(finished_lab, crates, tmp_path):
    share(finished_lab, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == crates["public"].read_bytes()


@pytest.mark.parametrize("kind", ["public", "complete"])
def test_no_path_user_or_host_is_in_it(finished_lab, crates, tmp_path, root, kind):
    folder = unpack(crates[kind], tmp_path / "colleague").folder
    words = [str(finished_lab.folder), str(root), "dr-somebody", str(Path(sys.executable).parent)]
    found = [
        (path.relative_to(folder), word)
        for path in folder.rglob("*")
        if path.is_file()
        for word in words
        if word.encode() in path.read_bytes()
    ]
    assert not found


# What lab.py's slide table says of patients, classes and files, and of the folder in which they lie.
SECRETS = ["kowalski", "nguyen", "benign", "tumour", "a.tif", "b.tif", "drawn/a.geojson"]


def told_of(folder: Path) -> set[str]:
    """Which secrets stand in a file of the crate's results, notes and metadata, as a word; the code is everybody's."""
    texts = [path.read_bytes().decode(errors="replace") for path in folder.rglob("*")
             if path.is_file() and "code" not in path.relative_to(folder).parts]  # fmt: skip
    return {word for word in SECRETS for text in texts if re.search(rf"(?<![\w./-]){re.escape(word)}(?![\w-])", text)}


def test_patients_classes_and_files_stay_at_home_unless_asked_for(finished_lab, crates, tmp_path):
    assert told_of(unpack(crates["public"], tmp_path / "public").folder) == set()
    share(finished_lab, tmp_path / "named.zip", "--with-names")
    assert told_of(unpack(tmp_path / "named.zip", tmp_path / "named").folder) == set(SECRETS)


def test_a_path_of_this_machine_is_refused(lab, tmp_path):
    record = lab.results / "slides/a.json"
    record.write_text(record.read_text().replace('"a.tif"', json.dumps(str(lab.slides / "a.tif"))))
    done = share(lab, tmp_path / "crate.zip", check=False)
    assert done.returncode == 1 and "results/lab/slides/a.json: holds" in done.stderr
    assert not list(tmp_path.glob("crate.zip*"))


def test_real_tissue_stays_at_home_unless_asked_for(finished_lab, crates):
    """Nor do the report's pictures of it go along; the phantom's, which is made up, do."""
    home = {name: (finished_lab.project / name).read_bytes() for name in REAL}
    with zipfile.ZipFile(crates["complete"]) as complete, zipfile.ZipFile(crates["public"]) as public:
        assert {name: complete.read(name) for name in REAL} == home
        assert not set(REAL) & set(public.namelist())
        assert {"results/lab/patches/fine/c.h5", "results/lab/tissue/c/overlay.png"} <= set(public.namelist())
        reports = [crate.read("results/lab/report.html").decode() for crate in (complete, public)]
        records = [json.loads(public.read(f"results/lab/slides/{name}.json")) for name in "ab"]
    assert [record["fingerprint"] for record in records] == [None, None], "a picture of 32 px is a picture"
    assert '="../' not in reports[1], "nothing leads out of the crate"
    complete, public = reports
    for pattern in (
        "held-out real patch",
        "^Closest pairs",
        r"contact\.png$",
        r"^[ab]: where patches",
        "^[ab] overlay",
    ):
        found = [[c for c in map(plain, SHOWN.findall(text)) if re.search(pattern, c)] for text in reports]
        assert found[0] and not found[1], pattern
    assert any(re.search(r"^c\b.*overlay", plain(caption)) for caption in SHOWN.findall(public))


def plain(html: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def test_each_file_says_how_it_was_made(finished_lab, crates, tmp_path):
    folder = unpack(crates["public"], tmp_path / "colleague").folder
    crate = ROCrate(folder)  # another reader of the format
    assert crate.mainEntity.id == "code/Snakefile" and "ComputationalWorkflow" in crate.mainEntity.type
    for name in (
        LEVEL,
        SLIDE,
        "results/lab/recipe.yaml",
        "code/envs/torch.yaml",
        "code/src/histogenesis/canvas/engine.py",
    ):
        assert len(crate.get(name)["sha256"]) == 64
    entities = {e["@id"]: e for e in json.loads((folder / METADATA_FILE).read_text())["@graph"]}
    made = {part["@id"]: e for e in entities.values() if e["@id"].startswith("#job-") for part in e["result"]}
    action = made[LEVEL]
    facts = {(p := entities[part["@id"]])["name"]: p["value"] for part in action["additionalProperty"]}
    assert action["instrument"]["@id"] == "code/workflow/scripts/draw_level.py"
    inputs = {part["@id"] for part in action["object"]}
    assert {"results/lab/models/fine/model.safetensors", LEVEL.replace("level2", "level1")} <= inputs
    assert facts["seed"] == "5" and facts["device"] and facts["cudnn_deterministic"] == "true"
    assert len(facts["code"]) == len(facts["env"]) == 64
    slide = made["results/lab/slides/a.json"]["object"]
    assert (
        entities[slide[0]["@id"]]["identifier"]
        == json.loads((folder / "results/lab/contents.json").read_text())["slide/a"]
    )
    record = json.loads((folder / "results/lab/slides/a.json").read_text())
    assert record["sha256"] == hashlib.sha256((finished_lab.slides / "a.tif").read_bytes()).hexdigest()
    outputs = {p.relative_to(folder).as_posix() for p in (folder / "results").rglob("*") if p.is_file()}
    assert outputs - set(made) == {"results/lab/contents.json", "results/lab/left_out.json"}, (
        "each other result has a job that made it"
    )
    assert entities["#software/torch"]["softwareVersion"]


def test_a_run_that_is_not_finished_or_of_other_code_is_refused(lab, tmp_path):
    lab.edit("code/workflow/scripts/stitch_slide.py", lambda text: text + "\nCHANGED = 1\n")
    done = share(lab, tmp_path / "crate.zip", check=False)
    assert done.returncode == 1 and "stitch_slide: made by other code" in done.stderr
    (lab.results / "report.html").unlink()
    done = share(lab, tmp_path / "crate.zip", check=False)
    assert done.returncode == 1 and "finish the run first" in done.stderr


def test_a_run_of_phantoms_alone_leaves_nothing_out(lab, tmp_path):
    """Made-up slides show nobody's tissue. (The lab's table is taken for phantoms: its records say so.)"""
    for name in "ab":
        record = lab.results / f"slides/{name}.json"
        record.write_text(record.read_text().replace('"a.tif"', '"run:a.tif"').replace('"b.tif"', '"run:b.tif"'))
    share(lab, tmp_path / "crate.zip")
    assert set(REAL) <= set(zipfile.ZipFile(tmp_path / "crate.zip").namelist())
