"""Commands of `histogenesis`, one file each: `arguments` of its parser, `run`, and EXAMPLES that --help shows."""
