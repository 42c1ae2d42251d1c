"""What goes wrong before or beside a request; HTTP maps these to problem documents."""

from __future__ import annotations

import re


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


OPERATIONAL = (ConfigurationError, BundleError, DeadlineError, BusyError, LateError, StoreError, OSError)
"""Errors whose text is about the service and what it runs on, and nothing that a caller sent."""
ABOUT_CODE = (ImportError, AttributeError, NameError, MemoryError)
"""Errors whose text Python and numpy make of names, types and sizes alone."""
_VALUES = re.compile(r"(?<!\w)'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|(?<![\w-])[-+]?\.?\d[\w.+-]*")


def text_for_logs(error: BaseException) -> str:
    """What may be written of an error where others than the caller read it; nothing that a row holds.

    What a model or a method says of its failure may name the values it failed on: numbers and whatever is
    quoted are left out of that. Of an error that nobody expected nothing is known, so its text is left out
    as a whole; its type and its place tell enough.
    """
    if isinstance(error, OPERATIONAL + ABOUT_CODE):
        return str(error)
    if isinstance(error, InferenceError | ExplanationError):
        return _VALUES.sub("…", str(error))
    return type(error).__name__
