"""Every test of the store runs on SQLite, and on PostgreSQL where that is installed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from load_tests.postgres import Postgres
from service.adapters.store.database import Database
from service.adapters.store.store import Store
from tests.conftest import locate


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a server of its own, which listens on a Unix socket alone."""
    found = locate("postgres")
    assert found is not None
    # not in pytest's folder, which each new run closes to others again
    with tempfile.TemporaryDirectory(prefix="postgres-") as home:
        made = Postgres(found.resolve().parent, Path(home), {"fsync": "off", "max_connections": "20"})
        made.start()
        yield made.url
        made.stop()  # it would wait for whoever a failed test left connected


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.system("postgres"))])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: str = request.getfixturevalue("postgres")
    database = Database(server, patience=10)
    from sqlalchemy import text

    with database._engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    database.close()
    return server


@pytest.fixture
def make(url: str) -> Iterator[Callable[[], Store]]:
    """Opens the store anew, as another process would."""
    opened: list[Store] = []

    def store() -> Store:
        opened.append(Store(Database(url, patience=10, connections=4)))
        return opened[-1]

    yield store
    for one in opened:
        one.close()


@pytest.fixture
def store(make: Callable[[], Store]) -> Store:
    return make()
