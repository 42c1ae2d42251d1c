"""The first process of the shadow's container: it keeps one child, and never ends because the child did.

A pod is taken out of its Service while any of its containers is not ready, and a container that crashed is
not. So a bad candidate would take production off the air; under this process it only takes itself.
Guarantee: the child is started again after every end, after pauses that double; one that is silent is killed;
and one that wants more memory than its ceiling is refused it, before the kernel ends the whole container.
Cost: standard library only, 14 MB of resident memory (a test holds 20), one wake-up a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
BEAT_DESCRIPTOR = 3
"""The child's end of the pipe that it writes a byte to every second."""
CONFIGURATION = 78
"""Exit status of a child that cannot run as it is configured; EX_CONFIG of sysexits.h."""
OCCUPIED = 75
"""Exit status of a child in whose place another one works; EX_TEMPFAIL."""
LEAST_RESERVE = 32 << 20
"""What a container needs beside the child: this process, page tables, socket buffers."""
FIRST_VICTIM = 1000
"""The kernel's oom_score_adj of what it ends first, should the whole machine run out of memory."""


_MEANINGS = {CONFIGURATION: " (its configuration)", OCCUPIED: " (another one is at work)"}


@dataclass(frozen=True, slots=True)
class Care:
    """How a child is kept; all in seconds but the ceiling."""

    first_pause: float = 1.0
    longest_pause: float = 60.0
    settled: float = 60.0
    """A child that lived this long is healthy: the next pause is the first again."""
    silence: float = 60.0
    """After its first beat, a child that is silent for so long hangs."""
    loading: float = 600.0
    """How long its first beat may take: models are loaded meanwhile."""
    ceiling: int | None = None
    """Bytes of anonymous memory that the child may have; None for as many as there are."""

    def pause_after(self, previous: float, lived: float) -> float:
        """Doubled for each child that died young."""
        if lived >= self.settled or not previous:
            return self.first_pause
        return min(2 * previous, self.longest_pause)


