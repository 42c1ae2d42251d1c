"""Figures for capacity plans are counted from what a replica shows and leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from load_tests.footprint import Growth, Resting, series, stored_bytes
from load_tests.soak import Sample

PAGE = '# HELP a x\n# TYPE a counter\na_total{b="#"} 1\na_total{b="2"} 1\n\n# EOF\n'


def test_comments_are_no_series() -> None:
    assert series(PAGE) == 2


def test_a_store_is_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    for name in ("store.db", "store.db-wal", "server.log"):
        (tmp_path / "home" / name).write_bytes(b"x" * 100)
    assert stored_bytes(tmp_path) == 200


def test_growth_is_scaled_to_a_million_rows() -> None:
    assert Growth(rows=1_000, bytes=1 << 20).per_million == pytest.approx(1_000.0)


def test_a_replica_holds_what_its_processes_hold() -> None:
    edge, shadow = Sample(0, 1, 90, 70, 60), Sample(0, 2, 120, 100, 90)
    resting = Resting("a:1", "a:2", 4.0, {"edge": edge, "shadow": shadow}, 2, 10)
    assert resting.pss == 170
