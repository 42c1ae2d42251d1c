"""Scenes of candidates that differ, fail or are not seen, and of verdicts on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.deploy.scenes import Labels, Scene, grown, held, steady

CANDIDATE = {"candidate": "credit:gbm-2"}
STATES = ("promote", "hold", "rollback")


def alert(name: str, severity: str = "ticket", **labels: str) -> Labels:
    return {"alertname": name, "severity": severity, **CANDIDATE, **labels}


def disagreement() -> Iterator[Scene]:
    """Flips by the rate of their budget, in each window."""

    def scene(name: str, *phases: tuple[float, int, float], part: str = "all", born: bool = True) -> Scene:
        made = Scene(f"disagreement: {name}")
        about = {**CANDIDATE, "slice": part}
        compared = grown(*((rate / 2, length) for rate, length, _ in phases))
        for replica in "ab":
            labels = {**about, "instance": replica}
            made.has("understudy_shadow_compared_rows_total", labels, compared)
        if born:
            for before, after, share in (("good", "bad", 0.75), ("bad", "good", 0.25)):
                flips = grown(*((rate * flipped * share, length) for rate, length, flipped in phases))
                made.has("understudy_shadow_flips_total", {**about, "from": before, "to": after}, flips)
        return made

    fast, slow = alert("DisagreementFast", slice="all"), alert("DisagreementSlow", slice="all")
    # 500 rows after 24 minutes, seen after 25
    much = scene("much of it", (21, 60, 0.2)).quiet(25).fires_at([30, 35], fast).fires(40, fast, slow)
    yield much.tells(
        30,
        fast,
        "credit:gbm-2 labels many rows differently (slice all)",
        "credit:gbm-2 labels 20% of the rows of slice all differently than production, over 1h; the last 5m "
        "are no better. That is more than 14.4 times the budget of 1%.",
    )
    yield (
        scene("some of it", (21, 60, 0.09))
        .quiet(35)
        .fires(40, slow)
        .tells(
            40,
            slow,
            "credit:gbm-2 labels many rows differently (slice all)",
            "credit:gbm-2 labels 9% of the rows of slice all differently than production, over 6h; the last "
            "30m are no better. That is more than 6 times the budget of 1%.",
        )
    )
    yield scene("what the verdict allows", (100, 60, 0.05)).quiet(60)
    yield scene("it is over since ten minutes", (100, 30, 0.3), (100, 20, 0.1)).fires_at([45, 50], slow)
    yield scene("it began ten minutes ago", (400, 30, 0.07), (100, 20, 0.18)).fires(50, slow)
    yield scene("it is over since half an hour", (400, 30, 0.1), (100, 60, 0.04)).quiet(80, 90)
    yield scene("it began half an hour ago", (1_000, 30, 0.03), (100, 60, 0.08)).quiet(80, 90)
    yield scene("fewer and fewer rows", (100, 10, 0.2), (6, 90, 0.2)).fires_at([15], fast).fires(100, slow)
    yield (
        scene("fewer and fewer rows since long", (100, 10, 0.09), (1, 390, 0.09)).fires(300, slow).quiet(400)
    )
    yield scene("a slice with few rows", (4, 90, 0.5), part="thin").quiet(90)
    yield (
        scene("a slice with rows enough", (21, 60, 0.2), part="young")
        .quiet(25)
        .fires(30, {**fast, "slice": "young"})
    )
    yield scene("none", (100, 60, 0), born=False).quiet(60)
    yield scene("no traffic", (0, 60, 0.5)).quiet(60)
    yield scene("traffic has stopped", (100, 60, 0.5), (0, 70, 0)).fires(60, fast, slow).quiet(130)


def blind() -> Iterator[Scene]:
    """Coverage: what was compared of what was to be."""
    told = alert("ShadowBlind")

    def scene(name: str, minutes: int = 60, **rates: float) -> Scene:
        made = Scene(f"blind shadow: {name}")
        for replica, share in (("a", 0.75), ("b", 0.25)):
            for outcome, rate in rates.items():
                labels = {**CANDIDATE, "outcome": outcome, "instance": replica}
                made.has("understudy_shadow_rows_total", labels, steady(share * rate, minutes))
        return made

    # 100 rows after 14 minutes, seen after 15
    yield (
        scene("below a half", compared=2.8, queue_full=3.2, deadline=1, sampled_out=0)
        .quiet(25)
        .fires(30, told)
    )
    yield scene("most is seen", compared=6, queue_full=4).quiet(60)
    yield scene("sampling leaves out the most", compared=60, queue_full=10, sampled_out=930).quiet(60)
    yield scene("sampling leaves out everything", compared=0, queue_full=0, sampled_out=1_000).quiet(60)
    yield scene("hardly any traffic", compared=0, shadow_down=2.5).quiet(60)
    few = scene("sampling leaves hardly anything", compared=0, shadow_down=2.5, sampled_out=900)
    yield few.quiet(60)
    since = Scene("blind shadow: since half an hour")
    for outcome, phases in (("compared", ((9, 30), (0, 50))), ("deadline", ((0, 30), (9, 50)))):
        since.has("understudy_shadow_rows_total", {**CANDIDATE, "outcome": outcome}, grown(*phases))
    yield since.quiet(30).fires(65, told)
    yield scene("no traffic", compared=0, shadow_down=0).quiet(60)
    dead = scene("a dead shadow", compared=0, shadow_down=20).fires(60, told)
    yield dead.tells(
        60,
        told,
        "Most of the traffic is not compared with credit:gbm-2",
        "Of the rows that credit:gbm-2 was to see in the last 30m, 0% were compared. Below 50% the verdict "
        "holds, since those that are left may be the easy ones.",
    )


def breaker() -> Iterator[Scene]:
    """The shadow's breaker, which closes for a moment whenever it tries again."""
    opened = alert("BreakerOpen", job="shop")

    def scene(
        name: str, *phases: tuple[float, int], other: Sequence[tuple[float, int]] = ((0, 61),)
    ) -> Scene:
        made = Scene(f"breaker: {name}").has("understudy_breaker_open", CANDIDATE, held(*phases))
        return made.has("understudy_breaker_open", {**CANDIDATE, "instance": "b"}, held(*other))

    yield (
        scene("open", (0, 20), (1, 41))
        .quiet(30)
        .fires(35, opened)
        .fires(60, opened)
        .tells(
            60,
            opened,
            "credit:gbm-2 fails so often that the shadow leaves it alone",
            "In the last 15m the breaker of credit:gbm-2 was open 100% of the time on at least one replica.",
        )
    )
    trying = [(1.0, 4), (0.0, 1)]
    yield scene("open, but for its tries", (0, 10), *(10 * trying)).fires_at([40, 55], opened)
    yield scene("open for a while", (0, 20), (1, 7), (0, 34)).fires_at(range(0, 61, 5))
    now_and_then = 12 * ((0.0, 3), (1.0, 2))
    often = scene("open for some minutes now and then", *now_and_then, other=now_and_then)
    yield often.fires_at(range(20, 60, 5))


