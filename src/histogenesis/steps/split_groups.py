"""Choose which groups of a labelled patch set are held out."""

from __future__ import annotations

from pathlib import Path

from histogenesis.patches import groups
from histogenesis.patches.splits import write_splits
from histogenesis.recipe import Split


def split_groups(*, patches: Path, out: Path, options: Split = Split()) -> None:
    """Choose which groups of a labelled patch set are held out, and write its splits.tsv.

    Groups are kept together; a picture that would be on both sides is refused (BadInput).

    patches: the patch file, of read_labelled
    out: splits.tsv
    options: the recipe's section `split`
    """
    write_splits(out, groups.split_groups(patches, options))
