"""Scenes of traffic that drifts, and of drift that nobody sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from load_tests.recorded import sample
from service.domain.drift.alerting import ACCURACY, EXCESS, PAGE_EXCESS, SLOW_EXCESS
from service.domain.drift.psi_excess import PsiExcess
from tests.deploy.scenes import Labels, Scene, grown, held, steady

MODEL = {"model": "credit", "version": "gbm-1"}
AGE = "feature:Age"
BINS = tuple(f"{place:02} {place} to {place + 1}" for place in range(1, 13))
FLAT = dict.fromkeys(BINS, 1.0)
ELSEWHERE = ({"model": "digits"}, {"version": "gbm-2"}, {"variable": "score"})
"""What differs from ``MODEL`` and ``AGE`` in one label."""


def tilted(slope: float) -> dict[str, float]:
    """Shares that grow or fall by a factor from bin to bin."""
    weights = np.exp(slope * np.linspace(-1, 1, len(BINS)))
    return dict(zip(BINS, (weights / weights.sum()).tolist(), strict=True))


def drifted(excess: float, rows: float, known: float) -> dict[str, float]:
    """Shares whose bias-corrected PSI against as many rows in every bin is ``excess``."""
    reference = {name: known / len(BINS) for name in BINS}
    low, high = 0.0, 6.0
    while high - low > 1e-9:
        slope = (low + high) / 2
        live = {name: rows * share for name, share in tilted(slope).items()}
        if PsiExcess().value(sample(reference, live)) < excess:
            low = slope
        else:
            high = slope
    return tilted(high)


def counted(
    scene: Scene,
    known: Mapping[str, float],
    phases: Sequence[tuple[float, int, Mapping[str, float]]],
    role: str = "production",
    variable: str = AGE,
    **more: str,
) -> Scene:
    """A variable's rows by bin: rows a minute, minutes and shares of each phase; and its reference rows."""
    minutes = 1 + sum(minutes for _, minutes, _ in phases)
    about = {**MODEL, "variable": variable, **more}
    for name, rows in known.items():
        live = grown(*((rate * shares.get(name, 0.0), length) for rate, length, shares in phases))
        scene.has("understudy_distribution_rows_total", {**about, "role": role, "bin": name}, live)
        scene.has("understudy_reference_rows", {**about, "bin": name}, held((rows, minutes)))
    return scene


def flat(known: float) -> dict[str, float]:
    return {name: known / len(BINS) for name in BINS}


def drift(severity: str, role: str = "production", variable: str = AGE) -> Labels:
    about = {**MODEL, "role": role, "variable": variable}
    return {"alertname": f"Drift{severity.title()}", "severity": severity, **about}


SLOW: Labels = {**drift("slow"), "severity": "ticket"}


def psi() -> Iterator[Scene]:
    """Each bound of the two alerts on PSI: just beyond, and each of them alone just missed.

    Six hours are told from one by half an hour of much traffic before the last hour.
    """
    # about the excess: rows of the reference data at which z is between 4 and 8, and at which it is below 4
    sizes = (("ticket", EXCESS, 600, 200), ("page", PAGE_EXCESS, 300, 80))
    for severity, bound, sure, unsure in sizes:
        below = [drift("ticket")] if severity == "page" else []

        def scene(name: str, known: float, *phases: tuple[float, int, float], of: str = severity) -> Scene:
            shares = [(rate, length, drifted(excess, 60 * rate, known)) for rate, length, excess in phases]
            return counted(Scene(f"drift {of}: {name}"), flat(known), shares)

        # 40 rows a minute: 500 after 12.5 minutes, seen after 15
        rising = scene("beyond every bound", sure, (40, 45, 1.5 * bound)).quiet(25)
        live = {name: 1_200 * share for name, share in drifted(1.5 * bound, 2_400, sure).items()}
        excess = PsiExcess().value(sample(flat(sure), live))
        yield rising.fires(30, *below, drift(severity)).tells(
            30, drift(severity), "feature:Age of production credit:gbm-1 has drifted",
            "In the last hour PSI of feature:Age of production credit:gbm-1 against the reference data was "
            f"{excess:.3g} above what chance does, and the last six hours say so as well. A {severity} is "
            f"written from {bound} on, where at least 500 rows came and z is above 4.",
        )  # fmt: skip
        calm = scene("the last hour is back", 5_000, (400, 30, 2 * bound), (100, 80, 0.7 * bound))
        yield calm.fires(110, SLOW, *below)
        burst = scene("an hour of six", 5_000, (1_000, 30, 0.5 * bound), (100, 80, 1.5 * bound))
        yield burst.fires(110, SLOW, *below)
        hour = scene("the last hour is unsure", unsure, (60, 30, 2.2 * bound), (10, 80, 1.4 * bound))
        yield hour.fires(110, SLOW)
        yield scene("six hours are unsure", unsure, (60, 30, 0.9 * bound), (10, 80, 3 * bound)).quiet(110)