def said(name: str, *verdicts: tuple[str | None, int], share: float | None = None) -> Scene:
    """What is the verdict on one replica."""
    minutes = sum(length for _, length in verdicts)
    scene = spoken(Scene(f"verdict: {name}"), "a", *verdicts)
    if share is not None:
        scene.has("understudy_canary_share_ratio", CANDIDATE, held((share, minutes)))
    return scene


def spoken(scene: Scene, replica: str, *verdicts: tuple[str | None, int]) -> Scene:
    for state in STATES:
        shown = held(*((None if said is None else float(said == state), length) for said, length in verdicts))
        labels = {**CANDIDATE, "state": state, "instance": replica}
        scene.has("understudy_verdict", labels, shown)
    return scene


def verdicts() -> Iterator[Scene]:
    """Verdicts that somebody has to act on, or to know of."""
    ticket = alert("VerdictRollback", job="shop")
    page = alert("VerdictRollback", "page", job="shop")
    now = alert("VerdictChanged", job="shop", state="rollback")

    bad = (("hold", 20), ("rollback", 41))
    shadow = spoken(said("a shadow is to be rolled back", *bad), "b", *bad)
    yield (
        shadow.quiet(20)
        .fires_at([25, 30], ticket, now)
        .fires_at([40, 60], ticket)
        .tells(
            60,
            ticket,
            "credit:gbm-2 is to be rolled back",
            "By the evidence credit:gbm-2 is worse than is allowed. It answers no caller as long as it is no "
            "canary.",
        )
    )
    canary = spoken(said("a canary is to be rolled back", *bad, share=0.05), "b", *bad)
    yield canary.quiet(20).fires(25, ticket, page, now).fires(60, ticket, page).tells(
        60, ticket, "credit:gbm-2 is to be rolled back",
        "By the evidence credit:gbm-2 is worse than is allowed. It answers no caller as long as it is "
        "no canary.",
    ).tells(
        60, page, "credit:gbm-2 is to be rolled back",
        "By the evidence credit:gbm-2 is worse than is allowed. It is answering callers now, as the canary.",
    )  # fmt: skip
    yield said("a canary of share 0", ("rollback", 41), share=0).fires(40, ticket)
    yield said("hold", ("hold", 61), share=0.05).fires_at(range(0, 61, 5))
    yield spoken(said("one replica has not understood yet", ("hold", 61)), "b", ("rollback", 61)).fires(
        30, ticket
    )


