"""The edge's way to the store, and where it is for everybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from service.domain.labels import Filed, Given, LabelConflict, LabelCount
from service.settings import Environment

if TYPE_CHECKING:
    from service.adapters.store.store import Store


class LazyStore:
    """The store, opened by whoever first needs it: SQLAlchemy costs 25 MB and a third of a second.

    Args:
        environment: says where it is.
        patience: seconds that a statement may take, and that a lock is waited for.
        durable: whether not even a power cut may take back what was done.
    """

    def __init__(self, environment: Environment, patience: float, *, durable: bool = True) -> None:
        self._url = store_url(environment)
        self._patience = patience
        self._durable = durable
        self._lock = threading.Lock()
        self._store: Store | None = None

    def __call__(self) -> Store:
        """The store; not for the event loop's thread."""
        with self._lock:
            if self._store is None:
                from service.adapters.store.database import Database
                from service.adapters.store.store import Store

                database = Database(self._url, patience=self._patience, durable=self._durable)
                self._store = Store(database)
            return self._store


def store_url(environment: Environment) -> str:
    """Where the store is: a file under UNDERSTUDY_HOME unless UNDERSTUDY_STORE_URL says otherwise."""
    return environment.store_url or f"sqlite:///{environment.home / 'store.db'}"


def filing(
    store: LazyStore,
) -> Callable[[Sequence[Given]], Awaitable[list[Filed | LabelConflict | LabelCount]]]:
    """Files labels in a thread of its own."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="feedback")

    def file(given: Sequence[Given]) -> list[Filed | LabelConflict | LabelCount]:
        return store().file(given)

    async def file_in_thread(given: Sequence[Given]) -> list[Filed | LabelConflict | LabelCount]:
        return await asyncio.get_running_loop().run_in_executor(pool, file, given)

    return file_in_thread
