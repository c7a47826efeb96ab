"""A changed job below one that runs is a changed job, also where an `ancient` input lies between them.

Snakemake asks no job below one that runs whether it has changed itself, for that it will run anyway. But through an input marked
`ancient` it will not: its change would be seen by the next run only, after "Nothing to be done" by this one (Snakemake's issue 4166).
"""

import snakemake.dag


class Heeded:
    """What of a graph's edges makes a job run when the one above it has run."""

    def __init__(self, edges):
        self.edges = edges

    def __getitem__(self, job):
        return {below: files for below, files in self.edges[job].items() if not all(file.is_ancient for file in files)}


search_breadth_first = snakemake.dag.DAG.bfs


def search_what_is_heeded(graph, direction, *jobs, **stop):
    omits = graph.omitrules or graph.omitfiles  # --omit-from means all that lies below
    edges = Heeded(direction) if direction is graph.depending and not omits else direction
    return search_breadth_first(graph, edges, *jobs, **stop)


snakemake.dag.DAG.bfs = search_what_is_heeded