def changes() -> Iterator[Scene]:
    """A verdict that is news."""
    now = alert("VerdictChanged", job="shop", state="promote")
    risen = said("now promote", ("hold", 60), ("promote", 41)).quiet(60).fires_at([65, 70], now)
    yield risen.quiet(80, 90, 100).tells(
        65,
        now,
        "The verdict on credit:gbm-2 is now promote",
        "For the last quarter of an hour at most, the verdict on credit:gbm-2 has been promote, which it was "
        "not in the hour before.",
    )
    yield said("ever promote", ("promote", 91)).fires_at(range(0, 91, 5))
    yield said("a restart", ("promote", 40), (None, 10), ("promote", 40)).fires_at(range(0, 90, 5))
    yield said("the first one", (None, 30), ("promote", 60)).fires_at(range(0, 90, 5))
    to_and_fro = (("promote", 10), ("hold", 10), ("promote", 10), ("hold", 10))
    yield said("on the brink", ("hold", 20), ("promote", 10), *to_and_fro).fires_at([*range(40, 71, 5)])
    yield said("again", ("promote", 10), ("hold", 100), ("promote", 21)).quiet(110).fires(120, now)
    born = said("a replica is born and has not read the store", ("promote", 91))
    yield spoken(born, "b", (None, 40), ("hold", 15), ("promote", 36)).fires_at(range(0, 91, 5))


def lost() -> Iterator[Scene]:
    """Evidence that was given up."""
    gone = alert("EvidenceLost", kind="answers")
    name, about = "understudy_evidence_lost_total", {**CANDIDATE, "kind": "answers"}

    def watched(title: str, since: int = 0) -> Scene:
        """A replica that is there since then, and another one and another service that were always there."""
        made = Scene(f"evidence lost: {title}")
        info = {"version": "1", "model": "credit", "model_version": "gbm-1"}
        for about, start in (({"instance": "a"}, since), ({"instance": "b"}, 0), ({"job": "till"}, 0)):
            present = held((None, start), (1, 150 - start))
            made.has("understudy_build_info", {**info, **about}, present).has("up", about, present)
        return made

    rising = [5.0] * 21 + [5.0 + minute for minute in range(1, 20)] + [24.0] * 110
    yield watched("a few more").has(name, about, rising).quiet(20, 25).fires_at([30, 60, 85], gone).quiet(120)
    first = watched("the first ones").has(name, about, held((None, 70), (512, 80)))
    first.has(name, {**about, "instance": "b"}, held((None, 70), (88, 80)))
    yield (
        first.quiet(70)
        .fires_at([75, 125], gone)
        .quiet(135, 145)
        .tells(
            75,
            gone,
            "Evidence on credit:gbm-2 was lost",
            "In the last hour about 600 answers of credit:gbm-2 were given up, since the store did not take "
            "them in time. Sums are never lost; rows and cases to look at are.",
        )
    )
    yield watched("long ago").has(name, about, held((512, 150))).fires_at(range(0, 150, 5))
    yield (
        watched("before anybody watched", 70)
        .has(name, about, held((None, 70), (512, 80)))
        .fires_at(range(0, 150, 5))
    )


SCENES = {
    ("DisagreementFast", "DisagreementSlow"): (disagreement,),
    ("ShadowBlind",): (blind,),
    ("BreakerOpen",): (breaker,),
    ("VerdictRollback",): (verdicts,),
    ("VerdictChanged",): (changes,),
    ("EvidenceLost",): (lost,),
}
"""By the alerts that they are about."""
