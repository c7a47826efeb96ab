"""A run as one file that can be handed on: results, what they came from, the code, and a checksum of everything.

The file is a Workflow Run RO-Crate (https://w3id.org/ro/wfrun/provenance/0.5), zipped. Unpacked, it is a folder in which
Snakemake finds nothing to do: Snakemake's notes lie beside the results, and the files keep their times. Pictures of real
tissue, and what a model made directly of them, are left out unless asked for.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import struct
import tempfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import yaml
from tqdm import tqdm

from histogenesis.core.errors import BadInput
from histogenesis.core.files import sha256_of, written
from histogenesis.core.software import git_state, versions
from histogenesis.provenance.anonymous import Words, check_names_nobody_of, make_anonymous
from histogenesis.provenance.code import code_files, code_of
from histogenesis.provenance.contents import Contents, files_in
from histogenesis.provenance.devices import devices_of
from histogenesis.provenance.graph import graph, text_of
from histogenesis.provenance.records import Job, jobs_of
from histogenesis.provenance.verify import METADATA_FILE

TEXT = {".json", ".jsonl", ".yaml", ".tsv", ".geojson", ".html", ".txt", ".md", ""}

README = """# {run}: a run of histogenesis, with what it was made from

    PYTHONPATH=code/src python3 -m histogenesis verify .
    snakemake --snakefile code/Snakefile --configfile results/{run}/recipe.yaml --cores 2

The first checks every file; it needs tqdm, and neither a GPU nor PyTorch. The second, in this folder, says that nothing is
to be done (add `--dry-run`, and it only says so). Delete a level, `results/{run}/synthetic/*/level*.h5`, and it is drawn
again from the same weights: the same pixels on the same kind of device. `code/` is the workflow as it was run, and
`ro-crate-metadata.json` says of each file which job made it, from what, and how.
{rest}"""
WITHOUT = """
Left out are pictures of real tissue and what was computed from single patches ({count} files; their checksums are in the
metadata). The report was made again without them. A step that needs them needs the slides: ask for a file that does not, as in

    snakemake results/{run}/{wanted} --snakefile code/Snakefile --configfile results/{run}/recipe.yaml --cores 2