def slow() -> Iterator[Scene]:
    """Each bound of the alert over a day; an hour has too few rows for a ticket, or too small a change."""

    def scene(name: str, known: float, *phases: tuple[float, int, float]) -> Scene:
        shares = [(rate, length, drifted(excess, rate * length, known)) for rate, length, excess in phases]
        return counted(Scene(f"slow drift: {name}"), flat(known), shares)

    # 76 rows an hour: 500 after 397 minutes, seen after 400; z is above 4 then, and above 8 after 1,000
    rare = scene("few rows", 5_000, (1.26, 480, 1.7 * SLOW_EXCESS))
    live = {name: 1.26 * 460 * share for name, share in drifted(1.7 * SLOW_EXCESS, 1.26 * 480, 5_000).items()}
    excess = PsiExcess().value(sample(flat(5_000), live))
    yield rare.quiet(440, 455).fires(460, SLOW).tells(
        460, SLOW, "feature:Age of production credit:gbm-1 has drifted a little, or where few rows come",
        "In the last day PSI of feature:Age of production credit:gbm-1 against the reference data was "
        f"{excess:.3g} above what chance does, of at least 500 rows and with z above 4. This is written from "
        "0.05 on.",
    )  # fmt: skip
    yield scene("a little less", 5_000, (100, 120, 0.8 * SLOW_EXCESS)).quiet(120)
    yield scene("unsure", 250, (60, 120, 1.5 * SLOW_EXCESS)).quiet(120)
    over = scene("two hours of it, then none", 5_000, (60, 120, 1.7 * SLOW_EXCESS), (1, 420, 0.001))
    yield over.fires(540, SLOW)


def candidates() -> Iterator[Scene]:
    """A candidate's drift is worth a ticket and nobody's sleep."""
    shares = drifted(3 * PAGE_EXCESS, 6_000, 5_000)
    scene = Scene("drift of a candidate")
    counted(scene, flat(5_000), [(100, 60, shares)], role="candidate")
    yield scene.fires(60, drift("ticket", role="candidate"))

    idle = counted(Scene("drift, then silence"), flat(5_000), [(100, 60, shares), (0, 70, FLAT)])
    yield idle.fires(60, drift("ticket"), drift("page")).fires(130, SLOW)

    scene = Scene("drift seen by two replicas, each of which sees too little")
    for replica in "ab":
        counted(scene, flat(5_000), [(5, 100, shares)], instance=replica)
    yield scene.fires(100, drift("ticket"), drift("page"))


def unusual(kind: str, *names: str) -> Iterator[Scene]:
    """More rows than in the reference data are in some bins: missing, or strange."""
    alert = {
        "alertname": "UnseenValues", "severity": "ticket", "kind": kind, "role": "production", **MODEL,
        "variable": AGE,
    }  # fmt: skip

    def scene(title: str, known: float, share: float, *phases: tuple[float, int, float]) -> Scene:
        def shares(one: float) -> dict[str, float]:
            ordinary = {"01 0 to 45": (1 - one) / 2, "02 45 to 90": (1 - one) / 2}
            return {**ordinary, **{name: one / len(names) for name in names}}

        reference = {each: known * part for each, part in shares(share).items()}
        rows = [(rate, length, shares(one)) for rate, length, one in phases]
        return counted(Scene(f"{kind} values: {title}"), reference, rows)

    # z is above 4 from 370 rows on, so that 500 decide
    yield scene("enough rows", 20_000, 0.01, (40, 40, 0.06)).quiet(25).fires(30, alert)
    # 500 rows after 10 minutes, z above 4 after 12, above 8 after 48
    meaning = {"missing": "missing", "unseen": "out of range or an unseen word"}[kind]
    yield scene("sure enough", 200_000, 0.015, (60, 40, 0.045)).quiet(25).fires(30, alert).tells(
        30, alert, f"feature:Age of production credit:gbm-1 is {kind} far more often than in the reference "
        "data",
        f"In the last hour feature:Age of production credit:gbm-1 was {meaning} in 3% of the rows more than "
        "in the reference data, and the last six hours say so as well.",
    )  # fmt: skip
    yield scene("a little more", 20_000, 0.01, (200, 80, 0.025)).quiet(80)
    yield scene("not sure", 2_100, 0.04, (10, 90, 0.085)).quiet(90)
    yield scene("not twice as many", 20_000, 0.05, (200, 80, 0.08)).quiet(80)
    yield scene("the last hour is back", 20_000, 0.01, (1_000, 30, 0.05), (200, 80, 0.026)).quiet(110)
    half = scene("half of them", 30, 0.1, (100, 40, 0.55))
    yield half.fires(40, alert, drift("ticket"), drift("page"))
    yield scene("an hour of six", 20_000, 0.01, (1_000, 30, 0.02), (100, 80, 0.06)).quiet(110)


