"""A store of an earlier service is taken over with all that it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from string import Template

import numpy as np
import pytest
from sqlalchemy import Connection, insert, inspect, select, text

from service.adapters.store.database import Database
from service.adapters.store.store import Store
from service.adapters.store.tables import METADATA, PAIRINGS, SCHEMA, TOTALS
from service.adapters.store.upgrades import STEPS, upgrade
from service.domain.labels import Filed, LabelConflict
from service.errors import StoreError
from tests.adapters.store.answers import CREDIT, Pupil, given
from tests.adapters.store.comparisons import ALL, Judge, answers, batch, key, total
from tests.adapters.store.counts import SLOT, read, rows

VERSION_1 = """
CREATE TABLE understudy_schema (version INTEGER NOT NULL);
CREATE TABLE answerers (
    id $NUMBER NOT NULL,
    digest VARCHAR(64) NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (digest)
);
CREATE TABLE records (
    id $ID NOT NULL,
    request_id VARCHAR(128) NOT NULL,
    first INTEGER NOT NULL,
    total INTEGER NOT NULL,
    rows INTEGER NOT NULL,
    answered_at $REAL NOT NULL,
    answerer INTEGER NOT NULL,
    joined INTEGER NOT NULL,
    scores $BYTES NOT NULL,
    evidence $BYTES,
    slices $BYTES,
    PRIMARY KEY (id),
    UNIQUE (request_id, first)
);
CREATE TABLE deliveries (
    id $ID NOT NULL,
    request_id VARCHAR(128) NOT NULL,
    number INTEGER NOT NULL,
    labels TEXT NOT NULL,
    labelled_at $REAL NOT NULL,
    state SMALLINT NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (request_id, number)
);
CREATE INDEX deliveries_open ON deliveries (state, id) WHERE state < 2;
CREATE TABLE knowledge (
    key VARCHAR(255) NOT NULL,
    value $BYTES NOT NULL,
    PRIMARY KEY (key)
);
INSERT INTO understudy_schema VALUES (1);
INSERT INTO answerers VALUES (1, 'd5', '{"arm": "production", "classes": ["bad", "good"], "judged_by": "",
    "slices": ["young", "rent"], "tag": "credit:1", "task": "binary", "threshold": 0.5}');
