"""The exceptions that rpat raises on purpose.

    RpatError
    ├── ConfigError   the request is wrong: fix the option, key or value it names
    ├── RunError      a run could not go on: read the run's log
    │   └── Parted    another process of the run has gone
    └── StoreError    the home folder or its database could not be used

Each message is one line that names the thing, the value and the remedy.
"""


class RpatError(Exception):
    """Base of everything rpat raises on purpose; its text is meant for the user."""


class ConfigError(RpatError):
    """A request that cannot be carried out as written."""


class RunError(RpatError):
    """A run that cannot go on.

    `reason` is a short, stable word for the cause (`nan`, `data`, `disk full`, …).
    """

    def __init__(self, message: str, reason: str = "error") -> None:
        super().__init__(message)
        self.reason = reason


class Parted(RunError):
    """Another of the processes that train a run together has gone, or does not answer."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="rank")


class StoreError(RpatError):
    """The home folder or the database in it cannot be read or written."""


SAVED, SUPERSEDED, PARTED = 85, 86, 87
"""Exit codes of a run that was stopped with its work saved, of one that lost its place, and of one
of several processes whose peers have gone."""


class Interrupted(Exception):
    """Not an error: the run was asked to stop, and its state is saved."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word


class Superseded(Exception):
    """Not an error: a later attempt owns the run; nothing may be written any more."""
