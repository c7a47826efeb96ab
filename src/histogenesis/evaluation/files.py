"""The files of an evaluation: JSON that any reader takes, and its metrics as a table beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histogenesis.core import files


def write_json(path: Path, value: Any) -> None:
    """Raises ValueError for NaN, which is no JSON."""
    files.write_json(path, value, allow_nan=False)


def write_metrics(out: Path, entries: list[dict]) -> None:
    """metrics.json, and the same as a table in metrics.csv: NaN (an interval of one split) becomes null, and empty there."""
    clean = [_finite(e) for e in entries]
    write_json(Path(out) / "metrics.json", clean)
    flat = [_flat(e) for e in clean]
    columns = list(dict.fromkeys(key for row in flat for key in row))
    files.write_rows(Path(out) / "metrics.csv", columns or ["name"], flat)


def _finite(value):
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _flat(row: dict) -> dict:
    """ceilings: {phase: 1} -> ceiling_phase: 1."""
    rest = {k: v for k, v in row.items() if k != "ceilings"}
    return rest | {f"ceiling_{k}": v for k, v in (row.get("ceilings") or {}).items()}
