"""Where the workflow lies that comes with this package."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def workflow_home() -> Path | None:
    """The folder of Snakefile, rules/, workflow/, config/ and envs/: within an installed package, or the clone that the package
    is part of. None where there is neither, as with a copy of the package alone.
    """
    for folder in (PACKAGE / "workflow", PACKAGE.parents[1]):
        if (folder / "Snakefile").is_file() and (folder / "config").is_dir():
            return folder
    return None


def snakefile() -> Path | None:
    """What snakemake is given to run the workflow."""
    home = workflow_home()
    return home and (home / "Snakefile" if (home / "src").is_dir() else home / "workflow/Snakefile")
