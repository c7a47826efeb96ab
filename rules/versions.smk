"""Says so when the results at hand were made by another version of the workflow, and what that means."""

from histogenesis.core.software import git_state
from snakemake.logging import logger

MADE_BY = Path(RUN, "made_by.txt")


def this_version():
    """The workflow's commit, with a + where files differ from it; nothing for a copy without git."""
    state = git_state(HOME)
    return state["commit"] and state["commit"][:12] + "+" * (not state["clean"])


def compare_versions():
    before, now = MADE_BY.read_text().strip() if MADE_BY.exists() else None, this_version()
    if before and now and before != now:
        logger.warning(
            f"{RUN} was made by version {before} of the workflow; this is {now}. Steps whose code differs run again, the others"
            f" stay as they are (--dry-run lists them). To keep all results: git checkout {before.rstrip('+')}, or set"
            " another `run:` in the recipe."
        )


if workflow.is_main_process:
    compare_versions()


def note_version():
    """When a run starts (start.smk)."""
    if version := this_version():
        MADE_BY.parent.mkdir(parents=True, exist_ok=True)
        MADE_BY.write_text(version + "\n")