def unheard() -> Iterator[Scene]:
    """Values that the reference data had as often, all of them, are no news; nor are none."""
    scene = Scene("a feature that is always missing")
    yield counted(scene, {"missing": 500.0}, [(100, 60, {"missing": 1.0})]).quiet(60)
    scene = Scene("a feature that is missing from now on")
    counted(scene, {"01 0 to 90": 900.0, "missing": 0.0}, [(100, 60, {"missing": 1.0})])
    about = {**MODEL, "role": "production", "variable": AGE}
    lost = {"alertname": "UnseenValues", "severity": "ticket", "kind": "missing", **about}
    yield scene.fires(60, lost, drift("ticket"), drift("page"))


def told_apart() -> Iterator[Scene]:
    """The two-sample test."""
    alert = {"alertname": "TwoSampleDiffers", "severity": "ticket", **MODEL}

    def scene(title: str, rate: float, accuracy: float, minutes: int = 60) -> Scene:
        made = Scene(f"two samples: {title}")
        for correct, share in (("true", accuracy), ("false", 1 - accuracy)):
            values = steady(rate * share, minutes)
            made.has("understudy_two_sample_rows_total", {**MODEL, "correct": correct}, values)
        return made

    yield scene("enough rows", 40, 0.65).quiet(40).fires(45, alert).tells(
        45, alert, "Rows of credit:gbm-1 can be told from its reference data",
        "In the last hour a classifier told live rows of credit:gbm-1 from reference rows in 65% of the "
        "cases; guessing is right in 50%. It sees what variables do together, so each of them alone may look "
        "as ever.",
    )  # fmt: skip
    # z is above 4 after 17 minutes
    yield scene("sure enough", 100, 0.57).quiet(45).fires(50, alert)
    yield scene("other reference rows might do that", 50_000, ACCURACY - 0.005).quiet(60)
    yield scene("unsure", 12, 0.57, 120).quiet(120)
    yield scene("nobody looks", 0, 0.6).quiet(60)


def blind() -> Iterator[Scene]:
    """Rows are answered, but not counted."""
    alert = {"alertname": "DriftBlind", "severity": "ticket", "job": "shop", "instance": "a", **MODEL}

    def scene(
        title: str, rate: float, counts: float | None, minutes: int = 90, arm: str = "production"
    ) -> Scene:
        made = Scene(f"blind for drift: {title}")
        about = {**MODEL, "arm": arm}
        for label, share in (("good", 0.5), ("bad", 0.5)):
            made.has("understudy_predictions_total", {**about, "label": label}, steady(rate * share, minutes))
        if counts is not None:
            outcomes = {"counted": counts, "shadow_down": rate - counts}
            for outcome, rows in outcomes.items():
                labels = {"outcome": outcome}
                made.has("understudy_distribution_outcomes_total", labels, steady(rows, minutes))
        return made

    def seen(made: Scene, rate: float, minutes: int = 90, **more: str) -> Scene:
        return counted(made, flat(5_000), [(rate, minutes, tilted(0))], **more)

    def others(made: Scene, minutes: int = 90) -> Scene:
        """Another replica and another service, both of which count."""
        for about in ({"instance": "b"}, {"job": "till"}):
            labels = {"outcome": "counted", **about}
            made.has("understudy_distribution_outcomes_total", labels, steady(42, minutes))
        return made

    yield scene("nothing is counted", 42, 0).quiet(25).fires(30, alert)
    one = others(seen(scene("one replica of two", 42, 0), 42, instance="b"))
    yield one.quiet(25).fires(30, alert).tells(
        30, alert, "Nobody sees whether the traffic of credit:gbm-1 drifts",
        "a answered 1.26k rows in the last hour, but counted none of them by bin, or no PSI is recorded of "
        "credit:gbm-1.",
    )  # fmt: skip
    stopped = seen(scene("no longer counted", 42, None, 140), 42, 140, instance="b")
    outcomes = grown((42, 20), (0, 120))
    stopped.has("understudy_distribution_outcomes_total", {"outcome": "counted"}, outcomes)
    yield stopped.quiet(20, 80).fires(110, alert)
    unread = seen(scene("counted, but nothing recorded", 42, 42), 42, model="digits")
    yield seen(unread, 42, version="gbm-0").quiet(25).fires(30, alert)
    yield seen(scene("all is well", 42, 42), 42).quiet(90)
    yield (
        seen(scene("another replica has no traffic", 42, 42), 42)
        .has("understudy_distribution_outcomes_total", {"outcome": "counted", "instance": "b"}, steady(0, 90))
        .quiet(90)
    )
    yield scene("hardly any traffic", 7, 0, 120).quiet(120)
    yield others(scene("drift is not watched", 42, None)).quiet(90)
    yield scene("the canary answers everybody", 42, 0, arm="canary").quiet(90)
    candidate = seen(scene("only a candidate is counted", 42, 42), 42, role="candidate")
    yield candidate.quiet(25).fires(30, alert)