def ceiling_below(limit: int | None) -> int | None:
    """The child's share of a container's memory limit: all but a tenth, and but 32 MiB at least.

    Raises:
        ValueError: nothing would be left.
    """
    if limit is None:
        return None
    left = limit - max(LEAST_RESERVE, limit // 10)
    if left <= 0:
        raise ValueError(f"a memory limit of {limit} bytes leaves nothing for the shadow")
    return left


@dataclass(slots=True)
class Sidecar:
    """Keeps ``command`` running until SIGTERM or SIGINT, which the child gets too and takes its time over.

    The child inherits nothing but its environment, standard output and error. Its standard input ends when
    this process does, however it goes, and ``BEAT_DESCRIPTOR`` takes its beats.
    """

    command: Sequence[str]
    care: Care = field(default_factory=Care)
    say: Callable[[str], None] = field(default_factory=lambda: teller(os.environ))
    _child: int = 0
    _beats: int = -1
    _leash: int = -1
    _stopping: bool = False
    _peak: int = 0
    """Bytes that the last child had in memory at most, files that it mapped included."""

    def run(self) -> int:
        """The last child's exit status, or 128 and the signal that ended it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are waited for; blocked, pid 1 gets them too
        pause = 0.0
        while True:
            born = time.monotonic()
            try:
                status = self._one_life()
            except OSError as error:  # no memory or no process to be had just now
                self.say(f"the shadow cannot be started: {error}")
                status = 1
            if self._stopping:
                return status
            pause = self.care.pause_after(pause, time.monotonic() - born)
            self.say(f"the shadow is started again in {pause:g} s")
            if not self._rest(pause):
                return 0

    def _one_life(self) -> int:
        self._spawn()
        heard, deadline = time.monotonic(), self.care.loading
        killed = ""
        while (status := self._wait(1.0)) is None:
            self._confine()
            now = time.monotonic()
            if self._beaten():
                heard, deadline = now, self.care.silence
            elif now - heard > deadline and not killed:
                killed = f", after {now - heard:.0f} s without a sign of life"
                os.kill(self._child, signal.SIGKILL)
        os.close(self._beats)
        os.close(self._leash)
        self._child = 0
        code = os.waitstatus_to_exitcode(status)
        self.say(f"the shadow {_ending(code)}{killed}{self._memory_told(code)}")
        return code if code >= 0 else 128 - code

    def _memory_told(self, code: int) -> str:
        """What helps to see that a limit is too small for what was loaded."""
        if not code or self.care.ceiling is None:
            return ""
        return f"; it used up to {self._peak >> 20} MiB of memory, and is granted {self.care.ceiling >> 20}"

    def _wait(self, seconds: float) -> int | None:
        """The child's wait status once it has ended; None where it lives on after a signal or ``seconds``."""
        found = signal.sigtimedwait(SIGNALS, min(seconds, self.care.silence / 4))
        # CPython 3.11, suspended for longer than it was to wait, returns a number that is no signal
        if found is not None and found.si_signo in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
            if self._child:
                os.kill(self._child, found.si_signo)
        with contextlib.suppress(ChildProcessError):  # there is none left
            while (ended := os.wait4(-1, os.WNOHANG))[0]:  # pid 1 inherits whatever lost its parent
                if ended[0] == self._child:
                    self._peak = 1024 * ended[2].ru_maxrss
                    return ended[1]
        return None

    def _rest(self, seconds: float) -> bool:
        """Whether the time passed without being told to stop."""
        due = time.monotonic() + seconds
        while not self._stopping and (left := due - time.monotonic()) > 0:
            self._wait(min(left, 1.0))
        return not self._stopping

    def _spawn(self) -> None:
        standard_input, self._leash = os.pipe()
        self._beats, beaten = os.pipe()
        os.set_blocking(self._beats, False)
        try:
            self._child = os.posix_spawn(
                self.command[0],
                list(self.command),
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, standard_input, 0),
                    (os.POSIX_SPAWN_DUP2, beaten, BEAT_DESCRIPTOR),
                ],
                setsigmask=(),
            )
        except OSError:
            os.close(self._beats)
            os.close(self._leash)
            raise
        finally:
            os.close(standard_input)
            os.close(beaten)
        self._confine()
        self._offer_to_the_kernel()

    def _confine(self) -> None:
        """Limits the child's memory from outside, the first time before it has read its first module.

        RLIMIT_DATA counts what is mapped, of which a shadow never touches 220 MB (stacks, arenas): a fixed
        limit would waste them. So it follows: a child may map as much more as it is below its ceiling.
        """
        if self.care.ceiling is None:
            return
        mapped, touched = memory_of(self._child)
        allowed = mapped + max(0, self.care.ceiling - touched)
        with contextlib.suppress(OSError):  # it has just ended
            resource.prlimit(self._child, resource.RLIMIT_DATA, (allowed, resource.RLIM_INFINITY))

    def _offer_to_the_kernel(self) -> None:
        with contextlib.suppress(OSError):  # a kernel that does not let us
            Path(f"/proc/{self._child}/oom_score_adj").write_text(str(FIRST_VICTIM))

    def _beaten(self) -> bool:
        try:
            return bool(os.read(self._beats, 4096))
        except BlockingIOError:
            return False


def memory_of(pid: int) -> tuple[int, int]:
    """Bytes of a process's own memory that are mapped, and that are in use; zeros where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0, 0
    found = {
        name: 1024 * int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if name in ("VmData", "RssAnon", "VmSwap")
    }
    return found.get("VmData", 0), found.get("RssAnon", 0) + found.get("VmSwap", 0)


def teller(environment: Mapping[str, str]) -> Callable[[str], None]:
    """Writes lines to standard error as the shadow's own are, JSON where a variable says so.

    The configuration file is not read: that takes more memory than all the rest.
    """
    as_json = environment.get("UNDERSTUDY_LOG_FORMAT") == "json"

    def say(message: str) -> None:
        now = time.time()
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        if as_json:
            fields = {"time": moment, "level": "warning", "logger": "understudy.sidecar", "message": message}
            line = json.dumps(fields | {"pid": os.getpid()})
        else:
            line = f"{moment} [WARNING] [understudy.sidecar] {message}"
        with contextlib.suppress(OSError):  # nobody reads any more
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    return say


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with status {code}{_MEANINGS.get(code, '')}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by signal {-code}"
