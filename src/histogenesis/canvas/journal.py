"""`journal.json` says how far a drawing is; it is written after the pixels that it speaks of. The one before lies beside it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

from histogenesis.canvas.proofs import Unusable
from histogenesis.core.files import move, write_json

FORMAT = 4


class Journal:
    """Those of one drawing, which `digest` names, in its folder."""

    def __init__(self, folder: Path, digest: str):
        self.digest = digest
        self.last = folder / "journal.json"
        self.paths = self.last, folder / "journal.json.before"

    def write(self, journal: dict) -> None:
        journal = journal | {"format": FORMAT, "digest": self.digest}
        if self.last.exists():  # it speaks of the other set of files, or of less of them
            move(*self.paths)
        write_json(self.last, journal | {"proof": proof_of(journal)}, indent=None)

    def read(self, path: Path) -> dict:
        """One of `paths`. Raises Unusable where it is damaged, or of another drawing or version."""
        try:
            journal = json.loads(path.read_text())
            stated, found = journal.pop("proof", None), journal.get("format")
        except (ValueError, AttributeError, TypeError):
            raise Unusable("damaged journal") from None
        if found != FORMAT:
            raise Unusable("the state of an older version")
        if stated != proof_of(journal):
            raise Unusable("damaged journal")
        if journal["digest"] != self.digest:
            raise Unusable("the state of another drawing")
        return journal

    def begun_in_files(self) -> bool:
        """Whether the drawing's state lies in files already, where it stays, whatever room there is elsewhere now."""
        for path in self.paths:
            try:
                if path.exists():
                    return self.read(path)["place"] == "files"
            except (Unusable, OSError):  # which is said when the state is taken up
                continue
        return False


def proof_of(journal: dict) -> str:
    return sha256(json.dumps(journal, sort_keys=True).encode()).hexdigest()
