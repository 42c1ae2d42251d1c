"""Figures for capacity plans are counted from what a replica shows and leaves behind."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from load_tests.footprint import LAYOUTS, RESTING, USUAL, Resting, series
from load_tests.growth import Growth, Store
from load_tests.soak import Sample
from service.settings import read_settings

PAGE = '# HELP a x\n# TYPE a counter\na_total{b="#"} 1\na_total{b="2"} 1\n\n# EOF\n'


def resting() -> Resting:
    edge, shadow = Sample(0, 1, 90, 70, 60), Sample(0, 2, 120, 100, 90)
    return Resting(USUAL, 4.0, {"edge": edge, "shadow": shadow}, 2, None, 2048)


def test_comments_are_no_series() -> None:
    assert series(PAGE) == 2


def test_a_store_is_what_its_tables_take_also_while_they_are_in_its_log(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE records (content BLOB)")
        writer.commit()
        store = Store(f"sqlite:///{path}")
        before = store.size()
        writer.executemany("INSERT INTO records VALUES (?)", [(bytes(1000),)] * 100)
        writer.commit()
        assert store.rows("records") == 100
        assert 100_000 < store.size() - before < 150_000
        store.close()
    writer.close()


def test_growth_is_scaled_to_a_million() -> None:
    found = Growth("sqlite", records=1_000, record_bytes=1 << 20, labels=100, label_bytes=1 << 10)
    assert found.per_million_records == pytest.approx(1_000.0)
    assert found.per_million_labels == pytest.approx(9.765625)
    assert Growth("sqlite", 0, 0, 0, 0).per_million_records == 0.0


def test_a_replica_holds_what_its_processes_hold() -> None:
    assert resting().pss == 170


def test_a_row_says_both_measures_of_memory_and_leaves_out_what_was_not_asked() -> None:
    found = dict(zip(RESTING, resting().row(), strict=True))
    assert found["of which PSS (RSS)"] == "edge 70 (90), shadow 100 (120)"
    assert found["under load"] == "-"


def test_layouts_are_settings_that_the_service_takes(tmp_path: Path) -> None:
    import yaml

    for number, layout in enumerate(LAYOUTS):
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(layout.config()))
        found = read_settings(path)
        assert found.server.workers == layout.workers
        assert tuple(found.candidates) == layout.candidates
    assert len(set(LAYOUTS)) == len(LAYOUTS)
