"""The running shadow: one thread that receives, one for each candidate, and those that write to the store."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from service.adapters.presence import Presence
from service.domain.observation import Parts, ShadowBatch
from service.paths.drift_keeper import DriftKeeper
from service.paths.keeper import Keeper
from service.paths.receiver import ShadowReceiver
from service.paths.recorder import Recorder
from service.paths.shadow import CandidateShadow

log = logging.getLogger("understudy.shadow")

Arrived: TypeAlias = tuple[int, int, int, ShadowBatch | None, Parts | None]
"""Sender, rows handed over before, rows, the rows themselves, and which requests they belong to."""
Read: TypeAlias = Callable[[memoryview, float], Arrived]
"""Of a datagram and its time of arrival."""
RECEIVE_BYTES = 8 << 20
"""Larger than any datagram that a socket takes."""
RECEIVE_SHARE = 0.2
"""Of the time to stop in, for what is still in the socket."""
WORKERS_SHARE = 0.6
"""At this share candidates are to be done; the rest is for writing."""
LOOKS_SECONDS = 1.0
"""Between two looks at which edge workers are gone."""
STUCK_SECONDS = 60.0
"""A run that cannot be broken off may take long; a thread that takes longer for a turn never comes back."""


@dataclass(slots=True)
class ShadowProcess:
    """The running shadow."""

    receiver: ShadowReceiver
    socket: socket.socket
    read: Read
    prepare: Callable[[], None] | None = None
    """What takes a while and nothing waits for; runs in a thread of its own."""
    keeper: Keeper | None = None
    """Keeps the evidence; None where there is none."""
    drift: DriftKeeper | None = None
    """Shows and keeps rows by bin; None where they are not counted."""
    departed: Callable[[], Sequence[tuple[int, int]]] = tuple
    """Edge workers that are gone, and how many rows they had handed over."""
    presence: Presence | None = None
    """Tells the edge that there is a shadow, for as long as this process lives; None where nobody asks."""
    _stopping: threading.Event = field(default_factory=threading.Event)
    """Nothing more is received than what is in the socket already."""
    _finishing: threading.Event = field(default_factory=threading.Event)
    """No more comes from the socket, and candidates work off what they have."""
    _closing: threading.Event = field(default_factory=threading.Event)
    """No more comes from candidates, so what is to be written is all there."""
    _turns: dict[str, float] = field(default_factory=dict)
    """When each thread that has to move began its last turn, on the monotonic clock."""
    _receivers: list[threading.Thread] = field(default_factory=list)
    _workers: list[threading.Thread] = field(default_factory=list)
    _writers: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Starts the threads; they inherit this process's priority."""
        self._receivers = [_started("receive", self._receive)]
        self._workers = [
            _started(f"shadow-{shadow.candidate.tag}", partial(self._follow, shadow))
            for shadow in self.receiver.running()
        ]
        recorder = self.receiver.recorder
        if isinstance(recorder, Recorder):
            self._writers.append(_started("record", partial(self._keep_on, recorder)))
        if self.keeper is not None:
            self._writers.append(_started("keep", partial(self._keep_on, self.keeper)))
        if self.drift is not None:
            self._writers.append(_started("drift", partial(self._keep_on, self.drift)))
        if self.prepare is not None:
            _started("prepare", self.prepare)

    def stuck(self) -> str | None:
        """What does not move any more; those that write to the store may wait for it as long as it takes."""
        if self._stopping.is_set():  # which is bounded anyway
            return None
        overdue = time.monotonic() - STUCK_SECONDS
        return next((name for name, began in list(self._turns.items()) if began < overdue), None)

    def stop(self, patience: float = 5.0) -> None:
        """Works off what is queued and writes what came of it, for ``patience`` seconds at most."""
        began = time.monotonic()
        for event, threads, share in (
            (self._stopping, self._receivers, RECEIVE_SHARE),
            (self._finishing, self._workers, WORKERS_SHARE),
            (self._closing, self._writers, 1.0),
        ):
            event.set()
            for thread in threads:
                thread.join(max(0.0, began + share * patience - time.monotonic()))
        self.socket.close()

    def _receive(self) -> None:
        buffer = memoryview(bytearray(RECEIVE_BYTES))
        look = 0.0
        gone: Sequence[tuple[int, int]] = ()
        while not self._finishing.is_set():
            stopping = self._stopping.is_set()
            if not gone and (stopping or time.monotonic() >= look):
                gone, look = self._gone(), time.monotonic() + LOOKS_SECONDS
            self.socket.settimeout(0.0 if gone or stopping else 0.2)
            try:
                size = self.socket.recv_into(buffer)
            except (TimeoutError, BlockingIOError):  # whatever the dead had sent is here
                self._part_with(gone)
                gone = ()
                if stopping:
                    return
            else:
                self._take(buffer[:size])

    def _gone(self) -> Sequence[tuple[int, int]]:
        try:
            return self.departed()
        except Exception:  # no descriptor to be had, say: there is another look
            log.exception("edge workers that are gone cannot be told")
            return ()

    def _part_with(self, gone: Sequence[tuple[int, int]]) -> None:
        try:
            for sender, handed in gone:
                self.receiver.part(sender, handed)
        except Exception:  # a bug of ours must not make the shadow deaf
            log.exception("edge workers %s that are gone", [sender for sender, _ in gone])

    def _take(self, datagram: memoryview) -> None:
        try:
            self.receiver.receive(*self.read(datagram, time.monotonic()))
        except ValueError as error:  # not one of ours; its rows are found missing by the next frame
            log.error("datagram of %d bytes cannot be read: %s", len(datagram), error)
        except Exception:  # a bug of ours must not make the shadow deaf
            log.exception("datagram of %d bytes", len(datagram))

    def _keep_on(self, work: Recorder | Keeper | DriftKeeper) -> None:
        while not self._closing.is_set():
            try:
                work.run_once()
            except Exception:  # a bug of ours must not end the thread
                log.exception("%s", type(work).__name__)
                self._closing.wait(1.0)
        work.close()

    def _follow(self, shadow: CandidateShadow) -> None:
        name = f"the shadow of {shadow.candidate.tag}"
        while not self._finishing.is_set() or shadow.waiting():
            self._turns[name] = time.monotonic()
            try:
                shadow.run_once()
            except Exception:  # a bug of ours must not end the candidate's thread
                log.exception("shadow of %s", shadow.candidate.tag)


def _started(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread
