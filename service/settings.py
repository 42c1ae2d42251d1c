"""Configuration: one YAML file, ``UNDERSTUDY_*`` variables over it, checked before anything starts.

The variable of a key is its path in capitals: ``shadow.sample_rate`` is
``UNDERSTUDY_SHADOW_SAMPLE_RATE``; its value is read as YAML.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ConfigurationError

PREFIX = "UNDERSTUDY_"
DEFAULT_FILE = Path(__file__).with_name("default.yaml")
SERVICE_LINK = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT|PORT)(_|$)")
"""What Kubernetes sets in every pod for a Service called understudy."""
OUTSIDE_THE_FILE = {"CONFIG", "HOME", "STORE_URL", "PROVIDERS", "ADMIN_TOKEN"}
"""Variables that have no key in the file."""
STORES = {"sqlite", "postgresql+psycopg"}
"""Kinds of stores."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ServerSettings(_Section):
    """Processes and threads."""

    workers: int = Field(default=1, ge=1, le=32)
    """Edge processes that answer requests."""
    threads: int = Field(default=1, ge=1, le=256)
    """Threads of one inference."""


class LimitSettings(_Section):
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


class BreakerSettings(_Section):
    """When a failing model is paused, and for how long."""

    failures: int = Field(default=5, ge=1)
    pause_seconds: float = Field(default=5, gt=0)
    longest_pause_seconds: float = Field(default=300, gt=0)


class ShadowSettings(_Section):
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
    socket: str | None = None
    """Path of the Unix socket; default ``shadow.sock`` under UNDERSTUDY_HOME."""
    explain_rate: float = Field(default=0.01, ge=0, le=1)
    """Share of the compared rows that are explained under both models."""
    explain_max_evals: int = Field(default=1_000, ge=1)
    """Model rows that a sampling method may evaluate for one row of one model."""
    explain_deadline_ms: float = Field(default=2_000, gt=0)
    """How long explaining may hold up one candidate's comparisons at a time."""


class ExplainSettings(_Section):
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


class UncertaintySettings(_Section):
    """When answers say how sure they are."""

    always: bool = False
    """Whether ``/predict`` says so where the request does not mention it."""
    adapt: bool = False
    """Whether label sets and intervals follow the labels that arrive at ``/feedback``."""


class FeedbackSettings(_Section):
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


class RolloutSettings(_Section):
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


class Settings(_Section):
    """Everything that can be configured."""

    production: str = Field(pattern=r"^[^:]+:[^:]+$")
    """Tag of the production bundle, ``name:version``."""
    candidates: tuple[str, ...] = Field(default=(), max_length=16, strict=False)
    """Tags of the bundles to shadow."""
    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    shadow: ShadowSettings = ShadowSettings()
    breaker: BreakerSettings = BreakerSettings()
    explain: ExplainSettings = ExplainSettings()
    uncertainty: UncertaintySettings = UncertaintySettings()
    feedback: FeedbackSettings = FeedbackSettings()
    rollout: RolloutSettings = RolloutSettings()

    @model_validator(mode="after")
    def _tags_fit(self) -> Self:
        if len(set(self.candidates)) != len(self.candidates):
            raise ValueError("candidates: a bundle is listed twice")
        if self.production in self.candidates:
            raise ValueError("candidates: production cannot shadow itself")
        check_rollout(self.rollout, self.candidates)
        return self

    @model_validator(mode="after")
    def _labels_can_come(self) -> Self:
        if self.uncertainty.adapt and not self.feedback.enabled:
            raise ValueError("uncertainty.adapt needs labels, and feedback.enabled is false")
        return self

    @property
    def mirrors(self) -> bool:
        """Whether answers are of any use beside the edge, so that the shadow runs."""
        return bool(self.candidates) or self.feedback.enabled


class Environment(BaseModel):
    """What comes from the environment alone."""

    model_config = ConfigDict(frozen=True)

    config: Path = DEFAULT_FILE
    home: Path = Path(".understudy")
    providers: tuple[str, ...] = ()
    admin_token: str | None = None
    store_url: str | None = None
    """Of SQLAlchemy's kind; None is a file under ``home``."""


