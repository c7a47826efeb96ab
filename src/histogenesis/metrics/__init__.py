def __getattr__(name):
    if name == "frechet_distance":  # the public name, without an import that every other metric would pay for
        from histogenesis.metrics.distances.frechet import frechet_distance

        return frechet_distance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
