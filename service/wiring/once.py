"""Values that take a while to make, each made once, by the first thread that asks for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.domain.explainers.game import Unsuitable
from service.errors import BundleError, BusyError, ConfigurationError

LASTING = (Unsuitable, BundleError, ConfigurationError)
"""Failures that another try would not change."""

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class _Made(Generic[Value]):
    values: list[Value] = field(default_factory=list)
    """One, once it was made."""
    failure: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class Once(Generic[Key, Value]):
    """Values by key; nobody waits for one but who asks for that one.

    Args:
        make: makes one; may ask another ``Once`` for what it needs.
    """

    def __init__(self, make: Callable[[Key], Value]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._known: dict[Key, _Made[Value]] = {}

    def get(self, key: Key, patience: float | None = None) -> Value:
        """The value of ``key``, made here unless another thread is at it.

        Args:
            key: what to make.
            patience: seconds to wait for another thread; None waits until it is done.

        Raises:
            BusyError: another thread is still making it.
            Exception: it could not be made; what is not ``LASTING`` is tried again the next time.
        """
        with self._lock:
            made = self._known.get(key)
            first = made is None
            if made is None:
                made = self._known[key] = _Made()
        if first:
            self._fill(key, made)
        elif not made.done.wait(patience):
            raise BusyError("what explains this is still being prepared; come again in a moment")
        if made.failure is not None:
            raise made.failure.with_traceback(None)  # else each who is told would lengthen it
        return made.values[0]

    def _fill(self, key: Key, made: _Made[Value]) -> None:
        try:
            made.values.append(Context().run(self._make, key))  # not in the context of whoever asks first
        except BaseException as error:
            made.failure = error
            if not isinstance(error, LASTING):
                with self._lock:
                    del self._known[key]
            if not isinstance(error, Exception):
                raise
        finally:
            made.done.set()
