"""A Prometheus of its own for a measurement, where it is installed, with the rules of ``deploy/prometheus``.

Its windows are shortened so that minutes show what otherwise takes a day; names stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from deploy.prometheus.files import text
from deploy.prometheus.promql import Group
from load_tests.server import HOST, Server, get, running

Labels: TypeAlias = frozenset[tuple[str, str]]
"""Of a series, its name among them as ``__name__``."""
Points: TypeAlias = list[tuple[float, float]]
"""Unix seconds and values."""
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    server: Server

    def instant(self, query: str) -> dict[Labels, float]:
        """The value of each series now."""
        found = self._result("query", {"query": query})
        return {_labels(each): float(each["value"][1]) for each in found}

    def recorded(self, selector: str, seconds: float) -> dict[Labels, Points]:
        """Every sample of the last ``seconds``, when it was written and what it is."""
        asked = {"query": f"{selector}[{seconds * 1000:.0f}ms]"}
        return {
            _labels(each): [(float(at), float(value)) for at, value in each["values"]]
            for each in self._result("query", asked)
        }

    def page(self) -> str:
        """What it says of itself, in Prometheus' text format."""
        return get(self.server.address, "/metrics")[1].decode()

    def groups(self) -> list[dict[str, Any]]:
        """Its rule groups, each with its rules, their health and last errors."""
        found: list[dict[str, Any]] = self._answer("rules", {})["groups"]
        return found

    def _result(self, what: str, asked: Mapping[str, str]) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._answer(what, asked)["result"]
        return found

    def _answer(self, what: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """Raises ``ValueError`` with Prometheus' own words where the query is wrong."""
        url = f"{self.server.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                found: dict[str, Any] = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{asked}: {error.read().decode()}") from error
        return found


def installed() -> Path | None:
    """The program, or None where it is not installed."""
    found = shutil.which("prometheus")
    return Path(found) if found else None


@contextlib.contextmanager
def prometheus(
    program: Path,
    targets: Iterable[str],
    groups: Sequence[Group],
    remember: Callable[[Path], None] = lambda _: None,
) -> Iterator[Prometheus]:
    """One that scrapes ``targets`` (HOST:PORT) every second; it stops with the block, and its data goes.

    Args:
        remember: puts what it shall know from before into the folder of its data.
    """
    home = Path(tempfile.mkdtemp(prefix="load-tests-"))
    (home / "rules.yml").write_text(text(groups), encoding="utf-8")
    job = {"job_name": "understudy", "static_configs": [{"targets": list(targets)}]}
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
        "rule_files": ["rules.yml"],
        "scrape_configs": [job],
    }
    (home / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")

    (home / "data").mkdir()
    remember(home / "data")

    def command(port: int) -> list[str]:
        return [
            str(program),
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'data'}",
            f"--web.listen-address={HOST}:{port}",
        ]

    with running(command, ready="/-/ready", home=home) as server:
        yield Prometheus(server)


def shortened(groups: Iterable[Group], windows: Mapping[str, str], interval: str) -> list[Group]:
    """The rules with every window of ``windows`` replaced by another, evaluated each ``interval``.

    Raises ``KeyError`` where a rule has a window that is not in ``windows``.
    """

    def short(expr: str) -> str:
        expr = re.sub(r"\[(\d+[smhd])\]", lambda found: f"[{windows[found[1]]}]", expr)
        return re.sub(r"\boffset (\d+[smhd])", lambda found: f"offset {windows[found[1]]}", expr)

    return [
        {
            **group,
            "interval": interval,
            "rules": [{**rule, "expr": short(rule["expr"])} for rule in group["rules"]],
        }
        for group in groups
    ]


def _labels(series: Mapping[str, Any]) -> Labels:
    return frozenset(series["metric"].items())