def bins() -> Iterator[Scene]:
    """Replicas that do not agree on what a bin is."""
    alert = {"alertname": "BinsDiffer", "severity": "ticket", **MODEL, "variable": AGE}
    old = {"00 below 0": 0.0, "01 0 to 18": 300.0, "02 above 18": 0.0, "missing": 5.0}
    new = {"00 below 0": 0.0, "01 0 to 17": 300.0, "02 above 17": 0.0, "missing": 5.0}
    more = {**old, "02 18 to 30": 20.0}
    quiet = [(0.0, 40, FLAT)]

    def replicas(title: str, **reference: Mapping[str, float]) -> Scene:
        scene = Scene(f"bins: {title}")
        for replica, known in reference.items():
            counted(scene, known, quiet, instance=replica)
        return scene

    yield replicas("the same", a=old, b=old).quiet(40)
    yield replicas("another cut", a=old, b=new).quiet(10).fires(15, alert)
    yield replicas("one more", a=old, b=more).quiet(10).fires(15, alert)
    other = replicas("other reference rows", a=old, b={**old, "missing": 6.0})
    yield other.quiet(10).fires(15, alert).tells(
        15, alert, "Replicas cut feature:Age of credit:gbm-1 differently",
        "1 bins of feature:Age of credit:gbm-1 are not the same on all replicas, or have live rows and no "
        "reference rows, or the other way round. What is recorded as drift of this variable is not to be "
        "trusted.",
    )  # fmt: skip
    scene = Scene("bins: of other models and variables")
    counted(scene, old, quiet)
    for about in ELSEWHERE:
        counted(scene, {name: 2 * rows for name, rows in more.items()}, quiet, instance="b", **about)
    yield scene.quiet(40)

    def elsewhere(title: str, known: Mapping[str, float], bin_name: str) -> Scene:
        """What is there, while all others know one more bin."""
        scene = replicas(title, a=known)
        for about in ELSEWHERE:
            counted(scene, {**old, bin_name: 4.0}, quiet, **about)
        return scene

    rows = {**MODEL, "role": "production", "variable": AGE}
    beyond = "03 above 90"
    scene = elsewhere("live rows where no reference row is known", old, beyond)
    scene.has("understudy_distribution_rows_total", {**rows, "bin": beyond}, steady(0, 40))
    yield scene.quiet(10).fires(15, alert)
    reference = {**MODEL, "variable": AGE, "bin": beyond}
    scene = elsewhere("no live rows of a bin of the reference data", old, beyond)
    scene.has("understudy_reference_rows", reference, held((4, 41)))
    yield scene.quiet(10).fires(15, alert)
    scene = elsewhere("reference data of a variable that nobody counts", {}, "02 18 to 30")
    yield scene.has("understudy_reference_rows", reference, held((4, 41))).quiet(40)

    scene = Scene("bins: an update within ten minutes")
    for replica, known, since, until in (("a", old, 0, 20), ("b", new, 12, 60)):
        for name, count in known.items():
            present = held((None, since), (count, until - since), (None, 60 - until))
            counts = held((None, since), (0, until - since), (None, 60 - until))
            labels = {"bin": name, "instance": replica}
            scene.has("understudy_reference_rows", {**MODEL, "variable": AGE, **labels}, present)
            scene.has("understudy_distribution_rows_total", {**rows, **labels}, counts)
    yield scene.fires_at(range(0, 60, 5))


def missing() -> Iterator[Scene]:
    return unusual("missing", "missing")


def strange() -> Iterator[Scene]:
    return unusual("unseen", "00 below 0", "unseen")


SCENES = {
    ("DriftTicket", "DriftPage"): (psi, candidates),
    ("DriftSlow",): (slow,),
    ("UnseenValues",): (missing, strange, unheard),
    ("TwoSampleDiffers",): (told_apart,),
    ("DriftBlind",): (blind,),
    ("BinsDiffer",): (bins,),
}
"""By the alerts that they are about."""
