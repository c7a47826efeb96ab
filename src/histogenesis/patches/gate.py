"""The data gate: what a run is about to learn from, counted; refused where a level, a model or a class would have nothing.

A recipe asks; only the data answer. Before training this counts the patches of every model, mpp and class on both sides of the
split and of how many slides they are, and gathers every slide that was set aside, every warning and every mpp that a slide
could not give, so that a report need not look for them (data.json; its fields are those of `gate_data`'s result).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from histogenesis.core.errors import BadInput
from histogenesis.core.geometry import same_mpp
from histogenesis.core.hdf5 import reading
from histogenesis.patches.dataset import PatchCollection
from histogenesis.patches.stain import HE_ALONE, unlike_he

HELD_OUT = ("validation", "test")
REASONS = 3  # that are named of why slides give nothing
LOOKED_AT = 64  # patches of a slide, on each side of the split, whose stain is looked at
NONE = {"patches": 0, "slides": 0, "patients": 0}
REMEDY = (
    "add slides that have it, lower `min_tissue` or `size_px`, hold out by patient or less, or take the mpp (the class) out of"
    " the recipe"
)


class Counted:
    """The patches of one set: mpp, label, slide, patient of each, split by split; and what each slide's file says."""

    def __init__(self, name: str, folder: Path, splits_tsv: Path, files: list[Path]):
        self.name, self.sides, self.empty = name, {}, {}
        for split in ("train", *HELD_OUT):
            try:
                self.sides[split] = PatchCollection(folder, splits_tsv, split)
            except BadInput as error:
                self.empty[split] = str(error)
        self.files = {path.stem: _attributes(path) for path in files}

    def count(self, splits: tuple[str, ...], mpp: float | None, label: str | None) -> dict[str, int]:
        """patches, slides, patients of an mpp (None: any) and class (None: any) in these splits."""
        parts = []
        for found in (self.sides[split] for split in splits if split in self.sides):
            rows = np.ones(len(found), bool) if mpp is None else np.asarray(same_mpp(found.mpp, mpp))
            rows &= True if label is None else found.label == label
            parts.append(np.stack([found.slide[rows], found.patient[rows]], axis=1).astype(object))
        rows = np.concatenate(parts) if parts else np.zeros((0, 2), object)
        return {"patches": len(rows), "slides": len(set(rows[:, 0])), "patients": len(set(rows[:, 1]))}

    def unlike_he(self) -> dict[str, str]:
        """Slides that do not look like H&E -> what speaks against it."""
        found: dict[str, str] = {}
        for side in self.sides.values():
            for slide in dict.fromkeys(side.slide):
                rows = np.flatnonzero(side.slide == slide)
                some = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int)]
                if why := unlike_he(side.read(some)):
                    found.setdefault(str(slide), why)
        return found

    def why(self, mpp: float | None) -> str:
        """Why slides give no patch at an mpp, the first few: one line."""
        found = []
        for slide, facts in self.files.items():
            reasons = [why for at, why in facts["skipped"].items() if mpp is None or same_mpp(float(at), mpp)]
            found += [f"{slide}: {why}" for why in [facts["error"]] * bool(facts["error"]) + reasons]
        more = f"; and {len(found) - REASONS} more" if len(found) > REASONS else ""
        return "; ".join(found[:REASONS]) + more


def gate_data(
    records: dict[str, dict],
    qc: dict[str, dict],
    sets: dict[str, Counted],
    needs: list[dict],
    limits: dict[str, int],
    no_patient: Sequence[str] = (),
    of_he: Sequence[str] = (),
) -> dict:
    """What data.json holds: errors, warnings, summary, slides, patch_sets, rows.

    records, qc: of each slide; needs: `recipe.needs.needs_of`; limits: least `train_patches`, `held_out_patches` and `slides`
    (to learn from) of each mpp and class that something draws; no_patient: slides whose patient the table does not name; of_he:
    patch sets with a model that has seen H&E alone, whether it goes on from there or draws what is compared with them. An error
    is what no training should begin with.
    """
    rows = [_row(sets[need["patch_set"]], one) for need in needs for one in _by_class(sets[need["patch_set"]], need)]
    errors: list[str] = []
    warnings: list[str] = []
    for row in rows:
        (errors if row["drawn"] else warnings).extend(_lacking(row, sets[row["patch_set"]], limits))
        if not row["held_out"]["patches"] and not limits["held_out_patches"]:
            warnings.append(f"{_name(row)}: nothing of it is held out, so no number can speak of it")
    for name in dict.fromkeys(row["patch_set"] for row in rows if row["model"]):
        if not sets[name].count(("validation",), None, None)["patches"]:
            why = sets[name].why(None)
            errors.append(
                f"patches.{name}: nothing of it is held out at any mpp, and what is trained on it is watched by that"
                + (f" ({why})" if why else "")
                + f": {REMEDY}"
            )
    for name in dict.fromkeys(of_he):
        warnings += [f"{slide}: {why}; {HE_ALONE}" for slide, why in sets[name].unlike_he().items()]
    if no_patient:
        some = ", ".join([*no_patient[:REASONS], *["..."] * (len(no_patient) > REASONS)])
        warnings.append(
            f"the slide table names no patient for {len(no_patient)} of {len(records)} slides"
            f" ({some}): each counts as a patient of its own, so"
            " that slides of one patient may lie on both sides of the split: fill in the column `patient`"
        )
    slides = _slides(records, qc) | {"without_patient": len(no_patient)}
    found = {
        "errors": errors,
        "warnings": list(dict.fromkeys(warnings)),
        "slides": slides,
        "patch_sets": {name: _set(counted) for name, counted in sets.items()},
        "rows": rows,
    }
    return {"summary": _summary(found), **found}