def check_rollout(rollout: RolloutSettings, candidates: tuple[str, ...]) -> None:
    """Raises ``ValueError`` where the canary is not one of the candidates."""
    if rollout.candidate is not None and rollout.candidate not in candidates:
        listed = ", ".join(candidates) or "none"
        raise ValueError(f"rollout.candidate: {rollout.candidate!r} is not among the candidates ({listed})")


def read_environment(variables: Mapping[str, str] = os.environ) -> Environment:
    """The variables that have no key in the file."""
    providers = tuple(
        part.strip() for part in variables.get(PREFIX + "PROVIDERS", "").split(",") if part.strip()
    )
    return Environment(
        config=Path(variables.get(PREFIX + "CONFIG") or DEFAULT_FILE),
        home=Path(variables.get(PREFIX + "HOME") or ".understudy").absolute(),
        providers=providers,
        admin_token=variables.get(PREFIX + "ADMIN_TOKEN") or None,
        store_url=_store_url(variables.get(PREFIX + "STORE_URL") or None),
    )


def read_settings(path: Path, variables: Mapping[str, str] = os.environ) -> Settings:
    """The file at ``path`` with the variables over it.

    Raises:
        ConfigurationError: the file cannot be read, or a key is unknown, of the wrong type or
            impossible; names the key and what was expected.
    """
    document = _read_overridden(path, variables)
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {_explain(error)}") from error


def read_rollout(
    path: Path, candidates: tuple[str, ...], variables: Mapping[str, str] = os.environ
) -> RolloutSettings:
    """The rollout section alone, for a service that runs with ``candidates``.

    Raises:
        ConfigurationError: as ``read_settings``, for this section.
    """
    section = _read_overridden(path, variables).get("rollout", {})
    try:
        rollout = RolloutSettings.model_validate(section)
        check_rollout(rollout, candidates)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: rollout: {_explain(error)}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    return rollout


def _store_url(given: str | None) -> str | None:
    """The URL without a word about its password, which may be wrong in any place but is nobody's business."""
    if given is None:
        return None
    try:
        parts = urlsplit(given)
        named = parts.scheme in STORES and parts.port != 0 and not _fleeting(parts)
    except ValueError:
        named = False
    if not named:
        raise ConfigurationError(f"{PREFIX}STORE_URL: expected sqlite:///PATH or postgresql+psycopg://…")
    return given


def _fleeting(url: SplitResult) -> bool:
    """Whether it is SQLite's and no file's: in memory each process would have its own, and none after it."""
    path = url.path.removeprefix("/")
    return url.scheme == "sqlite" and (url.netloc != "" or not path or path.startswith((":memory:", "file:")))


def _read_overridden(path: Path, variables: Mapping[str, str]) -> dict[str, Any]:
    document = _read_yaml(path)
    keys = _keys(Settings)
    for name, text in variables.items():
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in OUTSIDE_THE_FILE:
            continue
        if SERVICE_LINK.match(name):
            continue
        if name not in keys:
            raise ConfigurationError(
                f"variable {name} is not a setting; settings are keys of {DEFAULT_FILE.name}"
            )
        _put(document, keys[name], _scalar(name, text), name)
    return document


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date that no calendar has
        raise ConfigurationError(f"{path}: is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: expected keys and values, found {type(document).__name__}")
    return document


def _keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Variable name to key path, for every leaf."""
    keys: dict[str, tuple[str, ...]] = {}
    for name, entry in model.model_fields.items():
        path = (*above, name)
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            keys.update(_keys(entry.annotation, path))
        else:
            keys[PREFIX + "_".join(path).upper()] = path
    return keys


def _put(document: dict[str, Any], path: tuple[str, ...], value: Any, name: str) -> None:
    for part in path[:-1]:
        document = document.setdefault(part, {})
        if not isinstance(document, dict):
            raise ConfigurationError(f"variable {name}: {part!r} in the file is not a section")
    document[path[-1]] = value


def _scalar(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"variable {name}: cannot be read as YAML: {text!r}") from error


def _explain(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        given = "" if item["type"] in ("missing", "value_error") else f", found {item['input']!r}"
        parts.append(f"{key + ': ' if key else ''}{item['msg']}{given}")
    return "; ".join(parts)
