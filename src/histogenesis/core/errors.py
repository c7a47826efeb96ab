"""Errors that a user can cause, told apart from bugs."""


class BadInput(Exception):
    """An input that cannot be used: the message names the file, what is wrong, and what to do.

    A known class of bad input is set aside and listed in the report, where the recipe allows. A read error that may pass
    (I/O, network file system) is *not* BadInput: let OSError rise, so that the job fails and is retried.
    """


class DiskFull(OSError):
    """No room left where a step writes: the message says how much is needed. Another try would end alike."""