"""


def share(run_dir: Path, out: Path, with_real_tissue: bool = False, with_names: bool = False) -> str:
    """Write the crate of results/{run} to `out` (.zip); returns the sha256 of its metadata, which stands for all of it.

    with_real_tissue: also what shows it. with_names: also patients, classes and files as the slide table has them.

    Raises BadInput for a run that is not finished or was made by other code, and where a file names this machine.
    """
    run_dir, run = Path(os.path.abspath(run_dir)), Path(run_dir).resolve().name
    project = run_dir.parent.parent
    jobs = jobs_of(project, run)
    code = code_of(jobs, project)
    contents = Contents()
    made_up = no_real_slides(run_dir)
    for job in jobs:
        for name in job.outputs:
            real = not made_up and not with_real_tissue and shows_real_tissue(name, run, job, run_dir)
            for path in files_in(project / name):
                inside = path.relative_to(project).as_posix()
                if real:
                    contents.left_out[inside] = path
                else:
                    contents.add(inside, path, path.stat().st_mtime_ns)
        for record in job.records:
            contents.add(record.as_posix(), tidy(project / record), (project / record).stat().st_mtime_ns)
    recipe = yaml.safe_load((run_dir / "recipe.yaml").read_text())
    add_slide_table(contents, project, code, recipe["slides"]["table"])
    nobody = Words({}, {}, {}) if with_names else make_anonymous(contents, project, run, recipe["slides"]["table"])
    report = f"results/{run}/report.html"
    if report in contents.left_out or nobody.files:  # it shows what is left out, or names what has another name now
        time_ns = (run_dir / "report.html").stat().st_mtime_ns
        contents.left_out.pop(report, None)
        contents.add(report, report_without(contents, project, run), time_ns)
    newest = max(contents.times.values())
    brought = {name: digest for job in jobs for name, digest in job.contents.items()}
    contents.add(f"results/{run}/contents.json", text_of(brought), newest)
    contents.add(f"results/{run}/left_out.json", text_of(sorted(contents.left_out)), newest)  # no targets there
    for path in code_files(code):
        contents.add(f"code/{path.relative_to(code).as_posix()}", path, path.stat().st_mtime_ns)
    if recipe.get("synthetic"):
        wanted = f"synthetic/{recipe['synthetic']['prefix']}_001.tif"
    else:
        wanted = f"samples/{next(iter(recipe['samples']))}/samples.h5" if recipe["samples"] else "models"
    rest = WITHOUT.format(count=len(contents.left_out), run=run, wanted=wanted)
    readme = README.format(run=run, rest=rest if contents.left_out else "")
    contents.add("README.md", readme.encode(), newest)
    check_names_nobody(contents, {str(project), str(code)}, nobody)
    facts = {**git_state(code), "versions": versions(), "brought": brought}
    devices = devices_of(jobs, project, code)

    def describe(files: dict, left_out: dict) -> bytes:
        metadata = graph(run, jobs, files, left_out, facts, devices)
        check_names_nobody_of(nobody, METADATA_FILE, metadata.decode())
        return metadata

    return write_zip(contents, out, describe)


# ------------------------------------------------------------------------------------------------------------ what


NUMBERS = {".json", ".jsonl", ".csv", ".tsv", ".yaml", ".geojson"}
SHOWS_NONE = (
    r"models/[^/]+/(model\.safetensors|loss\.png)|phantoms/.+|tissue/[^/]+/mask\.png|samples/.+|study/study\.png"
    r"|evaluation/[^/]+/cross_scale_level\d+\.png|evaluation/samples/[^/]+/(shown|utility)\.png"
    r"|reading/[^/]+/analysis/analysis\.png"
)


def no_real_slides(run_dir: Path) -> bool:
    """True when all slides are phantoms of the run, and no patches are from elsewhere."""
    records = [json.loads(path.read_text()) for path in run_dir.glob("slides/*.json")]
    return not list(run_dir.glob("patches/*/splits.tsv")) and all(
        record["path"].startswith("run:") for record in records
    )


def shows_real_tissue(name: str, run: str, job: Job, run_dir: Path) -> bool:
    """Whether an output may hold pixels of a patient's slide, or was computed from single patches of it.

    Of pictures, arrays and folders all may that are not known to show none: a new step's stay at home.
    """
    name = name.removeprefix(f"results/{run}/")
    if Path(name).suffix in NUMBERS:
        return False
    if match := re.fullmatch(r"patches/[^/]+/(.+)\.(h5|png)|tissue/([^/]+)/overlay\.png", name):
        record = run_dir / "slides" / f"{match[1] or match[3]}.json"  # none is there for labelled patches
        return not record.exists() or not json.loads(record.read_text())["path"].startswith("run:")
    if re.fullmatch(r"models/[^/]+/samples\.png", name):
        # an upscaler's are held-out patches, made small and large again
        return any((section.get("objective") or {}).get("kind", "edm") != "edm" for section in job.sections)
    if name.startswith("synthetic/"):
        return given_from_a_slide(run_dir)
    return not re.fullmatch(SHOWS_NONE, name)


def given_from_a_slide(run_dir: Path) -> bool:
    """Whether level 0 is a region of a real slide, so that the levels below show that slide's layout."""
    synthetic = yaml.safe_load((run_dir / "recipe.yaml").read_text()).get("synthetic") or {}
    return any(level.get("kind") == "given" for level in synthetic.get("levels", []))


def tidy(record: Path) -> bytes:
    """Snakemake's note of an output, without the number that a cluster gave its job."""
    return text_of({**json.loads(record.read_text()), "external_jobid": None})