def _by_class(counted: Counted, need: dict) -> list[dict]:
    """The need of a model that is told the class and names none: one for each class that there is."""
    need = dict(need)
    told = need.pop("told")
    labels = {label for side in counted.sides.values() for label in side.classes} if told else ()
    return [need | {"class": label} for label in sorted(labels)] or [need]


def _row(counted: Counted, need: dict) -> dict:
    at = need["mpp"], need["class"]
    row = {**need, "train": counted.count(("train",), *at), "held_out": counted.count(HELD_OUT, *at)}
    served = [facts["served"].get(f"{need['mpp']:g}") for facts in counted.files.values()] if need["mpp"] else []
    return row | {"true_mpps": sorted({round(true, 6) for true in served if true})}


def _lacking(row: dict, counted: Counted, limits: dict[str, int]) -> list[str]:
    """What of a row is under the limits, in one line each."""
    train, held_out = row["train"], row["held_out"]
    problems = []
    if train["patches"] < limits["train_patches"] or train["slides"] < limits["slides"]:
        problems.append(("to learn from", train, f"{limits['train_patches']} of {limits['slides']} slide(s)"))
    if held_out["patches"] < limits["held_out_patches"]:
        problems.append(("held out", held_out, str(limits["held_out_patches"])))
    why = counted.why(row["mpp"])
    return [
        f"{_name(row)}: {found['patches']} patch(es) of {found['slides']} slide(s) {what}, at least {least} are wanted"
        + (f" ({why})" if why else "")
        + f": {REMEDY}"
        for what, found, least in problems
    ]


def _name(row: dict) -> str:
    parts = [f"models.{row['model']}" if row["model"] else f"what is compared (patches.{row['patch_set']})"]
    parts += [f"at {row['mpp']:g} mpp"] if row["mpp"] is not None else []
    parts += [f"of class {row['class']}"] if row["class"] is not None else []
    parts += [f"for level {', '.join(map(str, row['levels']))}"] if row["levels"] else []
    return " ".join(parts)


def _slides(records: dict[str, dict], qc: dict[str, dict]) -> dict:
    aside, warned = [], []
    for name, record in records.items():
        error = record.get("error") or qc.get(name, {}).get("error")
        lines = [*(record.get("warnings") or []), *(qc.get(name, {}).get("warnings") or [])]
        if error:
            aside.append({"slide": name, "why": error})
        elif lines:
            warned.append({"slide": name, "warnings": lines})
    return {"given": len(records), "used": len(records) - len(aside), "set_aside": aside, "warned": warned}


def _set(counted: Counted) -> dict:
    """What one patch set has: counts by mpp, and what its slides could not give or gave up."""
    files = counted.files
    mpps = sorted({float(m) for side in counted.sides.values() for m in side.mpp if m == m}, reverse=True)
    return {
        "by_mpp": [
            {"mpp": mpp, **{split: counted.count((split,), mpp, None) for split in ("train", *HELD_OUT)}}
            for mpp in mpps
        ],
        "empty": counted.empty,
        **{
            key: [
                {"slide": slide, "mpp": float(mpp), "why": why}
                for slide, facts in files.items()
                for mpp, why in facts[key].items()
            ]
            for key in ("skipped", "cropped")
        },
        "refused": [{"slide": slide, "why": facts["error"]} for slide, facts in files.items() if facts["error"]],
        "served": [
            {"slide": slide, "mpp": float(mpp), "true_mpp": true}
            for slide, facts in files.items()
            for mpp, true in facts["served"].items()
        ],
        "left_out": _sum([facts["left_out"] for facts in files.values()]),
    }


def _sum(counts: list[dict[str, int]]) -> dict[str, int]:
    names = dict.fromkeys(name for found in counts for name in found)
    return {name: sum(found.get(name, 0) for found in counts) for name in names}


def _summary(found: dict) -> str:
    """One line, every kind of loss in it with its count."""
    slides, sets = found["slides"], found["patch_sets"].values()
    left_out = _sum([one["left_out"] for one in sets])
    unlearnt = sum(row["drawn"] and not row["train"]["patches"] for row in found["rows"])
    unseen = sum(not row["held_out"]["patches"] for row in found["rows"])
    parts = [f"{slides['used']} of {slides['given']} slides used"] if slides["given"] else []
    parts += [
        f"{n} {what}"
        for n, what in (
            (len(slides["set_aside"]), "set aside"),
            (slides.get("without_patient", 0), "slides without a stated patient"),
            (sum(len(one["warnings"]) for one in slides["warned"]), f"warnings on {len(slides['warned'])} slides"),
            (sum(len(one["skipped"]) for one in sets), "mpps that a slide could not give"),
            (sum(len(one["cropped"]) for one in sets), "slides wider than the patch that is to show them whole"),
            (unlearnt, "mpps or classes to draw without training patches"),
            (unseen, "mpps or classes without held-out patches"),
            *((n, f"patches left out: {why}") for why, n in left_out.items()),
        )
        if n
    ]
    return "; ".join(parts) or "nothing was left out"


def _attributes(path: Path) -> dict:
    with reading(path) as file:
        at = file.attrs
        found = {key: json.loads(at.get(f"{key}_mpps", "{}")) for key in ("skipped", "cropped", "served")}
        return found | {"error": str(at.get("error", "")), "left_out": json.loads(at.get("left_out", "{}"))}
