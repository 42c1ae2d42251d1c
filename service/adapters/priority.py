"""How a process steps back, so that nobody else waits for it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from pathlib import Path

SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the system call, for which the C library may have no name."""
TURN_NS = 100_000
"""The shortest turn that Linux grants, in nanoseconds."""


class _SchedAttr(ctypes.Structure):
    """``struct sched_attr`` of sched_setattr(2), as of its first version."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def yield_the_cpu() -> bool:
    """Puts every thread of this process under SCHED_IDLE; False where the kernel refuses.

    Threads started later inherit it. Such a process gets only CPU that nobody else wants. BentoML gives
    every process a session of its own, and outside a CPU cgroup Linux may share the CPU between sessions
    first ("autogroup"), where SCHED_IDLE does not count; so the session is ranked lowest as well, and
    its turns are made as short as Linux 6.12 and later allow: somebody else may have to wait for one.
    """
    try:
        for thread in Path("/proc/self/task").iterdir():
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
            _shorten_turns(int(thread.name))
    except OSError:
        return False
    with contextlib.suppress(OSError):  # only kernels that group tasks by session have the file
        Path("/proc/self/autogroup").write_text("19", encoding="ascii")
    return True


def _shorten_turns(thread: int) -> None:
    """Asks for turns of ``TURN_NS``; older kernels take no notice."""
    number = SCHED_SETATTR.get(platform.machine())
    if number is not None:
        wanted = _SchedAttr(ctypes.sizeof(_SchedAttr), os.SCHED_IDLE, 0, 0, 0, TURN_NS, 0, 0)
        ctypes.CDLL(None).syscall(number, thread, ctypes.byref(wanted), 0)
