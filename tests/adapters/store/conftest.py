"""Every test of the store runs on SQLite, and on PostgreSQL where that is installed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.adapters.store.database import Database
from service.adapters.store.store import Store
from tests.conftest import locate

NOBODY = 65_534
"""PostgreSQL refuses to run as root."""


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of its own, which listens on a Unix socket alone."""
    found = locate("postgres")
    assert found is not None
    tools = found.resolve().parent
    home = tmp_path_factory.mktemp("postgres")
    user = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
    if user:
        os.chown(home, NOBODY, NOBODY)
        for parent in (home, *home.parents[:2]):  # pytest's own folders are closed to others
            parent.chmod(parent.stat().st_mode | 0o011)
    data = home / "data"
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(home),
        "fsync": "off",
        "max_connections": 20,
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)}
    subprocess.run(
        [tools / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, env=environment, cwd=home, **user,
    )  # fmt: skip
    with subprocess.Popen(
        [tools / "postgres", "-D", data, *options],
        env=environment, cwd=home, stderr=subprocess.DEVNULL, **user,
    ) as server:  # fmt: skip
        try:
            ready = [tools / "pg_isready", "-h", home, "-t", "30", "-q"]
            while subprocess.run(ready, env=environment, check=False).returncode:
                assert server.poll() is None, "PostgreSQL did not start"
            yield f"postgresql+psycopg://tester@/postgres?host={home}"
        finally:
            server.send_signal(signal.SIGINT)  # it would wait for whoever a failed test left connected


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