def report_without(contents: Contents, project: Path, run: str) -> bytes:
    """The report, made again from what goes into the crate (and from the run's times)."""
    from histogenesis.report.build import build_report

    stage = {name: path for name, path in contents.files.items() if not name.startswith((".snakemake", "code/"))}
    stage |= {path.relative_to(project).as_posix(): path for path in files_in(project / f"results/{run}/benchmarks")}
    with tempfile.TemporaryDirectory(dir=project) as folder:  # no symbolic links: the report would name where they lead
        for name, path in stage.items():
            Path(folder, name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(path, bytes):
                Path(folder, name).write_bytes(path)
                continue
            try:
                os.link(path, Path(folder, name))
            except OSError:  # a file system without links
                shutil.copyfile(path, Path(folder, name))
        report = Path(folder, "results", run, "report.html")
        build_report(report.parent, report)
        return report.read_bytes()


def add_slide_table(contents: Contents, project: Path, code: Path, table: str | None) -> None:
    """The slide table, where the recipe looks for it. One that comes with the workflow is there already."""
    if not table or (not (project / table).exists() and (code / table).exists()):
        return
    name = os.path.normpath(table)
    if os.path.isabs(name) or name.startswith(".."):
        raise BadInput(
            f"{table}: the slide table lies outside of the project; move it in, and set slides.table to match"
        )
    contents.add(name, project / name, (project / name).stat().st_mtime_ns)


# ------------------------------------------------------------------------------------------------------------ checks


def check_names_nobody(contents: Contents, here: set[str], nobody: Words) -> None:
    """Raise BadInput when a text would carry a path of this machine, its name, its user's, or a patient's."""
    folders = here | {str(Path.home()), os.environ.get("HISTOGENESIS_SLIDE_ROOT", "")}
    words = [re.escape(folder) + r"(?=[/\"'\s<,]|$)" for folder in folders if os.path.isabs(folder) and len(folder) > 1]
    names = {name for name in (socket.gethostname(), user()) if len(name) > 3 and name not in COMMON}
    pattern = re.compile("|".join(words + [rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in names]))
    for name, content in contents.files.items():
        if Path(name).suffix not in TEXT or name.startswith("code/"):
            continue
        text = content.decode() if isinstance(content, bytes) else content.read_text(errors="replace")
        if match := pattern.search(text):
            raise BadInput(
                f"{name}: holds {match[0]!r}, which names this machine or its user. Paths in the recipe and the slide table"
                " must be relative (slides.root and HISTOGENESIS_SLIDE_ROOT say where slides are); then run it again"
            )
        check_names_nobody_of(nobody, name, text)


COMMON = {"root", "user", "users", "slide", "slides", "localhost", "debian", "ubuntu", "runner"}


def user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


# ------------------------------------------------------------------------------------------------------------ writing


def write_zip(contents: Contents, out: Path, describe) -> str:
    """Write the files, oldest first (so that a tool that does not keep times keeps their order), then the metadata."""
    described = {}
    size = sum(len(c) if isinstance(c, bytes) else c.stat().st_size for c in contents.files.values())
    bar = tqdm(total=size, unit="B", unit_scale=True, desc=out.name, disable=size < 1 << 28)
    with written(out) as part, zipfile.ZipFile(part, "w") as file, bar:
        for name in sorted(contents.files, key=lambda name: (contents.times[name], name)):
            described[name] = add_file(file, name, contents.files[name], contents.times[name], bar.update)
        left_out = {name: sha256_of(path) for name, path in sorted(contents.left_out.items())}
        metadata = describe(described, left_out)
        add_file(file, METADATA_FILE, metadata, max(contents.times.values()))
    return hashlib.sha256(metadata).hexdigest()


def add_file(file: zipfile.ZipFile, name: str, content: Path | bytes, time_ns: int, advance=lambda n: None) -> dict:
    """Add one file with its time (to the second, in UTC); returns its sha256 and size."""
    seconds = time_ns // 10**9
    info = zipfile.ZipInfo(name, max((1980, 1, 1, 0, 0, 0), datetime.fromtimestamp(seconds, UTC).timetuple()[:6]))
    info.extra = struct.pack("<HHBl", 0x5455, 5, 1, seconds)  # a zip's own times know no time zone
    info.external_attr = 0o644 << 16
    info.compress_type = zipfile.ZIP_DEFLATED if Path(name).suffix in TEXT | {".py", ".smk"} else zipfile.ZIP_STORED
    digest, size = hashlib.sha256(), 0
    with file.open(info, "w", force_zip64=True) as target:
        for block in blocks_of(content):
            target.write(block)
            digest.update(block)
            size += len(block)
            advance(len(block))
    return {"sha256": digest.hexdigest(), "contentSize": size}


def blocks_of(content: Path | bytes):
    if isinstance(content, bytes):
        yield content
        return
    with open(content, "rb") as file:
        while block := file.read(1 << 22):
            yield block
