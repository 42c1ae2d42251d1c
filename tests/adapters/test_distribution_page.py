"""The page of rows by bin: what Prometheus reads is what was counted, under names that need care."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.adapters.distribution_page import FAMILIES, Counted, DistributionPage
from service.domain.drift.slots import ModelKey
from tests.conftest import locate

PRODUCTION = ModelKey("credit:gbm-1", "production", "0" * 32)
SHADOW = ModelKey("credit:gbm-2", "candidate", "1" * 32)
NASTY = 'is "a\\b"\nc{}=,é'


@dataclass(frozen=True)
class Variable:
    name: str
    names: tuple[str, ...]
    reference: tuple[int, ...]


SCORE = Variable("score", ("00 below 0.1", "01 above 0.9", "missing"), (4, 5, 0))
HOME = Variable('feature:Ho"me', ("is rent", NASTY, "missing", "unseen"), (7, 1, 1, 0))


def counted(model: ModelKey = PRODUCTION, *variables: Variable, tells: bool = True) -> Counted:
    return Counted(model, variables or (SCORE, HOME), tells)


def read(page: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    """By name, and labels in the order of the family."""
    orders: Mapping[str, tuple[str, ...]] = {family.name: family.labels for family in FAMILIES}
    return {
        (sample.name, tuple(sample.labels[name] for name in orders[sample.name])): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_every_bin_is_there_with_its_rows_and_its_reference() -> None:
    page = DistributionPage([counted()])
    found = read(page.text([np.array([1, 2, 3, 4, 5, 6, 7, 30, 10], np.float64)]))
    where = ("credit", "gbm-1")
    rows = {
        (variable.name, name): float(count)
        for variable, counts in ((SCORE, (1, 2, 3)), (HOME, (4, 5, 6, 7)))
        for name, count in zip(variable.names, counts, strict=True)
    }
    references = {
        (variable.name, name): float(count)
        for variable in (SCORE, HOME)
        for name, count in zip(variable.names, variable.reference, strict=True)
    }
    assert found == {
        **{
            ("understudy_distribution_rows_total", (*where, "production", *key)): count
            for key, count in rows.items()
        },
        **{("understudy_reference_rows", (*where, *key)): count for key, count in references.items()},
        ("understudy_two_sample_rows_total", (*where, "true")): 30.0,
        ("understudy_two_sample_rows_total", (*where, "false")): 10.0,
    }


def test_bins_without_a_row_are_there_from_the_start() -> None:
    found = read(DistributionPage([counted()]).text([np.zeros(9)]))
    assert sum(name == "understudy_distribution_rows_total" for name, _ in found) == 7


def test_models_and_roles_are_told_apart_and_a_reference_is_shown_once() -> None:
    both = SHADOW._replace(tag=PRODUCTION.tag)
    page = DistributionPage(
        [counted(PRODUCTION, SCORE), counted(SHADOW, SCORE, tells=False), counted(both, SCORE)]
    )
    text = page.text([np.full(5, 1.0), np.full(5, 2.0), np.full(5, 3.0)])
    found = read(text)
    rows = {labels[:3]: value for (name, labels), value in found.items() if "distribution" in name}
    assert rows == {
        ("credit", "gbm-1", "production"): 1,
        ("credit", "gbm-2", "candidate"): 2,
        ("credit", "gbm-1", "candidate"): 3,
    }
    assert text.count(b"understudy_reference_rows{") == 6
    assert {labels[1] for name, labels in found if "two_sample" in name} == {"gbm-1"}


def test_a_family_nobody_counts_is_not_shown() -> None:
    text = DistributionPage([counted(tells=False)]).text([np.zeros(9)])
    assert b"two_sample" not in text


def test_many_rows_keep_every_digit() -> None:
    many = float(2**53 - 1)
    found = read(DistributionPage([counted(PRODUCTION, SCORE)]).text([np.full(5, many)]))
    assert max(found.values()) == many
    assert str(2**53 - 1).encode() in DistributionPage([counted(PRODUCTION, SCORE)]).text([np.full(5, many)])


@pytest.mark.system("promtool")
def test_promtool_finds_nothing_to_say() -> None:
    text = DistributionPage([counted(), counted(SHADOW)]).text([np.arange(9.0), np.arange(9.0)])
    program = locate("promtool")
    assert program is not None
    done = subprocess.run(
        [program, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