INSERT INTO records VALUES (1, 'learnt', 0, 1, 1, 1000.0, 1, 1, :scores, NULL, NULL);
INSERT INTO records VALUES (2, 'fresh', 0, 1, 1, 1000.0, 1, 0, :scores, NULL, NULL);
INSERT INTO deliveries VALUES (1, 'learnt', 0, '["good"]', 2000.0, 2);
INSERT INTO deliveries VALUES (2, 'early', 0, '["bad"]', 2000.0, 1);
INSERT INTO deliveries VALUES (3, 'fresh', 0, '["good"]', 2000.0, 0);
INSERT INTO knowledge VALUES ('credit:1', :learnt)
"""
"""What the first service's tables were, with an answer that was learnt from, one whose label is new, and a
label whose answer is not there yet. Never changes."""


@pytest.fixture
def old(url: str) -> str:
    """A store of version 1."""
    words = {
        "sqlite": {"ID": "INTEGER", "NUMBER": "INTEGER", "REAL": "DOUBLE", "BYTES": "BLOB"},
        "postgresql": {"ID": "BIGSERIAL", "NUMBER": "SERIAL", "REAL": "DOUBLE PRECISION", "BYTES": "BYTEA"},
    }
    database = Database(url, patience=10)
    values = {"scores": np.array([0.25, 0.75], dtype="<f4").tobytes(), "learnt": b"1"}
    with database._engine.begin() as connection:
        chosen = words[connection.dialect.name]
        for statement in Template(VERSION_1).substitute(chosen).split(";"):
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement.replace('": ', '"\\: ')), used)
        if connection.dialect.name == "postgresql":  # as if it had numbered them itself
            for table in ("records", "deliveries"):
                connection.execute(text(f"SELECT setval('{table}_id_seq', 10)"))
            connection.execute(text("SELECT setval('answerers_id_seq', 10)"))
    database.close()
    return url


def test_labels_of_a_first_version_meet_answers_and_candidates(old: str, make: Callable[[], Store]) -> None:
    store, pupil, judge = make(), Pupil(), Judge()
    assert store.learnt() == {"credit:1": b"1"}
    assert store.add(
        batch(1, {7: {ALL: [1]}}, answers=[answers("learnt"), answers("early"), answers("fresh")])
    )
    found = store.join(pupil, judge)
    assert (pupil.rows, found.paired) == (1, 3)
    (fresh,) = pupil.batches
    assert (fresh.answerer, fresh.scores.tolist()) == (CREDIT, [[0.25, 0.75]])
    assert store.learnt() == {"credit:1": b"2"}
    assert total(store.sums(key())[0], ALL) == [1]
    assert store.file([given("learnt", "good")]) == [Filed(True, False)]
    assert isinstance(store.file([given("early", "good")])[0], LabelConflict)


def test_an_upgraded_store_is_like_a_new_one(old: str, make: Callable[[], Store]) -> None:
    def tables(connection: Connection) -> dict[str, object]:
        seen = inspect(connection)
        return {
            name: (
                [(one["name"], str(one["type"]), one["nullable"]) for one in seen.get_columns(name)],
                seen.get_pk_constraint(name)["constrained_columns"],
                sorted(one["column_names"] for one in seen.get_unique_constraints(name)),
                sorted(
                    (str(one["name"]), one["column_names"])
                    for one in seen.get_indexes(name)
                    if "duplicates_constraint" not in one
                ),
            )
            for name in seen.get_table_names()
        }

    store = make()
    store.learnt()
    with store._database.begin() as connection:
        upgraded = tables(connection)
        METADATA.drop_all(connection)
        upgrade(connection)
        new = tables(connection)
    assert set(new) == set(METADATA.tables)
    assert upgraded == new


def test_the_first_service_refuses_a_store_that_was_upgraded(old: str, make: Callable[[], Store]) -> None:
    store = make()
    store.learnt()
    with store._database.begin() as connection:
        with pytest.raises(StoreError, match="version 4, this service knows them up to 1"):
            upgrade(connection, ())
        assert connection.execute(select(SCHEMA.c.version)).scalar_one() == 4


def test_evidence_of_a_second_version_stays_and_rows_by_bin_are_taken(
    old: str, make: Callable[[], Store]
) -> None:
    database = Database(old, patience=10)
    with database._engine.begin() as connection:  # what the second service made of it
        upgrade(connection, STEPS[:1])
        assert connection.execute(select(SCHEMA.c.version)).scalar_one() == 2
        judge = {"digest": "0" * 32, "production": "credit:1", "candidate": "credit:2"}
        connection.execute(insert(PAIRINGS).values(id=7, description="", since=1.0, written_at=2.0, **judge))
        sums = np.array([5.0]).astype("<f8").tobytes()
        connection.execute(insert(TOTALS).values(pairing=7, book=ALL.book, page=ALL.name, sums=sums))
    database.close()
    store = make()
    assert store.add_rows(rows(1, {SLOT: [1, 2]}))
    assert total(store.sums(key())[0], ALL) == [5]
    assert read(store) == {SLOT: [1, 2]}


def test_services_that_upgrade_at_once_upgrade_once(old: str, make: Callable[[], Store]) -> None:
    stores, gate, outcomes = [make() for _ in range(4)], threading.Barrier(4, timeout=60), []

    def work(number: int) -> None:
        gate.wait()
        outcomes.append(stores[number].add(batch(1, {7: {ALL: [1]}}, writer=f"{number:032d}")))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [True] * 4
    assert total(stores[0].sums(key())[0], ALL) == [4]
