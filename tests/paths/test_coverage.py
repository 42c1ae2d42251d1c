"""A label finds out whether the answered region held it, counts once, and moves later regions if it is to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.domain.coverage import Count, Counts, Part, together
from service.domain.labels import Answerer, Joined, Labelled, answerer
from service.domain.observation import ShadowBatch
from service.domain.schema import FeatureBatch
from service.domain.uncertainty.adaptation import adaptation_of
from service.domain.uncertainty.lac import LAC
from service.domain.uncertainty.measure import Asked, Material
from service.paths.coverage import Coverage, Watched
from tests.domain.uncertainty import shams
from tests.paths.shadows import origin_of

SLICES = ("owner",)


class World:
    """Production and a candidate that answer classes, with everything that is told about them."""

    def __init__(self, adapt: bool = False, models: int = 2) -> None:
        self.materials = [shams.classes(300, 3 + number, task="binary") for number in range(models)]
        self.counts: Counts = {}
        self.published: list[dict[str, Any]] = []
        self.now = 1_000.0
        self.watched = {
            number: self._watched(number, material) for number, material in enumerate(self.materials)
        }
        self.coverage = self.make(adapt)

    def make(self, adapt: bool) -> Coverage:
        return Coverage(self.watched, adapt, self._counted, self.published.append, clock=lambda: self.now)

    def _watched(self, number: int, material: Material) -> Watched:
        region = LAC.restore(material.spec, LAC.fit(material).arrays)
        tag = f"m:{number}"
        return Watched(tag, f"regions {tag}", region, 0.9, 2, lambda rows: rows, material.run, 2)  # type: ignore[arg-type]  # a Region

    def _counted(self, counts: Counts) -> None:
        self.counts = together((self.counts, counts))

    def batch(self, rows: FeatureBatch, scores: Any, answerers: Any, received: float = np.inf) -> ShadowBatch:
        count = len(rows)
        origin, senders = origin_of("id", rows=count), np.zeros(count, np.int16)
        return ShadowBatch(rows, scores, np.asarray(answerers, np.uint8), senders, received, origin)

    def labelled(self, number: int, labels: Any, kept: Any, scores: Any, owners: Any = None) -> Labelled:
        who = answerer(
            replace(self.materials[0].spec, version=str(number)),
            "canary" if number else "production",
            SLICES,
            self.coverage.judged_by(number),
        )
        count = len(labels)
        return Labelled(
            who,
            scores,
            np.asarray(labels, np.intp),
            who.predicted(scores),
            kept,
            np.zeros(count, np.uint32) if owners is None else np.asarray(owners, np.uint32),
            np.arange(count, dtype=float),
            np.arange(count, dtype=float) + 5,
        )

    def answered(self, number: int, material: Material, owners: Any = None, flip: bool = False) -> Labelled:
        """Rows that one model answered, judged as they were recorded, with their labels or the other ones."""
        kept = self.coverage.judge(
            self.batch(material.rows, material.scores, np.full(len(material.rows), number))
        )
        labels = 1 - material.labels if flip else material.labels
        return self.labelled(number, labels, kept, material.scores, owners)


def fresh(seed: int = 90, count: int = 200) -> Material:
    return shams.classes(count, seed, task="binary")


def covered_by(region: Any, material: Material, confidence: float = 0.9) -> Any:
    columns = region.columns(Asked(material.rows, material.scores, confidence))
    return columns["set"][np.arange(len(material.labels)), material.labels]


def test_a_row_is_covered_where_its_own_answer_held_the_label() -> None:
    world, new = World(), fresh()
    owners = (np.arange(200) < 50).astype(int)
    world.coverage.joined(Joined((world.answered(0, new, owners), world.answered(1, new))))
    inside = covered_by(world.watched[0].region, new)
    assert world.counts[Part("m:0", "production", "all")] == Count(200, int(inside.sum()))
    assert world.counts[Part("m:0", "production", "owner")] == Count(50, int(inside[:50].sum()))
    other = covered_by(world.watched[1].region, new)
    assert world.counts[Part("m:1", "canary", "all")] == Count(200, int(other.sum()))
    assert 0.8 < inside.mean() < 1


def test_rows_of_both_models_in_one_batch_are_judged_by_their_own() -> None:
    world, new = World(), fresh()
    who = np.arange(200) % 2
    kept = world.coverage.judge(world.batch(new.rows, new.scores, who))
    alone = [
        world.coverage.judge(world.batch(new.rows, new.scores, np.full(200, number))) for number in (0, 1)
    ]
    assert kept is not None
    for number in (0, 1):
        assert alone[number] is not None
        np.testing.assert_array_equal(kept[who == number], alone[number][who == number])  # type: ignore[index]  # checked


def test_a_candidate_is_judged_on_its_own_rows() -> None:
    world = World()
    seen: list[FeatureBatch] = []

    def project(rows: FeatureBatch) -> FeatureBatch:
        seen.append(rows)
        return rows[:, ::-1]

    world.watched[1] = replace(world.watched[1], project=project)
    world.coverage = world.make(False)
    new = fresh()
    world.coverage.judge(world.batch(new.rows, new.scores, np.arange(200) % 2))
    (rows,) = seen
    np.testing.assert_array_equal(rows, new.rows[1::2])


def test_nothing_is_kept_where_no_model_has_regions() -> None:
    world, new = World(models=0), fresh()
    assert world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200))) is None


def test_models_that_need_less_leave_the_first_columns_empty() -> None:
    world, new = World(), fresh()
    world.watched[1] = replace(world.watched[1], width=3)
    kept = world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200)))
    assert kept is not None
    assert kept.shape == (200, 5)
    assert np.isnan(kept[:, 0]).all()
    assert not np.isnan(kept[:, 1:]).any()
    world.coverage.joined(Joined((world.labelled(0, new.labels, kept, new.scores),)))
    assert world.counts[Part("m:0", "production", "all")].labelled == 200


@pytest.mark.parametrize("kept", [None, np.full((200, 4), np.nan), np.zeros((200, 1))])
def test_rows_that_were_recorded_without_evidence_are_not_counted(kept: Any) -> None:
    world, new = World(adapt=True), fresh()
    batch = world.labelled(0, new.labels, kept, new.scores)
    assert world.coverage.learn((batch,), {}) == {}
    world.coverage.joined(Joined((batch,)))
    assert world.counts == {}
    assert world.published == []


def test_answers_of_a_model_that_is_gone_or_was_packaged_anew_are_not_judged() -> None:
    world, new = World(adapt=True), fresh()
    batch = world.answered(0, new)
    for other in ("", "regions m:0 of another bundle"):
        gone: Answerer = replace(batch.answerer, judged_by=other)
        assert world.coverage.learn((replace(batch, answerer=gone),), {}) == {}
        world.coverage.joined(Joined((replace(batch, answerer=gone),)))
    assert world.counts == {}
    assert world.coverage.judged_by(7) == ""


def test_regions_stay_as_they_are_unless_they_are_to_follow() -> None:
    world, new = World(adapt=False), fresh()
    batch = world.answered(0, new, flip=True)
    assert world.coverage.learn((batch,), {}) == {}
    world.coverage.joined(Joined((batch,)))
    again = world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200)))
    np.testing.assert_array_equal(again, batch.evidence)
    assert world.published == []


def follow(world: World, learnt: dict[str, bytes], batch: Labelled) -> None:
    learnt.update(world.coverage.learn((batch,), learnt))
    world.coverage.joined(Joined((batch,)))


def test_missed_labels_make_later_sets_larger_and_the_edges_are_told() -> None:
    world, learnt = World(adapt=True), {}
    for seed in range(5):
        follow(world, learnt, world.answered(0, fresh(seed), flip=True))
    static = world.watched[0].region
    told = adaptation_of(world.published[-1]["m:0"])
    assert told.labelled == 1000
    assert (told.thresholds(static, 0.9) > static.thresholds(0.9)).all()
    assert "m:1" not in world.published[-1]
    new = fresh(99)
    kept = world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200)))
    assert kept is not None
    np.testing.assert_allclose(kept[:, 2:], np.tile(told.thresholds(static, 0.9), (200, 1)))


def test_rows_are_judged_by_what_edges_answered_with_when_they_came() -> None:
    world, learnt, new = World(adapt=True), {}, fresh(50)
    kept: list[Any] = []
    for seed in range(300):
        follow(world, learnt, world.answered(0, fresh(seed, 5), flip=seed % 20 < 5))
        now = world.batch(new.rows, new.scores, np.zeros(200), received=world.now + 0.6)
        kept.append(world.coverage.judge(now))
        world.now += 1.0

    def at(received: float) -> Any:
        return world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200), received))

    for ago in (1, 7, 60):
        np.testing.assert_array_equal(at(world.now - ago + 0.6), kept[-ago])
        assert (kept[-ago] != kept[-ago - 10]).any()
    assert len(world.coverage._told) <= 120
    first = World(adapt=True)
    first.coverage.restore(learnt)  # edges go on with what was told before this process began
    np.testing.assert_array_equal(
        first.coverage.judge(first.batch(new.rows, new.scores, np.zeros(200), 0.0)), at(np.inf)
    )


def test_coverage_is_counted_with_what_was_in_force_at_the_answer() -> None:
    world, learnt, new = World(adapt=True), {}, fresh(50)
    early = world.answered(0, new)
    for seed in range(5):
        follow(world, learnt, world.answered(0, fresh(seed), flip=True))
    world.counts = {}
    world.coverage.joined(Joined((early,)))
    inside = covered_by(world.watched[0].region, new)
    assert world.counts[Part("m:0", "production", "all")] == Count(200, int(inside.sum()))


def test_what_was_learnt_survives_a_restart() -> None:
    world, learnt = World(adapt=True), {}
    for seed in range(3):
        follow(world, learnt, world.answered(0, fresh(seed), flip=True))
    before = world.published[-1]
    world.coverage = world.make(True)
    world.coverage.restore(learnt)
    assert world.published[-1] == before
    batch = world.answered(0, fresh(7), flip=True)
    follow(world, learnt, batch)
    assert adaptation_of(world.published[-1]["m:0"]).labelled == 800


def test_what_another_replica_learnt_is_taken_up_and_what_nobody_knows_any_more_is_forgotten() -> None:
    world, other, learnt = World(adapt=True), World(adapt=True), {}
    follow(other, learnt, other.answered(0, fresh(), flip=True))
    world.coverage.restore(learnt)
    assert world.published[-1] == other.published[-1]
    new = fresh(99)
    moved = world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200)))
    world.coverage.restore({})
    assert world.published[-1] == {}
    still = world.coverage.judge(world.batch(new.rows, new.scores, np.zeros(200)))
    assert moved is not None
    assert still is not None
    assert (moved[:, 2:] != still[:, 2:]).all()


def test_edges_are_told_to_forget_where_regions_no_longer_follow() -> None:
    world, learnt = World(adapt=True), {}
    follow(world, learnt, world.answered(0, fresh(), flip=True))
    world.coverage = world.make(False)
    world.coverage.restore(learnt)
    assert world.published[-1] == {}


def test_nobody_is_told_what_a_step_that_failed_would_have_taught() -> None:
    world = World(adapt=True)
    world.coverage.learn((world.answered(0, fresh(), flip=True),), {})
    world.coverage.joined(Joined())  # another replica was first
    assert world.published == []


def test_a_step_that_is_repeated_is_learnt_from_once() -> None:
    world = World(adapt=True)
    batch = world.answered(0, fresh(), flip=True)
    first = world.coverage.learn((batch,), {})
    assert world.coverage.learn((batch,), {}) == first
    assert world.published == []
    world.coverage.joined(Joined((batch,)))
    assert adaptation_of(world.published[-1]["m:0"]).labelled == 200


def test_another_bundle_or_a_damaged_state_starts_anew() -> None:
    world, learnt = World(adapt=True), {}
    follow(world, learnt, world.answered(0, fresh(), flip=True))
    for broken in ({"regions m:0": b"{"}, {"regions other": learnt["regions m:0"]}):
        world.coverage = world.make(True)
        batch = world.answered(0, fresh(3))
        states = world.coverage.learn((batch,), broken)
        world.coverage.joined(Joined((batch,)))
        assert set(states) == {"regions m:0"}
        assert adaptation_of(world.published[-1]["m:0"]).labelled == 200
