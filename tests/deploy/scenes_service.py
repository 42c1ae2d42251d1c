"""Scenes of what callers notice: failures, slowness, a canary's share, promises, and nobody who answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.deploy.scenes import Labels, Scene, grown, held, steady

MODEL = {"model": "credit", "version": "gbm-1"}
CANDIDATE = {"candidate": "credit:gbm-2"}
ROUTES = {"/predict": 0.5, "/v1/models/{model}:predict": 0.25, "/v2/models/{model}/infer": 0.25}
NEVER = range(0, 61, 5)


def alert(name: str, severity: str = "ticket", **labels: str) -> Labels:
    return {"alertname": name, "severity": severity, **labels}


def requests(name: str, *phases: tuple[float, int, float], code: str = "503") -> Scene:
    """Requests on all prediction routes: so many a minute, for so long, of which so many are answered so."""
    made = Scene(name)
    for route, part in ROUTES.items():
        failed = grown(*((part * rate * share, length) for rate, length, share in phases))
        right = grown(*((part * rate * (1 - share), length) for rate, length, share in phases))
        made.has("understudy_requests_total", {"route": route, "code": code}, failed)
        made.has("understudy_requests_total", {"route": route, "code": "200"}, right)
    return made


def availability() -> Iterator[Scene]:
    """Failures by the rate of their budget, in each window."""
    page, ticket = alert("AvailabilityFast", "page", job="shop"), alert("AvailabilitySlow", job="shop")
    # 10 failures after 8.3 minutes, seen after 10
    many = requests("failures: many", (60, 60, 0.02)).quiet(10).fires_at([15, 20], page)
    yield many.fires(25, page, ticket).tells(
        15, page, "shop fails to answer",
        "shop answered 2% of its prediction requests with 5xx over 1h, and goes on doing so in the last 5m. "
        "The budget is 0.1%.",
    )  # fmt: skip
    yield requests("failures: some", (150, 60, 0.008)).quiet(20).fires(25, ticket).fires(60, ticket).tells(
        25, ticket, "shop fails to answer",
        "shop answered 0.8% of its prediction requests with 5xx over 6h, and goes on doing so in the last "
        "30m. The budget is 0.1%.",
    )  # fmt: skip
    yield requests("failures: within the budget", (10_000, 60, 0.0009)).fires_at(NEVER)
    yield requests("failures: one at night", (1, 30, 0), (1, 1, 1), (1, 30, 0)).fires_at(NEVER)
    yield requests("failures: over since ten minutes", (1_000, 30, 0.02), (1_000, 20, 0.01)).fires_at(
        [45, 50], ticket
    )
    yield requests("failures: since ten minutes", (1_000, 40, 0.007), (100, 20, 0.02)).fires(60, ticket)
    yield requests("failures: over since half an hour", (1_000, 30, 0.01), (1_000, 60, 0.004)).quiet(80, 90)
    yield requests("failures: since half an hour", (5_000, 30, 0.004), (200, 60, 0.009)).quiet(80, 90)
    yield requests("failures: of the caller", (1_000, 60, 0.04), code="422").fires_at(NEVER)
    yield requests("failures: no traffic", (0, 60, 0)).fires_at(NEVER)
    yield (
        requests("failures: every request", (50, 20, 1))
        .quiet(5)
        .fires_at([10, 15], page)
        .fires(20, page, ticket)
    )
    elsewhere = requests("failures: of explanations", (100, 60, 0))
    for route in ("/explain", "/v1/models/{model}:explain", "/feedback"):
        elsewhere.has("understudy_requests_total", {"route": route, "code": "503"}, steady(100, 60))
    yield elsewhere.fires_at(NEVER)
    few = requests("failures: few, but of many explanations", (1, 60, 0.1))
    yield few.has("understudy_requests_total", {"route": "/explain", "code": "503"}, steady(100, 60)).quiet(
        60
    )
    thin = requests("failures: fewer and fewer", (100, 10, 0.02), (5, 110, 0.02))
    yield thin.fires(20, page, ticket).fires(120, ticket)
    thin = requests("failures: fewer and fewer since long", (200, 10, 0.008), (1, 390, 0.008))
    yield thin.fires(300, ticket).quiet(400)
    apart = requests("failures: of another service", (1_000, 60, 0))
    for code, rate in (("200", 30), ("500", 3)):
        labels = {"job": "till", "route": "/predict", "code": code}
        apart.has("understudy_requests_total", labels, steady(rate, 60))
    yield apart.fires(20, {**page, "job": "till"}, {**ticket, "job": "till"})


def answers(name: str, *phases: tuple[float, int, float]) -> Scene:
    """Answers by their latency: so many a minute, for so long, of which so many take long."""
    made = Scene(f"slowness: {name}")
    for arm, part in (("production", 0.8), ("canary", 0.2)):
        rates = [(part * rate, length, slow) for rate, length, slow in phases]
        quick = grown(*((rate * (1 - slow), length) for rate, length, slow in rates))
        every = grown(*((rate, length) for rate, length, _ in rates))
        made.has("understudy_predict_seconds_bucket", {"arm": arm, "le": "0.05"}, quick)
        made.has("understudy_predict_seconds_bucket", {"arm": arm, "le": "+Inf"}, every)
        made.has("understudy_predict_seconds_count", {"arm": arm}, every)
    return made


def latency() -> Iterator[Scene]:
    """Slow answers by the rate of their budget, in each window."""
    page, ticket = alert("LatencyFast", "page", job="shop"), alert("LatencySlow", job="shop")
    # 10 slow ones after 8.3 minutes, seen after 10
    much = answers("much", (6, 60, 0.2)).quiet(10).fires_at([15, 20], page)
    yield much.fires(25, page, ticket).tells(
        15, page, "shop is slow to answer",
        "20% of the answers of shop took longer than 50 ms over 1h, and do so in the last 5m. The "
        "budget is 1%.",
    )  # fmt: skip
    yield answers("some", (13, 60, 0.09)).quiet(20).fires(25, ticket).fires(60, ticket).tells(
        25, ticket, "shop is slow to answer",
        "9% of the answers of shop took longer than 50 ms over 6h, and do so in the last 30m. The "
        "budget is 1%.",
    )  # fmt: skip
    yield answers("within the budget", (1_000, 60, 0.009)).fires_at(NEVER)
    yield answers("a slow one at night", (1, 30, 0), (1, 1, 1), (1, 2, 0)).quiet(30)
    yield answers("over since ten minutes", (100, 30, 0.3), (100, 20, 0.1)).fires_at([45, 50], ticket)
    yield answers("since ten minutes", (400, 30, 0.07), (100, 20, 0.18)).fires(50, ticket)
    yield answers("over since half an hour", (400, 30, 0.1), (100, 60, 0.04)).quiet(80, 90)
    yield answers("since half an hour", (1_000, 30, 0.03), (100, 60, 0.08)).quiet(80, 90)
    thin = answers("fewer and fewer", (10, 10, 0.2), (0.5, 110, 0.2))
    yield thin.fires(60, page, ticket).fires(120, ticket)
    thin = answers("fewer and fewer since long", (20, 10, 0.09), (0.2, 390, 0.09))
    yield thin.fires(300, ticket).quiet(400)
    yield answers("no traffic", (0, 60, 0)).fires_at(NEVER)


def refusals() -> Iterator[Scene]:
    """Requests that do not fit the schema."""
    told = alert("InputsRefused", job="shop")
    # 50 refused after 12.5 minutes, seen after 15
    many = requests("refused: many", (50, 60, 0.08), code="422").quiet(25)
    many.has("understudy_requests_total", {"route": "/metrics", "code": "200"}, steady(900, 60))
    yield many.fires_at([30, 60], told).tells(
        30, told, "shop refuses many requests",
        "In the last hour shop answered 8% of its prediction requests with 422, since they do not fit the "
        "schema.",
    )  # fmt: skip
    yield requests("refused: as many for two hours", (50, 130, 0.08), code="422").fires(130, told)
    yield requests("refused: fewer than before", (50, 60, 0.2), (50, 80, 0.03), code="422").quiet(140)
    yield requests("refused: some of few", (1.5, 130, 0.4), code="422").quiet(130)
    elsewhere = {"route": "/explain", "code": "422"}
    for name, rate, share in (("few of many", 1_000, 0.03), ("many of few", 1, 0.4)):
        other = requests(f"refused: {name}, and explanations", (rate, 60, share), code="422")
        yield other.has("understudy_requests_total", elsewhere, steady(900, 60)).fires_at(NEVER)
    yield requests("refused: some", (1_000, 60, 0.03), code="422").fires_at(NEVER)
    yield requests("refused: of few", (0.4, 60, 1), code="422").fires_at(NEVER)


def split(name: str, rate: float, excess: float, *shares: tuple[float | None, int]) -> Scene:
    """A canary that answers so much more of its share than it should, requests a minute and its shares."""
    minutes = sum(length for _, length in shares) - 1
    share = next(value for value, _ in reversed(shares) if value is not None)
    canary = rate * share + excess * rate * min(share, 1 - share)
    made = Scene(f"canary's share: {name}")
    for arm, part in (("canary", canary), ("production", rate - canary)):
        made.has("understudy_predict_seconds_count", {"arm": arm}, steady(part, minutes))
    return made.has("understudy_canary_share_ratio", CANDIDATE, held(*shares))


def mismatch() -> Iterator[Scene]:
    """A canary with other requests than its share."""
    told = alert("CanarySRM", job="shop", **CANDIDATE)
    tenth = (0.1, 91)
    yield split("two fifths too many", 20, 0.4, tenth).quiet(70).fires(75, told).tells(
        75, told, "The canary credit:gbm-2 does not get its share of the requests",
        "In the last hour credit:gbm-2 answered 4.6 standard deviations more requests than its share (below "
        "0: less), and one of the two arms is off by more than 25%. What is said of the canary may be of "
        "other callers than production's.",
    )  # fmt: skip
    yield split("two fifths too few", 20, -0.4, tenth).quiet(70).fires(75, told).tells(
        75, told, "The canary credit:gbm-2 does not get its share of the requests",
        "In the last hour credit:gbm-2 answered -4.6 standard deviations more requests than its share (below "
        "0: less), and one of the two arms is off by more than 25%. What is said of the canary may be of "
        "other callers than production's.",
    )  # fmt: skip
    yield split("none", 20, -1, tenth).fires(75, told)
    yield split("production gets too few", 20, 0.4, (0.9, 91)).quiet(70).fires(75, told)
    yield split("a heavy caller", 100, 0.235, tenth).quiet(75, 90)
    yield split("chance", 20, 0.3, tenth).quiet(75, 90)
    few = split("few requests", 12, 0.52, tenth)
    busy = {"job": "till", "arm": "production"}
    yield few.has("understudy_predict_seconds_count", busy, steady(900, 90)).quiet(75, 90)
    yield split("raised an hour ago", 20, 0.4, (0.05, 30), (0.1, 70)).quiet(75, 95)
    yield split("raised long ago", 20, 0.4, (0.05, 10), (0.1, 91)).fires(100, told)
    yield split("as it should be", 100, 0, tenth).quiet(75, 90)
    yield split("no traffic", 0, 0, tenth).quiet(75, 90)


def coverage() -> Iterator[Scene]:
    """Regions that hold the label less often than they promise."""
    told = alert("ConformalCoverageLow", **MODEL)

    def scene(name: str, rate: float, covered: float, promised: float | None = 0.9) -> Scene:
        made = Scene(f"coverage: {name}")
        made.has("understudy_conformal_labelled_total", MODEL, steady(rate, 120))
        made.has("understudy_conformal_covered_total", MODEL, steady(rate * covered, 120))
        if promised is not None:
            for replica in "ab":
                about = {**MODEL, "instance": replica}
                made.has("understudy_conformal_confidence_ratio", about, held((promised, 121)))
        return made

    # 100 labels after 24 minutes, seen after 25
    yield scene("enough labels", 4.2, 0.7).quiet(80).fires(85, told).tells(
        85, told, "Regions of credit:gbm-1 miss the label too often",
        "Of the rows whose label came in the last day, 70% had it in their label set or interval. "
        "credit:gbm-1 promises more, and chance does not explain it.",
    )  # fmt: skip
    # z is 4 after 34 minutes, seen after 35
    yield scene("sure enough", 4.2, 0.8).quiet(90).fires(95, told)
    yield scene("five in a hundred too few", 200, 0.85).fires(80, told)
    yield scene("what calibration leaves open", 200, 0.875).quiet(120)
    yield scene("more than promised", 200, 0.95).quiet(120)
    yield scene("nothing promised", 200, 0.5, promised=None).quiet(120)
    yield scene("no label", 0, 0).quiet(120)


def readiness() -> Iterator[Scene]:
    """Models that may not answer."""
    about = {**MODEL, "role": "production"}
    refused = alert("ModelNotReady", job="shop", **about)
    none = alert("ModelNotReady", "page", job="shop")

    def scene(name: str, *replicas: tuple[dict[str, str], Sequence[float | None]]) -> Scene:
        made = Scene(f"readiness: {name}")
        for replica, (labels, values) in zip("abc", replicas, strict=False):
            made.has("understudy_model_ready", {"instance": replica, **labels}, values)
        return made

    good, bad = held((1, 61)), held((1, 20), (0, 41))
    candidate = {**MODEL, "version": "gbm-2", "role": "candidate"}
    nowhere = scene("production on all replicas", (about, bad), (about, bad), (candidate, good)).quiet(20)
    yield nowhere.fires(25, refused, none).tells(
        25, refused, "production credit:gbm-1 was refused",
        "At least one replica cannot use credit:gbm-1 as production: it could not be loaded, or does not "
        "answer its own test rows as it did when it was packaged.",
    ).tells(
        25, none, "shop has no model that may answer",
        "Every replica of shop refused its production model and answers 503.",
    )  # fmt: skip
    yield scene("production on one of two", (about, bad), (about, good)).quiet(20).fires(25, refused)
    newer = {**about, "version": "gbm-3"}
    update = scene("a new version", (newer, held((None, 20), (0, 41))), (about, good))
    yield update.quiet(20).fires(25, {**refused, "version": "gbm-3"})
    shadow = scene("a candidate", (candidate, bad), (candidate, good), (about, good))
    yield shadow.quiet(20).fires(25, {**refused, **candidate})
    yield scene("all well", (about, good), (candidate, good)).fires_at(NEVER)


def store() -> Iterator[Scene]:
    """A store that does not take what is written."""
    told = alert("StoreFailing", job="shop", writer="evidence")

    def scene(name: str, *phases: tuple[float, int]) -> Scene:
        made = Scene(f"store: {name}").has("understudy_store_up", {"writer": "evidence"}, held(*phases))
        return made.has("understudy_store_up", {"writer": "evidence", "instance": "b"}, held((1, 61)))

    yield scene("it fails", (1, 20), (0, 41)).quiet(25).fires(30, told).fires(60, told).tells(
        60, told, "shop cannot write evidence to its store",
        "In the last 10m the store worked for evidence in 0% of the time on at least one replica. "
        "Predictions do not depend on it.",
    )  # fmt: skip
    yield scene("it fails two times of three", *(20 * [(0.0, 2), (1.0, 1)])).fires(55, told)
    yield scene("it restarts", (1, 20), (0, 4), (1, 37)).fires_at(NEVER)


def presence() -> Iterator[Scene]:
    """Replicas that do not answer Prometheus."""
    info = {"version": "1", "model": "credit", "model_version": "gbm-1"}
    gone = alert("Down", job="shop", instance="a")
    nobody = alert("Down", "page", job="shop")

    def scene(name: str, **ups: Sequence[float | None]) -> Scene:
        made = Scene(f"presence: {name}")
        for replica, values in ups.items():
            seen = [1 if value else None for value in values]
            made.has("up", {"instance": replica}, values)
            made.has("understudy_build_info", {"instance": replica, **info}, seen)
        return made

    good, bad = held((1, 61)), held((1, 20), (0, 41))
    yield scene("one replica of two", a=bad, b=good).quiet(20).fires(25, gone).fires(60, gone).tells(
        25, gone, "a of shop does not answer",
        "Prometheus has not been able to read a for 5m or longer.",
    )  # fmt: skip
    both = (
        scene("both replicas", a=bad, b=bad)
        .has("up", {"job": "till"}, good)
        .quiet(20)
        .fires(25, gone, {**gone, "instance": "b"}, nobody)
    )
    for replica in "ab":
        both.tells(
            25,
            {**gone, "instance": replica},
            f"{replica} of shop does not answer",
            f"Prometheus has not been able to read {replica} for 5m or longer.",
        )
    yield both.tells(
        25, nobody, "No replica of shop answers",
        "Of the 2 replicas of shop that Prometheus saw within a day, it can read none.",
    )  # fmt: skip
    absent = held((1, 20), (None, 41))
    yield scene("no target is left", a=absent, b=absent).quiet(20, 25).fires(30, nobody).fires(60, nobody)
    yield scene("a replica was taken away", a=absent, b=good).fires_at(NEVER)
    yield scene("a restart", a=held((1, 20), (0, 4), (1, 37)), b=good).fires_at(NEVER)
    yield scene("one that never came up", a=held((0, 61)), b=good).fires(60, gone)
    others = scene("of something else", b=good)
    yield others.has("up", {"job": "other", "instance": "z"}, held((0, 61))).fires_at(NEVER)


SCENES = {
    ("AvailabilityFast", "AvailabilitySlow"): (availability,),
    ("LatencyFast", "LatencySlow"): (latency,),
    ("InputsRefused",): (refusals,),
    ("CanarySRM",): (mismatch,),
    ("ConformalCoverageLow",): (coverage,),
    ("ModelNotReady",): (readiness,),
    ("StoreFailing",): (store,),
    ("Down",): (presence,),
}
"""By the alerts that they are about."""
