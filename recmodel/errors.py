"""What can go wrong, by exit code. Each message is one sentence that names the thing and the remedy."""


class RecmodelError(Exception):
    """An expected failure: its message is for people, its `exit_code` for cron."""

    exit_code: int


class UsageRejected(RecmodelError):
    """A flag, a setting or a combination of them that cannot work."""

    exit_code = 2


class InputRejected(RecmodelError):
    """A file, column or row of the input that cannot be used."""

    exit_code = 3


class ModelRejected(RecmodelError):
    """A model version that is missing, damaged, tampered with or not good enough."""

    exit_code = 4


class ScoringFailed(RecmodelError):
    """Scoring or publishing did not finish; the last published tables are untouched."""

    exit_code = 5


class AnotherRun(RecmodelError):
    """Another process is doing this; nothing was changed. 75 is sysexits' EX_TEMPFAIL: try again later."""

    exit_code = 75


# All that a command ends with: 0, and those above.
EXIT_CODES = {0} | {kind.exit_code for kind in RecmodelError.__subclasses__()}
