"""Every kind of mistake in a manifest is refused by the check that is there for it, and told by its place."""

from __future__ import annotations

import pytest

from tests.deploy import custom
from tests.deploy.checks import CHECKS, CUSTOM
from tests.deploy.faults import FAULTS
from tests.deploy.manifests import COMPOSITIONS, changed, composed, of_kind
from tests.deploy.places import Fault

LISTED = [
    pytest.param(check, fault, id=f"{check}: {fault.message}") for check in FAULTS for fault in FAULTS[check]
]


@pytest.mark.parametrize(("check", "fault"), LISTED)
def test_a_fault_is_refused_by_its_check(check: str, fault: Fault) -> None:
    if check in CUSTOM and not custom.SCHEMAS.is_dir():
        pytest.skip(f"needs the schemas of custom resources in {custom.SCHEMAS}")
    before, after = composed(fault.composition), changed(composed(fault.composition), fault.place, fault.new)
    problems = set(CHECKS[check](after)) - set(CHECKS[check](before))
    assert any(fault.message in problem for problem in problems), problems


def test_an_object_that_is_there_twice_is_refused() -> None:
    once = composed("production")
    assert CHECKS["identity"]([*once, once[0]]) == [f"{once[0]['kind']}/understudy: is there 2 times"]


def test_an_autoscaler_of_kubernetes_beside_one_of_keda_is_refused() -> None:
    (own,) = of_kind(composed("production"), "HorizontalPodAutoscaler")
    both = "HorizontalPodAutoscaler/understudy and ScaledObject/understudy"
    assert f"Deployment/understudy: is scaled by {both}" in CHECKS["scaling"](
        [*composed("production with keda"), own]
    )


def test_every_check_has_a_fault_that_it_is_for() -> None:
    assert FAULTS.keys() == CHECKS.keys()
    assert {fault.composition for listed in FAULTS.values() for fault in listed} <= COMPOSITIONS.keys()
    assert len(LISTED) > 100
