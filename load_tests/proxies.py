"""HAProxy and nginx in front of replicas, each with a configuration of its own and started as a child.

Both keep connections to replicas and close an idle one before the replica would (5 s): whoever closes first
must not be the one that is asked. For the same reason only HAProxy keeps those to callers: at SIGHUP nginx
closes every idle one of them, whatever a replica does, and loses the request that is just on its way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from load_tests.machine import all_cores
from load_tests.server import HOST, free_port

HAPROXY = """
defaults
    mode http
    option redispatch
    timeout connect 1s
    timeout client 30s
    timeout server 30s
frontend callers
    bind {host}:{port}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /readyz
    default-server check inter 250ms fall 1 rise 1 pool-purge-delay 2s
{replicas}
"""
NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream replicas {{
{replicas}
        keepalive 32;
        keepalive_timeout 2s;
    }}
    server {{
        listen {host}:{port};
        keepalive_timeout 0;
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


@dataclass(slots=True)
class Proxy:
    """A running proxy."""

    port: int
    replicas: tuple[int, ...]
    """Ports."""
    looks: bool
    """Whether it asks ``/readyz`` itself; else it has to be told."""
    write: Callable[[Sequence[int]], None]
    reload: Callable[[], None]

    @property
    def address(self) -> tuple[str, int]:
        return HOST, self.port

    def use(self, replicas: Sequence[int]) -> None:
        """Only these from now on, where it does not look itself: what an ingress controller would say."""
        if not self.looks:
            self.write(replicas)
            self.reload()


@contextlib.contextmanager
def haproxy(replicas: Sequence[int]) -> Iterator[Proxy]:
    """HAProxy, which looks at ``/readyz`` of each replica four times a second."""

    def written(_: Path, port: int, used: Sequence[int]) -> str:
        lines = "\n".join(f"    server at-{each} {HOST}:{each}" for each in used)
        return HAPROXY.format(host=HOST, port=port, replicas=lines)

    with _running(["haproxy", "-db", "-f"], written, replicas, looks=True) as proxy:
        yield proxy


@contextlib.contextmanager
def nginx(replicas: Sequence[int]) -> Iterator[Proxy]:
    """nginx, which looks at nothing and takes another list of replicas at SIGHUP."""

    def written(folder: Path, port: int, used: Sequence[int]) -> str:
        lines = "\n".join(f"        server {HOST}:{each};" for each in used)
        return NGINX.format(host=HOST, port=port, replicas=lines, folder=folder)

    with _running(["nginx", "-e", "stderr", "-c"], written, replicas, looks=False) as proxy:
        yield proxy


@contextlib.contextmanager
def _running(
    command: Sequence[str],
    written: Callable[[Path, int, Sequence[int]], str],
    replicas: Sequence[int],
    looks: bool,
) -> Iterator[Proxy]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="load-tests-proxy-") as name:
        folder = Path(name)
        path = folder / "proxy.conf"

        def write(used: Sequence[int]) -> None:
            path.write_text(written(folder, port, used), encoding="utf-8")

        write(replicas)
        process = subprocess.Popen([*command, str(path)], stderr=subprocess.DEVNULL)
        os.sched_setaffinity(process.pid, all_cores())
        try:
            _await_listening(port)
            yield Proxy(port, tuple(replicas), looks, write, lambda: process.send_signal(signal.SIGHUP))
        finally:
            process.terminate()
            process.wait(10)


def _await_listening(port: int, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
