"""Nothing that a manifest says can be left out unnoticed, but for what is listed with its reason."""

from __future__ import annotations

import re
from functools import cache

import pytest

from tests.deploy import custom
from tests.deploy.checks import CHECKS
from tests.deploy.manifests import DROP, Document, called, changed, composed, leaves

SWEPT = ("bundles", "gateway", "keda", "monitoring")
SOURCES = ("production", "small", *(f"production with {each}" for each in SWEPT))
"""Whose objects are swept; besides `production` those that it does not have, or not so."""
GENERATED = ("PrometheusRule/", "ConfigMap/understudy-dashboard-")
"""Written by programs, whose own tests hold them."""
NAMELESS = re.compile(r"apiVersion|kind|(spec\.volumeClaimTemplates\[0\]\.)?metadata(\.name)?")
"""Without these it is no object, and nothing renders."""
LABEL = r"\[app\.kubernetes\.io/(component|part-of)\]"
SPARED = {
    r"\S+ metadata\.(labels|annotations)(\[.*\]|\..*)?": "for people and tools; selectors look at pods",
    rf"\S+ .*([sS]elector|matchLabels|template\.metadata\.labels){LABEL}": "the name is enough",
    r"Service/\S+ spec\.ports\[\w+\]\.(appProtocol|name)": "for meshes, and for monitors of Services",
    r"Service/understudy-postgresql spec\.clusterIP": "with an address of its own it works, too",
    r"\S+ spec\.(minReadySeconds|progressDeadlineSeconds|revisionHistoryLimit)": "only a rollout differs",
    r"Deployment/\S+ .*\.env\[UNDERSTUDY_ADMIN_TOKEN\]": "administration is off by choice",
    r"Deployment/\S+ .*(liveness|startup)Probe\.periodSeconds": "as long, or nearly, with the default",
    r"Deployment/\S+ .*\.(matchLabelKeys(\[0\])?|nodeTaintsPolicy)": "a finer spread, not needed",
    r"Deployment/\S+ .*persistentVolumeClaim\.readOnly": "the mounts say it",
    r"\S+ .*[bB]ehavior\.scaleUp(\..*)?": "the default is as quick",
    r"NetworkPolicy/\S+ .*\.ports\[\d\]\.protocol": "TCP is the default",
    r"NetworkPolicy/\S+ spec\.(ingress\[\d\]\.from|egress\[\d\]\.to)\[\d\]": "fewer pass, as users narrow it",
    r"NetworkPolicy/understudy-monitoring .*\.from\[0\]\.podSelector(\..*)?": "any pod beside Prometheus",
    r"StatefulSet/\S+ .*\.metadata\.labels(\[.*\])?": "for people and tools",
    r"StatefulSet/\S+ spec\.persistentVolumeClaimRetentionPolicy(\.\w+)?": "retained by default",
    r"StatefulSet/\S+ spec\.replicas": "one is the default",
    r"StatefulSet/\S+ .*\[postgresql\]\.(args|env)(\[.*\])?": "the database's own settings",
    r"StatefulSet/\S+ .*Probe\.exec\.command\[\d\]": "the database's own program",
    r"StatefulSet/\S+ .*(liveness|startup)Probe(\.\w+)?": "without one it is slower to see what is wrong",
    r"StatefulSet/\S+ .*(volumeMounts\[password\]\.readOnly|secret\.items(\[0\])?)": "never writable",
    r"StatefulSet/\S+ .*(fsGroupChangePolicy|terminationGracePeriodSeconds|medium)": "slower, not wrong",
    r"HTTPRoute/\S+ .*\.(weight|method|path\.type|matches\[\d\])": "test_progressive.py asks what is reached",
    r"HTTPRoute/\S+ .*\.timeouts(\.\w+)?": "the service has time-outs of its own",
    r"ScaledObject/\S+ spec\.(pollingInterval|fallback\.behavior|scaleTargetRef\.kind)": "the default does",
    r"ScaledObject/\S+ spec\.triggers\[\w+\](\.(name|metricType))?": "one reason is one",
    r"PodMonitor/\S+ spec\.(sampleLimit|.*\.(interval|path|scrapeTimeout))": "the operator has defaults",
    r"PersistentVolumeClaim/\S+ spec\.(storageClassName|volumeName)": "another volume, of the user's",
}
"""What may be left out, by its place, and why."""


def swept(source: str) -> list[Document]:
    """Objects of a composition, but for those of `production`."""
    usual = composed("production")
    if source == "production":
        return list(usual)
    new = [each for each in composed(source) if each not in usual]
    if source == "small":  # has the same in a namespace
        new = [each for each in new if called(each) not in {called(other) for other in usual}]
    return [each for each in new if not called(each).startswith(GENERATED)]


@cache
def unnoticed(source: str) -> tuple[str, ...]:
    """Places of a composition's objects that no check misses."""
    places = [
        f"{called(each)} {path}"
        for each in swept(source)
        for path in leaves(each)
        if not NAMELESS.fullmatch(path)
    ]
    dropped = ((place, changed(composed(source), place, DROP)) for place in places)
    return tuple(place for place, left in dropped if not any(check(left) for check in CHECKS.values()))


pytestmark = pytest.mark.skipif(
    not custom.SCHEMAS.is_dir(), reason=f"needs the schemas of custom resources in {custom.SCHEMAS}"
)


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_left_out_unnoticed(source: str) -> None:
    assert [
        place for place in unnoticed(source) if not any(re.fullmatch(each, place) for each in SPARED)
    ] == []


@pytest.mark.parametrize("pattern", SPARED)
def test_nothing_is_spared_that_a_check_would_miss(pattern: str) -> None:
    places = [place for source in SOURCES for place in unnoticed(source)]
    assert any(re.fullmatch(pattern, place) for place in places), SPARED[pattern]


def test_most_of_what_manifests_say_is_missed() -> None:
    said = sum(1 for source in SOURCES for each in swept(source) for _ in leaves(each))
    assert said > 700
    assert sum(len(unnoticed(source)) for source in SOURCES) < said / 4
