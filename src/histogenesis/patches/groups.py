"""What is held out of labelled patches: whole groups (patients, slides, tiles), never single patches of one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from histogenesis import recipe as config
from histogenesis.core.errors import BadInput
from histogenesis.core.hdf5 import reading
from histogenesis.patches.splits import PART, draw_patients
from histogenesis.patches.store import read_texts


def split_groups(store: Path, options: config.Split) -> list[dict]:
    """The rows of splits.tsv for a labelled patch file: its name as slide, each group as patient.

    A split that the source gives (PatchCamelyon's) wins. Raises BadInput where groups are in two given splits, where the
    same picture lies in two splits under different groups, and where a class is missing in training or in what is held out.
    """
    store = Path(store)
    with reading(store) as file:
        name = str(file.attrs["slide"])
        labels, groups, given, digests = (read_texts(file, key) for key in ("label", "group", "split", "digest"))
    named: dict[str, str] = {}
    for group, split in zip(groups, given):
        if split and named.setdefault(group, split) != split:
            raise BadInput(
                f"{store}: group {group} is in two splits ({named[group]}, {split}): this would leak; correct it"
            )
    splits = named | draw_patients(set(groups) - set(named), named, options)
    check_pictures(store, groups, digests, splits)
    for part, names in (("training", {"train"}), ("held-out", {"validation", "test"})):
        missing = sorted(set(labels) - {label for label, group in zip(labels, groups) if splits[group] in names})
        if missing and not (part == "held-out" and options.validation == 0):
            raise BadInput(
                f"{store}: no {part} patch is of class {', '.join(missing)}, with {len(splits)} groups: take more patches,"
                " another split.seed or split.validation, or leave the class out of `classes`"
            )
    return [{"slide": name, "patient": group, "split": splits[group], **PART} for group in sorted(splits)]


def check_pictures(store: Path, groups, digests, splits: dict[str, str]) -> None:
    """BadInput where one picture (turned or mirrored) is in training and held out, under different groups."""
    sides = defaultdict(set)
    for group, digest in zip(groups, digests):
        if digest:
            sides[digest].add((splits[group] == "train", group))
    leaks = sorted(tuple(sorted(found)) for found in sides.values() if len({side for side, _ in found}) > 1)
    if leaks:
        (_, held_out), (_, trained) = leaks[0][0], leaks[0][-1]
        raise BadInput(
            f"{store}: {len(leaks)} picture(s) would be both trained on and held out, under different groups (first:"
            f" {trained} and {held_out}): give them one group, or name the column that holds it (`group_column`)"
        )
