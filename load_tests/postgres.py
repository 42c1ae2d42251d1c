"""A PostgreSQL server of its own for a measurement, where the programs are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OFF_THE_PATH = Path("/usr/lib/postgresql")
"""Where Debian keeps programs of several versions, each in VERSION/bin."""
NOBODY = 65_534
"""PostgreSQL refuses to run as root."""


def installed() -> Path | None:
    """The folder with the server's programs, or None where it is not installed."""
    beside = sorted(OFF_THE_PATH.glob("*/bin/postgres"))
    found = shutil.which("postgres") or (str(beside[-1]) if beside else None)
    return Path(found).resolve().parent if found else None


@contextlib.contextmanager
def server(programs: Path, home: Path) -> Iterator[str]:
    """The URL of a server with default settings whose files are in ``home``; it stops with the block."""
    user: dict[str, Any] = {"user": NOBODY, "group": NOBODY} if os.getuid() == 0 else {}
    if user:
        os.chown(home, NOBODY, NOBODY)
        home.parent.chmod(home.parent.stat().st_mode | 0o011)
    data = home / "data"
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(home)}
    make = [str(programs / "initdb"), "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8"]
    subprocess.run(
        make,
        check=True, capture_output=True, env=environment, cwd=home, **user,
    )  # fmt: skip
    settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={home}"]
    with subprocess.Popen(
        [programs / "postgres", "-D", data, *settings],
        env=environment, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **user,
    ) as running:  # fmt: skip
        try:
            ready = [str(programs / "pg_isready"), "-h", str(home), "-t", "30", "-q"]
            while subprocess.run(ready, env=environment, check=False).returncode:
                if running.poll() is not None:
                    raise RuntimeError("PostgreSQL did not start")
            yield f"postgresql+psycopg://tester@/postgres?host={home}"
        finally:
            running.send_signal(signal.SIGINT)
