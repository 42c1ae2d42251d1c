"""The sections of the configuration file, each key with its default and what is possible."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Redaction: TypeAlias = Literal["keep", "hash", "drop"]
"""As it is, as a keyed hash, or not at all."""


class Section(BaseModel):
    """Nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ServerSettings(Section):
    """Processes and threads."""

    workers: int = Field(default=1, ge=1, le=32)
    """Edge processes that answer requests."""
    threads: int = Field(default=1, ge=1, le=256)
    """Threads of one inference."""
    drain_seconds: float = Field(default=0, ge=0, le=3_600)
    """How long SIGTERM leaves for load balancers to notice; requests are answered meanwhile."""


class LimitSettings(Section):
    """What one request, and all of them together, may take."""

    max_rows: int = Field(default=10_000, ge=1)
    max_body_bytes: int = Field(default=16 << 20, ge=1)
    max_concurrency: int = Field(default=512, ge=1)
    """Requests in work in one worker; more are answered 503 with Retry-After."""
    deadline_ms: float = Field(default=2_000, gt=0)
    canary_deadline_ms: float = Field(default=500, gt=0)
    """After this the canary is given up and production answers the same request."""
    inline_ms: float = Field(default=2, ge=0)
    """Inferences expected to take longer run in a thread, so that others are answered meanwhile."""

    @model_validator(mode="after")
    def _production_has_time_left(self) -> Self:
        if self.canary_deadline_ms >= self.deadline_ms:
            raise ValueError("canary_deadline_ms must be below deadline_ms")
        return self


class BreakerSettings(Section):
    """When a failing model is paused, and for how long."""

    failures: int = Field(default=5, ge=1)
    pause_seconds: float = Field(default=5, gt=0)
    longest_pause_seconds: float = Field(default=300, gt=0)


class ShadowSettings(Section):
    """How much of the traffic candidates see, and how long they may take."""

    sample_rate: float = Field(default=1.0, ge=0, le=1)
    """Share of requests that are mirrored."""
    deadline_ms: float = Field(default=2_000, gt=0)
    """How long a row may wait, and how long one run may take."""
    queue_rows: int = Field(default=50_000, ge=1)
    batch_rows: int = Field(default=512, ge=1)
    flush_ms: float = Field(default=20, gt=0, le=1_000)
    """How often the edge hands rows over."""
    queue_bytes: int = Field(default=64 << 20, ge=1 << 16)
    """Rows that may wait for one candidate, in bytes of their arrays."""
    buffer_bytes: int = Field(default=16 << 20, ge=1 << 16)
    """Memory of rows that wait in one edge worker for a busy shadow."""
    idle_priority: bool = True
    """Whether the shadow runs under SCHED_IDLE, so that it only gets CPU nobody else wants."""
    supervised: bool = True
    """Whether the service starts the shadow itself; false where ``python -m service.shadow`` is started
    beside it, as a container of its own, say."""
    socket: str | None = None
    """Path of the Unix socket; by default under UNDERSTUDY_HOME."""
    explain_rate: float = Field(default=0.01, ge=0, le=1)
    """Share of the compared rows that are explained under both models."""
    explain_max_evals: int = Field(default=1_000, ge=1)
    """Model rows that a sampling method may evaluate for one row of one model."""
    explain_deadline_ms: float = Field(default=2_000, gt=0)
    """How long explaining may hold up one candidate's comparisons at a time."""


class ExplainSettings(Section):
    """What explanations may cost."""

    process: bool = True
    """Whether the Explainer process runs, without which only exact methods answer, and only as JSON."""
    shap: bool = True
    """Whether the Explainer loads shap (seconds, 200 MB), for ``kernel`` and for trees too large to fold."""
    idle_priority: bool = True
    """Whether the Explainer runs under SCHED_IDLE: it gets CPU that nobody else wants, like the shadow."""
    max_evals: int = Field(default=4_000, ge=10)
    """Model rows evaluated for one explained row where the caller does not say."""
    most_evals: int = Field(default=200_000, ge=10)
    """The most that a caller may ask for."""
    deadline_ms: float = Field(default=2_000, gt=0)
    """How long an explanation may take where the caller does not say."""
    longest_deadline_ms: float = Field(default=30_000, gt=0)
    """The longest that a caller may ask for."""
    max_rows: int = Field(default=100, ge=1)
    """Rows of one request that slow methods explain; exact ones explain as many as are answered."""
    queue: int = Field(default=16, ge=0)
    """Requests that may wait in the Explainer; more are answered 503."""
    threads: int = Field(default=1, ge=1, le=64)
    """Requests that the Explainer works on at once."""
    cache_bytes: int = Field(default=32 << 20, ge=0)
    """Memory for explanations that are asked for again."""

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> Self:
        if self.max_evals > self.most_evals:
            raise ValueError("max_evals must not be above most_evals")
        if self.deadline_ms > self.longest_deadline_ms:
            raise ValueError("deadline_ms must not be above longest_deadline_ms")
        return self


class UncertaintySettings(Section):
    """When answers say how sure they are."""

    always: bool = False
    """Whether ``/predict`` says so where the request does not mention it."""
    adapt: bool = False
    """Whether label sets and intervals follow the labels that arrive at ``/feedback``."""


