"""Servers are started on a free port, pinned, suspended and stopped by id."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from load_tests import contestants
from load_tests.crashes import CrashLoop
from load_tests.machine import choose_cores
from load_tests.server import Server, StartError, free_port, get, running

pytestmark = pytest.mark.process


def test_a_server_answers_inside_the_block_and_is_gone_after_it() -> None:
    core, _ = choose_cores()
    with contestants.constant(core) as server:
        assert get(server.address, "/")[0] == 200
        assert os.sched_getaffinity(server.pid) == {core}
        assert server.tree() == {"supervisor": [server.pid]}
    assert not psutil.pid_exists(server.pid)
    assert not server.home.exists()
    with pytest.raises(OSError, match="refused"):
        get(server.address, "/")


def test_a_server_without_cores_of_its_own_has_those_that_its_starter_keeps_from_itself() -> None:
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(usable)})
    try:
        with running(
            lambda port: [sys.executable, "-m", "load_tests.peers.constant", str(port)], ready="/"
        ) as found:
            assert os.sched_getaffinity(found.pid) >= usable
    finally:
        os.sched_setaffinity(0, usable)


def test_a_suspended_server_uses_no_cpu_and_still_stops() -> None:
    with contestants.constant(choose_cores()[0]) as server:
        server.suspend()
        end = time.monotonic() + 5
        while psutil.Process(server.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < end, "never suspended"
            time.sleep(0.001)
        server.resume()
        assert get(server.address, "/")[0] == 200
        server.suspend()
    assert not psutil.pid_exists(server.pid)


def test_a_server_is_idle_once_none_of_its_processes_wants_the_cpu() -> None:
    busy = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with contestants.constant(choose_cores()[0]) as server:
        start = time.monotonic()
        server.await_idle(60)
        assert time.monotonic() - start < 60, "a server that does nothing is not idle"
    with subprocess.Popen([sys.executable, "-c", busy]) as process:
        try:
            working = Server(0, process.pid, Path(), Path(), 0.0)
            start = time.monotonic()
            working.await_idle(2)
            assert time.monotonic() - start >= 2, "its child is at work"
        finally:
            for child in psutil.Process(process.pid).children():
                child.kill()
            process.kill()


def test_a_server_that_ends_at_once_is_reported_with_its_log() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with pytest.raises(StartError, match="no such model"), running(lambda _: command, ready="/"):
        pytest.fail("it cannot be ready")


def test_a_server_that_is_never_ready_is_stopped() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(StartError, match="not ready"), running(lambda _: command, ready="/", timeout=0.3):
        pytest.fail("it cannot be ready")
    alive = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    assert not [child for child in alive if "time.sleep(60)" in " ".join(child.cmdline())]


def test_free_ports_can_be_bound() -> None:
    assert 1024 <= free_port() <= 65535


def test_a_crash_loop_kills_the_shadow_and_nothing_else() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    keep = f"subprocess.run({[*sleep, '-m', 'service.shadow', 'x']!r})"
    keeper = f"import subprocess, threading; threading.Thread(target=lambda: {keep}).start()"  # as KeptChild
    with (
        subprocess.Popen([sys.executable, "-c", keeper]) as shadow,
        subprocess.Popen([*sleep, "--service-name", "Predictor", "x"]) as edge,
    ):
        try:
            crash = CrashLoop(os.getpid())
            end = time.monotonic() + 10
            while not crash.crashes and time.monotonic() < end:
                crash()
                time.sleep(0.05)
            assert shadow.wait(5) == 0, "the keeper was killed, not its child"
            assert crash.crashes == 1
            assert crash.lost_cpu >= 0
            assert edge.poll() is None
        finally:
            edge.kill()
            shadow.kill()
