"""``python -m deploy.prometheus``: writes the rule files beside this one; a test holds them to the code."""

from __future__ import annotations

from pathlib import Path

from deploy.prometheus import alerts, recording
from deploy.prometheus.files import text

FOLDER = Path(__file__).parent
FILES = {"recording.yml": recording.groups, "alerts.yml": alerts.groups}


def main() -> None:
    for name, groups in FILES.items():
        (FOLDER / name).write_text(text(groups()), encoding="utf-8")
        print(f"written: {name}")


if __name__ == "__main__":
    main()
