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
from service.sections import (
    BreakerSettings,
    DriftSettings,
    EvidenceSettings,
    ExplainSettings,
    FeedbackSettings,
    LimitSettings,
    LogSettings,
    RolloutSettings,
    Section,
    ServerSettings,
    ShadowSettings,
    TraceSettings,
    UncertaintySettings,
    VerdictSettings,
)

PREFIX = "UNDERSTUDY_"
DEFAULT_FILE = Path(__file__).with_name("default.yaml")
SERVICE_LINK = re.compile(rf"{PREFIX}(SERVICE_HOST|SERVICE_PORT|PORT)(_|$)")
"""What Kubernetes sets in every pod for a Service called understudy."""
OUTSIDE_THE_FILE = {"CONFIG", "HOME", "STORE_URL", "PROVIDERS", "ADMIN_TOKEN", "REDACT_KEY"}
"""Variables that have no key in the file."""
STORES = {"sqlite", "postgresql+psycopg"}
"""Kinds of stores."""


class Settings(Section):
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
    evidence: EvidenceSettings = EvidenceSettings()
    verdict: VerdictSettings = VerdictSettings()
    drift: DriftSettings = DriftSettings()
    log: LogSettings = LogSettings()
    trace: TraceSettings = TraceSettings()
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
        return bool(self.candidates) or self.feedback.enabled or self.drift.enabled


class Environment(BaseModel):
    """What comes from the environment alone."""

    model_config = ConfigDict(frozen=True)

    config: Path = DEFAULT_FILE
    home: Path = Path(".understudy")
    providers: tuple[str, ...] = ()
    admin_token: str | None = None
    store_url: str | None = None
    """Of SQLAlchemy's kind; None is a file under ``home``."""
    redact_key: str | None = None
    """Makes hashes of redacted values the same in every process; None draws one for each process."""


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
        redact_key=variables.get(PREFIX + "REDACT_KEY") or None,
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
