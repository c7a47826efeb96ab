"""Every job is asked whether it has changed itself.

Snakemake asks none that lies below one that runs, for that it will run anyway. But through an input marked `ancient` it will not,
and its own change would be seen by the next run only, after "Nothing to be done" by this one (Snakemake's issue 4166); nor does it
run if what lies above has made the same bytes again (same.smk).
"""

import snakemake.dag

search_breadth_first = snakemake.dag.DAG.bfs


def search_what_is_masked(graph, direction, *jobs, **stop):
    """Snakemake asks nothing of what this finds below a job: so it is the job itself, but for --omit-from, which means all of it."""
    if direction is graph.depending and not (graph.omitrules or graph.omitfiles):
        return iter(jobs)
    return search_breadth_first(graph, direction, *jobs, **stop)


snakemake.dag.DAG.bfs = search_what_is_masked
