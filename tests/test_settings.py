"""Configuration: one file, variables over it, and an error that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from service.errors import ConfigurationError
from service.settings import (
    DEFAULT_FILE,
    OUTSIDE_THE_FILE,
    PREFIX,
    RolloutSettings,
    Settings,
    read_environment,
    read_rollout,
    read_settings,
)

BASE = {"production": "m:prod", "candidates": ["m:one", "m:two"]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "understudy.yaml"


def read(path: Path, document: Any, **variables: str) -> Settings:
    path.write_text(yaml.safe_dump(document), "utf-8")
    return read_settings(path, {PREFIX + name: text for name, text in variables.items()})


def leaves(model: type[BaseModel], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every key that is no section, with its default."""
    found: dict[tuple[str, ...], Any] = {}
    for name, entry in model.model_fields.items():
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            found |= leaves(entry.annotation, (*above, name))
        else:
            found[*above, name] = entry.default
    return found


def found_at(settings: BaseModel, keys: tuple[str, ...]) -> Any:
    value: Any = settings
    for key in keys:
        value = getattr(value, key)
    return value


def test_the_default_file_shows_every_key_with_the_default_of_the_code() -> None:
    document = yaml.safe_load(DEFAULT_FILE.read_text("utf-8"))
    missing = object()
    for keys, default in leaves(Settings).items():
        if keys in {("production",), ("candidates",)}:
            continue
        shown = document
        for key in keys:
            shown = shown.get(key, missing) if isinstance(shown, dict) else missing
        if keys == ("shadow", "socket"):
            assert (shown, default) == (
                missing,
                None,
            )  # its default is a path that depends on another variable
        else:
            assert shown == default, keys


def test_the_default_file_is_valid_and_says_nothing_else() -> None:
    settings = read_settings(DEFAULT_FILE, {})
    alone = Settings(production=settings.production, candidates=settings.candidates)
    assert settings == alone


