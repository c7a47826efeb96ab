"""Who may read what is written: whoever the user's umask lets, as of any other file."""

import os
from pathlib import Path


def as_umask(path: Path) -> None:
    """Give a file that a library has made for its owner alone (safetensors does) the mode that the umask says."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
