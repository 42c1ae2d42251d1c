"""What BentoML's supervisor, circus, leaves out when it is told to stop."""

from __future__ import annotations

import signal
import socket
from typing import Any

from circus.sighandler import SysHandler  # type: ignore[import-untyped]  # it has no types

EDGE, LISTENER = "service", "_bento_api_server"
"""Names that BentoML gives the edge's watcher and its socket."""


def supervise() -> None:
    """Teaches the supervisor, in whose process this is called before it starts.

    It sends SIGTERM whatever it got itself, so Ctrl-C would drain: now the edge gets SIGINT, also while it
    drains. And it holds the edge's socket open until its last process has ended, so that whoever connects
    hangs: now that is refused once the edge is gone.
    """
    quits = SysHandler.quit

    def quit_(handler: Any) -> None:
        handler.controller.loop.add_callback_from_signal(_refuse_then, handler.controller.arbiter)
        quits(handler)

    def interrupt(handler: Any) -> None:
        handler.controller.loop.add_callback_from_signal(_hurry, handler.controller.arbiter)
        handler.quit()

    SysHandler.quit, SysHandler.handle_int = quit_, interrupt


def _hurry(arbiter: Any) -> None:
    edge = arbiter.get_watcher(EDGE)
    edge.stop_signal = signal.SIGINT
    if edge.is_stopping():
        for pid in edge.processes:
            edge.send_signal(pid, signal.SIGINT)


def _refuse_then(arbiter: Any) -> None:
    def refuse(**_: Any) -> bool:
        arbiter.sockets[LISTENER].shutdown(socket.SHUT_RDWR)
        return True

    arbiter.get_watcher(EDGE).hooks["after_stop"] = refuse
