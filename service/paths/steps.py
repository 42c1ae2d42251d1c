"""What is done for a request that was drawn, and how long each step of it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from service.domain.observation import Arm
from service.domain.passage import Parent, Step, StepName


class Steps:
    """Collects the steps of one request; travels with its question.

    Args:
        logged: whether the request gets a line in the log.
        trace_id: of its trace, 128 bits; None where it gets none.
        parent: the caller's span in that trace.
    """

    __slots__ = ("done", "logged", "parent", "start", "trace_id")

    def __init__(self, *, logged: bool, trace_id: int | None, parent: Parent | None = None) -> None:
        self.start = time.monotonic()
        self.logged = logged
        self.trace_id = trace_id
        self.parent = parent
        self.done: list[Step] = []

    @contextmanager
    def take(self, name: StepName, arm: Arm | None, model: str | None) -> Iterator[None]:
        """Times what is done inside, whatever becomes of it."""
        start, failure = time.monotonic(), None
        try:
            yield
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self.done.append(Step(name, start, time.monotonic(), arm, model, failure))


def step(
    steps: Steps | None, name: StepName, arm: Arm | None = None, model: str | None = None
) -> AbstractContextManager[None]:
    """Times what is done inside, where the request was drawn."""
    return nullcontext() if steps is None else steps.take(name, arm, model)
