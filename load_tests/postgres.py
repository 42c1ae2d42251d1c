"""A PostgreSQL server of its own for a measurement or a fault, where the programs are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

OFF_THE_PATH = Path("/usr/lib/postgresql")
"""Where Debian keeps programs of several versions, each in VERSION/bin."""
NOBODY = 65_534
"""PostgreSQL refuses to run as root."""


def installed() -> Path | None:
    """The folder with the server's programs, or None where it is not installed."""
    beside = sorted(OFF_THE_PATH.glob("*/bin/postgres"))
    found = shutil.which("postgres") or (str(beside[-1]) if beside else None)
    return Path(found).resolve().parent if found else None


class Postgres:
    """A server whose files are in ``home``, that can be made to fail in every way but by fire.

    Args:
        programs: see ``installed``.
        home: an existing empty folder.
        settings: of the server, over its defaults.
    """

    def __init__(self, programs: Path, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self._programs = programs
        self._home = home
        self._user: dict[str, Any] = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
        self._environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)}
        own = {"listen_addresses": "", "unix_socket_directories": str(home)}
        self._settings = [part for name, value in (own | dict(settings or {})).items()
                          for part in ("-c", f"{name}={value}")]  # fmt: skip
        self._running: subprocess.Popen[bytes] | None = None
        if self._user:
            os.chown(home, NOBODY, NOBODY)
            home.parent.chmod(home.parent.stat().st_mode | 0o011)
        self._call("initdb", "-D", home / "data", "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def home(self) -> Path:
        """Where its files are."""
        return self._home

    @property
    def url(self) -> str:
        """As UNDERSTUDY_STORE_URL has it."""
        return f"postgresql+psycopg://tester@/postgres?host={self._home}"

    @property
    def plain_url(self) -> str:
        """As PostgreSQL's own programs have it."""
        return self.url.replace("+psycopg", "")

    def start(self) -> None:
        """Returns once it takes connections; raises ``RuntimeError``."""
        with (self._home / "log").open("ab") as log:
            self._running = subprocess.Popen(
                [self._programs / "postgres", "-D", self._home / "data", *self._settings],
                env=self._environment, cwd=self._home,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._user,
            )  # fmt: skip
        ready = [str(self._programs / "pg_isready"), "-h", str(self._home), "-t", "30", "-q"]
        while subprocess.run(ready, env=self._environment, check=False).returncode:
            if self._running.poll() is not None:
                told = (self._home / "log").read_text(errors="replace").splitlines()[-10:]
                raise RuntimeError("PostgreSQL did not start: " + "\n".join(told))
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT hangs up on everybody first; SIGQUIT drops everything, as a crash would."""
        if self._running is not None:
            self.thaw()
            self._running.send_signal(how)
            self._running.wait(60)
            self._running = None

    def freeze(self) -> None:
        """From now on it answers nothing, and its machine takes what is sent: a disk that hangs, say."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Goes on."""
        self._signal(signal.SIGCONT)

    def run(self, program: str, *arguments: str) -> None:
        """One of its programs, on its only database; raises ``CalledProcessError``."""
        self._call(program, "--dbname", self.plain_url, *arguments)

    def _call(self, program: str, *arguments: str | Path) -> None:
        subprocess.run(
            [self._programs / program, *arguments],
            check=True, capture_output=True, env=self._environment, cwd=self._home, **self._user,
        )  # fmt: skip

    def _signal(self, number: signal.Signals) -> None:
        if self._running is None:
            return
        first = psutil.Process(self._running.pid)
        for each in (first, *first.children()):  # the first one first: it starts no others meanwhile
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)


@contextlib.contextmanager
def server(programs: Path, home: Path) -> Iterator[str]:
    """The URL of a server with default settings whose files are in ``home``; it stops with the block."""
    made = Postgres(programs, home)
    try:
        made.start()
        yield made.url
    finally:
        made.stop()