class FeedbackSettings(Section):
    """Answers and labels that are kept, so that it is seen who was right."""

    enabled: bool = True
    """Whether answers are recorded and ``/feedback`` takes labels."""
    record_rate: float = Field(default=1.0, gt=0, le=1)
    """Share of the mirrored requests whose answers are recorded."""
    keep_days: float = Field(default=30, gt=0)
    """How long answers and labels are kept."""
    most_rows: int = Field(default=10_000_000, ge=1)
    """Answered rows in the store, and deliveries of labels, of which long ones count for more; the oldest go
    first."""
    write_ms: float = Field(default=2_000, gt=0, le=60_000)
    """How long ``/feedback`` waits for the store before it answers 503."""
    queue_rows: int = Field(default=100_000, ge=1)
    """Rows that may wait for the store in the shadow."""
    queue_bytes: int = Field(default=64 << 20, ge=1 << 16)
    """The same in bytes of their arrays."""


class EvidenceSettings(Section):
    """What is kept of the comparisons, so that it survives restarts and adds up over replicas."""

    enabled: bool = True
    """Whether the shadow keeps evidence and comes to a verdict."""
    worst: int = Field(default=20, ge=0, le=1000)
    """The worst disagreements that are kept of each candidate, with inputs and reasons."""
    sample: int = Field(default=20, ge=0, le=1_000)
    """Compared rows that are kept of each slice, drawn at random."""
    explain: bool = True
    """Whether both models' reasons are kept with them."""
    noise_rate: float = Field(default=0.01, ge=0, le=1)
    """Share of the compared batches that production answers again, to see how far it differs from itself."""
    keep_days: float = Field(default=90, gt=0)
    """How long rows, and sums by the hour, are kept."""
    redact: dict[str, Redaction] = {}
    """What becomes of a column's values before they are kept; the stricter of this and the manifest."""

    @property
    def explains(self) -> bool:
        """Whether there are cases to be explained."""
        return self.enabled and self.explain and bool(self.worst or self.sample)


class DriftSettings(Section):
    """How traffic is held against the reference data."""

    enabled: bool = True
    """Whether rows are counted by bin, and ``/drift`` is answered."""
    looks_per_minute: int = Field(default=600, ge=0, le=60_000)
    """Rows of which it is seen how strange they are, and whether a classifier tells them from the reference
    data; 0 for none."""
    keep_days: float = Field(default=400, gt=0)
    """How long the counts of a model that is served no more are kept."""


class LogSettings(Section):
    """What the service says of itself."""

    format: Literal["json", "text"] = "text"
    """One JSON object a line, or lines for people."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    request_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of the requests that get a line of their own; those that fail with 5xx do anyway, up to 10 of
    each status in a second and a worker."""


class TraceSettings(Section):
    """OpenTelemetry spans of requests."""

    endpoint: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """Where spans are sent by OTLP over HTTP, as ``http://collector:4318/v1/traces``; None for nowhere."""
    sample_rate: float = Field(default=0.01, ge=0, le=1)
    """Share of the requests without a ``traceparent`` that are traced; with one, its flag decides."""
    queue: int = Field(default=2_048, ge=16)
    """Spans that may wait for the collector; further ones are dropped and counted. A request has up to 10."""


class VerdictSettings(Section):
    """How sure the verdict has to be, and how much may differ."""

    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """Probability of ever saying rollback of a candidate that is within all margins, or better of another."""
    least_rows: int = Field(default=1_000, ge=1)
    """Compared rows before it says anything but hold."""
    least_labels: int = Field(default=100, ge=1)
    """Labelled rows before labels count."""
    least_coverage: float = Field(default=0.5, ge=0, le=1)
    """Share of the mirrored rows that has to be compared."""
    labels: Literal["required", "when_present", "ignored"] = "when_present"
    """Whether a candidate can be promoted without labels."""
    flip_rate: float = Field(default=0.05, gt=0, lt=1)
    """Share of the rows that may get another label, or of a regression another value beyond the tolerance."""
    gap: float = Field(default=0.05, gt=0, lt=1)
    """Mean absolute difference of the scores: probabilities, or a regression's in standard deviations."""
    failure_rate: float = Field(default=0.01, gt=0, lt=1)
    """Share of the rows on which the candidate may fail."""
    accuracy: float = Field(default=0.01, gt=0, lt=1)
    """How much less often the candidate may be right, as a share of the labelled rows."""
    loss: float = Field(default=0.01, gt=0, lt=1)
    """How much larger its loss may be: Brier score, or absolute error over five standard deviations."""
    slice_accuracy: float = Field(default=0.05, gt=0, lt=1)
    """As ``accuracy``, in each slice of the manifest; of a regression as ``loss``."""


class RolloutSettings(Section):
    """The canary split; watched while the service runs."""

    candidate: str | None = None
    share_basis_points: int = Field(default=0, ge=0, le=10_000)
    """Routing keys of 10,000 that the candidate answers."""
    salt: str = Field(default="understudy", min_length=1, max_length=200)

    @model_validator(mode="after")
    def _share_has_a_candidate(self) -> Self:
        if self.share_basis_points and self.candidate is None:
            raise ValueError("share_basis_points needs a candidate")
        return self