def test_what_is_left_out_has_its_default(path: Path) -> None:
    settings = read(path, {"production": "m:prod"})
    assert settings == Settings(production="m:prod")
    assert settings.candidates == ()


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "an unknown key": ({"shadows": {}}, "shadows", "Extra inputs"),
    "an unknown key inside": ({"shadow": {"sample": 1}}, "shadow.sample", "Extra inputs"),
    "no production": ({"production": None}, "production", "string"),
    "a tag without a version": ({"production": "credit"}, "production", "pattern"),
    "a tag with two": ({"production": "a:b:c"}, "production", "pattern"),
    "a word for a number": ({"server": {"workers": "many"}}, "server.workers", "integer"),
    "a number in quotes": ({"server": {"workers": "2"}}, "server.workers", "integer"),
    "a fraction of a worker": ({"server": {"workers": 1.5}}, "server.workers", "integer"),
    "a truth for a number": ({"server": {"threads": True}}, "server.threads", "integer"),
    "a truth for a fraction": ({"limits": {"inline_ms": True}}, "limits.inline_ms", "number"),
    "a number for a truth": ({"shadow": {"idle_priority": 1}}, "shadow.idle_priority", "boolean"),
    "a number for a word": ({"rollout": {"salt": 2026}}, "rollout.salt", "string"),
    "a value for a section": ({"shadow": 5}, "shadow", "ShadowSettings"),
    "no workers": ({"server": {"workers": 0}}, "server.workers", "greater than or equal to 1"),
    "too many workers": ({"server": {"workers": 33}}, "server.workers", "less than or equal to 32"),
    "a share above one": ({"shadow": {"sample_rate": 1.01}}, "shadow.sample_rate", "less than or equal"),
    "a share below nought": (
        {"shadow": {"sample_rate": -0.1}},
        "shadow.sample_rate",
        "greater than or equal",
    ),
    "more explained than compared": ({"shadow": {"explain_rate": 2}}, "shadow.explain_rate", "less than or"),
    "an explanation of nothing": (
        {"shadow": {"explain_max_evals": 0}},
        "shadow.explain_max_evals",
        "equal to 1",
    ),
    "no time to explain": ({"shadow": {"explain_deadline_ms": 0}}, "shadow.explain_deadline_ms", "than 0"),
    "a share that is no number": ({"shadow": {"sample_rate": float("nan")}}, "shadow.sample_rate", "finite"),
    "a deadline without end": ({"limits": {"deadline_ms": float("inf")}}, "limits.deadline_ms", "finite"),
    "no time at all": ({"limits": {"deadline_ms": 0}}, "limits.deadline_ms", "greater than 0"),
    "no time left for production": (
        {"limits": {"canary_deadline_ms": 2_000}},
        "limits",
        "canary_deadline_ms must be below deadline_ms",
    ),
    "a candidate twice": ({"candidates": ["m:one", "m:one"]}, "candidates", "listed twice"),
    "production as its own shadow": ({"candidates": ["m:prod"]}, "candidates", "shadow itself"),
    "too many candidates": (
        {"candidates": [f"m:{number}" for number in range(17)]},
        "candidates",
        "at most 16",
    ),
    "a canary that is no candidate": (
        {"rollout": {"candidate": "m:three", "share_basis_points": 1}},
        "rollout.candidate",
        "'m:three' is not among the candidates (m:one, m:two)",
    ),
    "a canary without candidates": (
        {"candidates": [], "rollout": {"candidate": "m:one"}},
        "rollout",
        "(none)",
    ),
    "a share of nobody": ({"rollout": {"share_basis_points": 1}}, "rollout", "needs a candidate"),
    "more than all": ({"rollout": {"share_basis_points": 10_001}}, "rollout.share_basis_points", "10000"),
    "a collector that is no URL": ({"trace": {"endpoint": "collector:4318"}}, "trace.endpoint", "https?://"),
    "no room for one request's spans": ({"trace": {"queue": 5}}, "trace.queue", "equal to 16"),
    "an empty salt": ({"rollout": {"salt": ""}}, "rollout.salt", "at least 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refuses_and_names_the_file_the_key_and_what_was_expected(path: Path, case: str) -> None:
    change, key, expected = WRONG[case]
    with pytest.raises(ConfigurationError) as caught:
        read(path, BASE | change)
    message = str(caught.value)
    assert str(path) in message
    assert key in message
    assert expected in message
    assert "\n" not in message


def test_every_mistake_is_named_at_once(path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(path, BASE | {"server": {"workers": 0, "threads": "x"}, "colour": "red"})
    assert all(key in str(caught.value) for key in ("server.workers", "server.threads", "colour"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"production: [half", "not YAML"),
        (b"production: \xff", "not YAML"),
        (b"production: 2026-02-31", "not YAML"),
        (b"", "found NoneType"),
        (b"- a\n- b", "found list"),
        (b"just words", "found str"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(path: Path, content: bytes, said: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said) as caught:
        read_settings(path, {})
    assert str(path) in str(caught.value)


def test_an_absent_file_is_refused_by_its_name(path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"understudy\.yaml: cannot be read: No such file"):
        read_settings(path, {})


OVERRIDES: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "a word": ("PRODUCTION", ("production",), "m:other"),
    "a list": ("CANDIDATES", ("candidates",), ("m:two",)),
    "a whole number": ("SERVER_WORKERS", ("server", "workers"), 3),
    "a fraction": ("SHADOW_SAMPLE_RATE", ("shadow", "sample_rate"), 0.25),
    "a truth": ("SHADOW_IDLE_PRIORITY", ("shadow", "idle_priority"), False),
    "a path or null": ("SHADOW_SOCKET", ("shadow", "socket"), "/run/shadow.sock"),
    "a tag or null": ("ROLLOUT_CANDIDATE", ("rollout", "candidate"), "m:one"),
}
TEXTS = {"a list": "[m:two]", "a truth": "false"}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_variable_wins_over_the_file(path: Path, case: str) -> None:
    name, keys, value = OVERRIDES[case]
    settings = read(path, BASE, **{name: TEXTS.get(case, str(value))})
    assert found_at(settings, keys) == value


SHARES = (
    "noise_rate", "alpha", "least_coverage", "flip_rate", "gap", "failure_rate", "accuracy", "loss",
    "slice_accuracy",
)  # fmt: skip


def test_every_key_has_a_variable(path: Path) -> None:
    given = {
        "production": "m:prod",
        "candidates": "[m:one]",
        "candidate": "m:one",
        "socket": "/run/s",
        "salt": "word",
        "idle_priority": "false",
        "supervised": "false",
        "enabled": "false",
        "always": "true",
        "format": "json",
        "level": "debug",
        "endpoint": "http://collector:4318/v1/traces",
        "request_rate": "0.5",
        "record_rate": "0.5",
        "sample_rate": "0.5",
        "explain_rate": "0.5",
        "buffer_bytes": "65536",
        "queue": "30",
        "process": "false",
        "shap": "false",
        "explain": "false",
        "labels": "required",
        "redact": "{Income: drop}",
        **dict.fromkeys(SHARES, "0.25"),
        "adapt": "false",  # which cannot be true without feedback
        "max_evals": "20",
        "most_evals": "30",
        "queue_bytes": "65536",
        "canary_deadline_ms": "1",
        "deadline_ms": "2",
    }
    variables = {"_".join(keys).upper(): given.get(keys[-1], "3") for keys in leaves(Settings)}
    settings = read(path, {"production": "m:other"}, **variables)
    for keys, default in leaves(Settings).items():
        text = given.get(keys[-1], "3")
        value = found_at(settings, keys)
        assert value == (tuple(yaml.safe_load(text)) if text.startswith("[") else yaml.safe_load(text)), keys
        assert value != default or keys[-1] == "adapt", keys
    assert read(path, {"production": "m:other"}, UNCERTAINTY_ADAPT="true").uncertainty.adapt


def test_what_kubernetes_sets_for_a_service_called_understudy_is_no_setting(path: Path) -> None:
    links = {"SERVICE_HOST": "10.0.0.1", "PORT": "tcp://10.0.0.1:3000", "PORT_3000_TCP_ADDR": "10.0.0.1"}
    assert read(path, {"production": "m:prod"}, **links) == read(path, {"production": "m:prod"})


def test_a_variable_can_take_a_value_back(path: Path) -> None:
    document = BASE | {"rollout": {"candidate": "m:one"}}
    assert read(path, document, ROLLOUT_CANDIDATE="null").rollout.candidate is None


@pytest.mark.parametrize("name", ["SHADOW_SAMPLE", "SAMPLE_RATE", "SHADOW", "shadow_sample_rate", ""])
def test_an_unknown_variable_is_refused_by_its_name(path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"variable UNDERSTUDY_{name} is not a setting"):
        read(path, BASE, **{name: "1"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("many", "shadow.sample_rate"),
        ("", "shadow.sample_rate"),
        ("[1", "cannot be read as YAML"),
        ("2", "found 2"),
    ],
)
def test_a_wrong_value_in_a_variable_is_named(path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(path, BASE, SHADOW_SAMPLE_RATE=text)
    assert said in str(caught.value)


def test_a_variable_into_what_is_no_section_is_named(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="UNDERSTUDY_SHADOW_SAMPLE_RATE: 'shadow' in the file"):
        read(path, BASE | {"shadow": None}, SHADOW_SAMPLE_RATE="1")


def test_variables_of_others_are_left_alone(path: Path) -> None:
    path.write_text(yaml.safe_dump(BASE), "utf-8")
    outside = {PREFIX + name: "x" for name in OUTSIDE_THE_FILE}
    assert read_settings(path, {"HOME": "/", "SHADOW_SAMPLE_RATE": "x", **outside}) == Settings(**BASE)


def test_the_rollout_alone_follows_the_same_rules(path: Path) -> None:
    document = BASE | {"rollout": {"candidate": "m:one", "share_basis_points": 7, "salt": "s"}}
    path.write_text(yaml.safe_dump(document), "utf-8")
    expected = RolloutSettings(candidate="m:one", share_basis_points=7, salt="s")
    assert read_rollout(path, ("m:one",), {}) == expected
    assert (
        read_rollout(path, ("m:one",), {"UNDERSTUDY_ROLLOUT_SHARE_BASIS_POINTS": "9"}).share_basis_points == 9
    )
    with pytest.raises(ConfigurationError, match=r"'m:one' is not among the candidates \(m:two\)"):
        read_rollout(path, ("m:two",), {})


def test_a_file_without_a_rollout_means_no_canary(path: Path) -> None:
    path.write_text(yaml.safe_dump(BASE), "utf-8")
    assert read_rollout(path, ("m:one",), {}) == RolloutSettings()


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (None, "rollout"),
        (5, "rollout"),
        ({"share_basis_points": -1, "candidate": "m:one"}, "rollout: share_basis_points"),
        ({"share": 1}, "rollout: share"),
        ({"share_basis_points": 1}, "needs a candidate"),
    ],
)
def test_a_wrong_rollout_is_refused_and_named(path: Path, section: Any, key: str) -> None:
    path.write_text(yaml.safe_dump(BASE | {"rollout": section}), "utf-8")
    with pytest.raises(ConfigurationError) as caught:
        read_rollout(path, ("m:one",), {})
    assert key in str(caught.value)


def test_the_environment_has_defaults() -> None:
    environment = read_environment({})
    assert environment.config == DEFAULT_FILE
    assert environment.home == Path(".understudy").absolute()
    assert (environment.providers, environment.admin_token) == ((), None)


def test_the_environment_is_read() -> None:
    environment = read_environment(
        {
            "UNDERSTUDY_CONFIG": "/etc/understudy.yaml",
            "UNDERSTUDY_HOME": "/var/understudy",
            "UNDERSTUDY_PROVIDERS": "CUDAExecutionProvider, CPUExecutionProvider,",
            "UNDERSTUDY_ADMIN_TOKEN": "secret",
        }
    )
    assert environment.config == Path("/etc/understudy.yaml")
    assert environment.home == Path("/var/understudy")
    assert environment.providers == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert environment.admin_token == "secret"


@pytest.mark.parametrize("name", ["CONFIG", "HOME", "PROVIDERS", "ADMIN_TOKEN"])
def test_an_empty_variable_is_as_good_as_none(name: str) -> None:
    assert read_environment({PREFIX + name: ""}) == read_environment({})


@pytest.mark.parametrize(
    "url",
    ["sqlite:///store.db", "sqlite:////var/lib/store.db", "postgresql+psycopg://user:word@host:5432/name"],
)
def test_the_store_may_be_a_file_or_a_server(url: str) -> None:
    assert read_environment({"UNDERSTUDY_STORE_URL": url}).store_url == url


@pytest.mark.parametrize(
    "url",
    [
        "store.db",
        "mysql://user:secret@host/name",
        "postgresql+psycopg://user:secret@host:port/name",
        "sqlite://",
        "sqlite://store.db",
        "sqlite:///:memory:",
        "sqlite:///file:labels?mode=memory&uri=true",
    ],
)
def test_another_store_is_refused_without_a_word_about_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="UNDERSTUDY_STORE_URL: expected sqlite:///PATH") as caught:
        read_environment({"UNDERSTUDY_STORE_URL": url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("candidates", "feedback", "drift", "mirrors"),
    [
        ([], False, False, False),
        ([], True, False, True),
        ([], False, True, True),
        (["m:1"], False, False, True),
    ],
)
def test_answers_are_mirrored_where_somebody_wants_them(
    path: Path, candidates: list[str], feedback: bool, drift: bool, mirrors: bool
) -> None:
    document = {
        "production": "m:prod",
        "candidates": candidates,
        "feedback": {"enabled": feedback},
        "drift": {"enabled": drift},
    }
    assert read(path, document).mirrors == mirrors


def test_regions_cannot_follow_labels_that_nobody_takes(path: Path) -> None:
    document = {"production": "m:prod", "uncertainty": {"adapt": True}, "feedback": {"enabled": False}}
    with pytest.raises(ConfigurationError, match=r"uncertainty\.adapt needs labels"):
        read(path, document)
