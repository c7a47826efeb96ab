"""Snakemake that asks SLURM for the state of its jobs every 2 s: as it comes, that pause grows by 10 s each time."""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)

if __name__ == "__main__":
    main()
