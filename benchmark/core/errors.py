"""Errors that a user can act on.

Each carries a message that names what is wrong and where, and the next command to type.
The command line prints both and exits with the class's status: 2 for usage and missing input,
1 for a unit that failed.
"""

from __future__ import annotations


class BenchError(Exception):
    """Base of every error that comface-bench raises on purpose.

    Args:
        message: What is wrong, with the file, line or name concerned.
        hint: What to do next, a command where there is one; empty if the message says it all.
    """

    exit_status = 2

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(BenchError):
    """An argument, option or override that can't be taken."""


class UnknownNameError(UsageError):
    """A name that no registry knows."""


class DuplicateNameError(UsageError):
    """One name offered by two origins."""


class PluginError(UsageError):
    """A plugin that can't be loaded or breaks the plugin contract."""


class DataMissingError(BenchError):
    """A data set that isn't where it was looked for."""


class DataFormatError(BenchError):
    """A data set that is there but malformed; names the file, and the line where there is one."""


class SplitError(BenchError):
    """Folds that overlap, miss a subject, or don't fit the manifest."""


class WeightsMissingError(BenchError):
    """A checkpoint that isn't where it was looked for."""


class WeightsFormatError(BenchError):
    """A checkpoint that doesn't fit the network it is loaded into, or may not be loaded."""


class MissingExtraError(BenchError):
    """A package of an optional extra that isn't installed."""


class ResultError(BenchError):
    """A result file that is malformed, or contradicts itself."""


class UnitError(BenchError):
    """A unit whose outcome is no result: a constant prediction, a loss that isn't finite."""

    exit_status = 1
