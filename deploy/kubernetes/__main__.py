"""``python -m deploy.kubernetes``: writes rules and dashboards as objects; a test holds them to it."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana.__main__ import BOARDS
from deploy.kubernetes.watching import dashboard, rule, text
from deploy.prometheus import alerts, recording

FOLDER = Path(__file__).parent / "components" / "monitoring"


def files() -> dict[str, str]:
    """Every generated file by its name."""
    rules = [rule("recording", recording.groups()), rule("alerts", alerts.groups())]
    return {"rules.yaml": text(rules), "dashboards.yaml": text(map(dashboard, BOARDS))}


def main() -> None:
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"written: {name}")


if __name__ == "__main__":
    main()
