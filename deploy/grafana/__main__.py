"""``python -m deploy.grafana``: writes the dashboards' JSON; a test holds it to the code."""

from __future__ import annotations

from pathlib import Path

from deploy.grafana import canary, drift, service, shadow
from deploy.grafana.board import Board

FOLDER = Path(__file__).parent / "dashboards"
BOARDS: tuple[Board, ...] = (shadow.BOARD, drift.BOARD, service.BOARD, canary.BOARD)


def main() -> None:
    for board in BOARDS:
        path = FOLDER / f"{board.name}.json"
        path.write_text(board.text(), encoding="utf-8")
        print(f"written: {path.name}")


if __name__ == "__main__":
    main()
