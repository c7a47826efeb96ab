"""What users bring: slides, outlines, labelled patches, encoders, models, other generators' pictures, readers' answers. Their content
decides on reruns, not path or time.

What is away (a disk that is not mounted, an archive), whole or in part, keeps the fingerprint that results/{run}/contents.json
remembers, so that nothing that is finished runs again without it; a run that would need it is refused, unless --config
accept_missing=true.
"""

import re
from contextlib import suppress

from histogenesis.core.files import read_json
from histogenesis.models.shipped import FILES as MODEL_FILES, folder_of
from histogenesis.patches.sources import source_files
from histogenesis.provenance.fingerprints import combined, fingerprints
from histogenesis.slides.files import files_of_slide
from snakemake.logging import logger

REMEMBERED = Path(RUN, "contents.json")  # also in a crate: a run that was handed on says what its slides held
COUNTED = STATE / "brought_files.json"  # of how many files each of them was: fewer are not all


def answers_of(reading):
    """What readers of a study have sent back so far."""
    folder = Path(RECIPE.reading[reading].answers or f"answers/{RECIPE.run}/{reading}")
    return sorted(map(str, folder.glob("*.json")))


def user_files():
    """What users bring, by its name here: the paths where it lies."""
    found = {}
    for row in SLIDES.values():
        names = {"tissue": row.tissue, "regions": row.regions} | ({} if row.slide in PHANTOMS else {"slide": row.path})
        found.update(
            (f"{kind}/{row.slide}", files_of_slide(slide_path(name, Path(RUN)))) for kind, name in names.items() if name
        )
    for encoder, name in ENCODER_FILES.items():
        found[f"encoder/{encoder}"] = sorted(p for p in Path(name).rglob("*") if p.is_file()) or [Path(name)]
    for name, patches in RECIPE.patches.items():
        if not patches.from_slides:
            source = slide_path(patches.path, Path(RUN))
            columns = patches.file_column, patches.class_column
            found[f"labelled/{name}"] = source_files(source, patches.kind, *columns)
    for name, samples in RECIPE.brought_samples.items():
        source = slide_path(samples.source, Path(RUN))
        found[f"samples/{name}"] = sorted(p for p in source.rglob("*") if p.is_file()) or [source]
    for name, model in RECIPE.trained_models.items():
        if model.label_embeddings:
            found[f"embeddings/{name}"] = [Path(model.label_embeddings.file)]
    for reading in RECIPE.reading:
        found[f"answers/{reading}"] = [Path(file) for file in answers_of(reading)]
    for kind, sources in (("model", TAKEN), ("start", STARTS)):
        for model, source in sources.items():
            with suppress(BadInput):  # which is said below
                found[f"{kind}/{model}"] = [folder_of(source) / file for file in MODEL_FILES]
    return found


def contents():
    """Name -> fingerprint of all that is here; and of what is away, what is remembered of it."""
    files = user_files()
    known = fingerprints((path for paths in files.values() for path in paths), Path(".histogenesis/fingerprints.jsonl"))
    remembered, counted = ({}, {}) if ACCEPT_MISSING else (read_json(file) or {} for file in (REMEMBERED, COUNTED))
    here, away = {}, {}
    names = [f"model/{name}" for name in TAKEN] + [f"start/{name}" for name in STARTS]
    for name, paths in {**dict.fromkeys(names, []), **files}.items():
        digests = [known[path] for path in paths]
        if name in remembered and (None in digests or not digests or len(digests) < counted.get(name, 0)):
            away[name] = remembered[name]
        elif any(digests):
            here[name] = combined(digests)
    return here, away


PRESENT, AWAY = (PLAN["contents"], {}) if PLAN else contents()
READ = [name for name in RECIPE.reading if f"answers/{name}" in PRESENT | AWAY]

# A model that this run does not train is there, or was there when the run was handed on.
for kind, where, sources in (("model", "models.{}", TAKEN), ("start", "models.{}.training.start", STARTS)):
    for name, source in sources.items():
        if f"{kind}/{name}" not in PRESENT | AWAY:
            try:
                folder_of(source)
            except BadInput as error:
                raise WorkflowError(
                    f"{where.format(name)}: {error}; or first run the recipe that trains it, here"
                ) from None


def content(kind, name):
    """Fingerprint of what a user brought; a file that was never there has none (the slide's record will say so)."""
    key = f"{kind}/{name}"
    return f"content:{key}@{PRESENT.get(key) or AWAY.get(key, 'none')}"


def content_of(kind, wildcard):
    """A param: the fingerprint of what belongs to a job, by the wildcard that names it."""

    def param(wildcards):
        return content(kind, wildcards[wildcard])

    return param


def content_of_training(kind):
    """A param: the fingerprint of what a model's training is given; of a study's winner, which trains like one of them, of what
    any model here is given."""

    def param(wildcards):
        given = [content(kind, name) for name in RECIPE.trained_models]
        given = sorted({one.split("@")[1] for one in given if not one.endswith("@none")})
        if wildcards.model in RECIPE.winner_models and given:
            return f"content:{kind}/{wildcards.model}@{combined(given)}"
        return content(kind, wildcards.model)

    return param


def content_of_slides():
    """One fingerprint of all slides, for steps that read any of them."""
    every = [content("slide", slide) for slide in sorted(SLIDES)]
    return f"content:slides@{combined(every)}"


def what_is_away(names):
    """`slide b (archive/b.svs), ...` for a sentence."""
    files, counted = user_files(), read_json(COUNTED) or {}
    some = []
    for name in sorted(names):
        paths, before = files.get(name, []), counted.get(name, 0)
        where = str(paths[0]) if paths else "its folder"
        if 0 < len(paths) < before:
            where += f" and others: {len(paths)} files, {before} before"
        some.append(f"{' '.join(Path(name).parts)} ({where})")
    return ", ".join(some[:5]) + (f" and {len(some) - 5} more" if len(some) > 5 else "")


def refuse_less(jobs):
    """Raise WorkflowError when a job would be made again without what is away."""
    lacking = {}
    for job in jobs:
        for name in re.findall(r"content:([^@]+)@", " ".join(map(str, job.params))):
            if name in AWAY or (name == "slides" and any("slide/" in a for a in AWAY)):
                lacking.setdefault(name, []).append(job.rule.name)
    if lacking:
        missing = {name for name in lacking if name in AWAY} or set(AWAY)
        rules = sorted({rule for found in lacking.values() for rule in found})
        raise WorkflowError(
            f"away, or not to be read: {what_is_away(missing)}. What was made of it is finished, and {', '.join(rules)} would make"
            " it again without it. Nothing was changed. Bring it back (is the disk mounted?), take it out of the table or the"
            " recipe, or go on with less: --config accept_missing=true"
        )


def refuse_forgotten():
    """Raise WorkflowError where a finished run no longer knows what it was made of, and something is away: it would be taken for less."""
    if not Path(RUN, "report.html").exists() or ACCEPT_MISSING or read_json(REMEMBERED) is not None:
        return
    lost = [name for name, paths in user_files().items() if paths and name not in PRESENT]
    if lost:
        raise WorkflowError(
            f"{REMEMBERED} is gone or damaged, which says what this run was made of, and so is, or cannot be read: {what_is_away(lost)}. Nothing was"
            " changed. Bring either back, or go on with less: --config accept_missing=true"
        )


if workflow.is_main_process and AWAY:
    logger.warning(f"away, or not to be read: {what_is_away(AWAY)}. What was made of it stays as it is.")
