"""The operations guide names what there is, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "deploy" / "README.md"
TEXT = GUIDE.read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \[(Understudy\w+)\]\((\S+)\) \| (page or ticket|page|ticket) \|", TEXT, re.MULTILINE)
SETTING = re.compile(r"`((?:server|shadow|rollout|store|limits|feedback|drift|evidence)\.[a-z_]+)`")


def severities() -> dict[str, str]:
    """Of each alert by name, in the guide's words."""
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text(encoding="utf-8"))
    found: dict[str, set[str]] = {}
    for group in rules["groups"]:
        for rule in group["rules"]:
            found.setdefault(rule["alert"], set()).add(rule["labels"]["severity"])
    return {name: " or ".join(sorted(each)) for name, each in found.items()}


def test_every_alert_has_its_line_with_its_severity() -> None:
    assert {name: severity for name, _, severity in ROWS} == severities()
    assert len(ROWS) == len(severities())


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (GUIDE.parent / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"kubectl apply -k (\S+?)`", TEXT))))
def test_every_overlay_that_is_applied_is_there(path: str) -> None:
    assert (ROOT / path / "kustomization.yaml").is_file()


@pytest.mark.parametrize("key", sorted(set(SETTING.findall(TEXT))))
def test_every_setting_that_is_named_can_be_set(key: str) -> None:
    section, _, name = key.partition(".")
    defaults = yaml.safe_load((ROOT / "service/default.yaml").read_text(encoding="utf-8"))
    assert name in defaults[section]
