"""What goes wrong before or beside a request; HTTP maps these to problem documents."""

from __future__ import annotations


class UnderstudyError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigurationError(UnderstudyError):
    """A setting is unknown, of the wrong type or impossible; names the key and what was expected."""


class BundleError(UnderstudyError):
    """A bundle is absent, damaged or not what its manifest says."""


class InferenceError(UnderstudyError):
    """The graph raised, or answered something that is not a score for every row."""


class DeadlineError(InferenceError):
    """The graph was stopped because it did not answer in time."""


class BusyError(UnderstudyError):
    """There is too much to do just now; trying again later helps."""


class LateError(UnderstudyError):
    """An explanation was not there in time."""


class ExplanationError(UnderstudyError):
    """A method or a model failed while explaining; says which and how, for the log."""


class StoreError(UnderstudyError):
    """The store cannot be reached, is locked, full or too slow; nothing was written, later it may be."""


class TooMuchError(UnderstudyError):
    """More is asked for than is done in one request; says how much is."""


class TrafficError(UnderstudyError):
    """Traffic that is to be replayed cannot be read; names the file, the line and what is wrong there."""
