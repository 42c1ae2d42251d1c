"""The socket between edge and shadow: found under any path, replaced without a gap."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from service.adapters import sockets


def exchange(path: Path) -> bytes:
    with sockets.receiver(path) as shadow, sockets.sender(path) as edge:
        edge.send(b"rows")
        return shadow.recv(100)


def test_a_datagram_arrives(tmp_path: Path) -> None:
    assert exchange(tmp_path / "shadow.sock") == b"rows"


def test_a_path_longer_than_an_address_works(tmp_path: Path) -> None:
    path = tmp_path / ("d" * 90) / ("e" * 90) / "shadow.sock"
    assert len(str(path)) > 180
    assert exchange(path) == b"rows"


def test_a_path_beyond_ascii_is_measured_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 60) / "shadow.sock"
    assert exchange(path) == b"rows"


def test_only_its_owner_may_send(tmp_path: Path) -> None:
    with sockets.receiver(tmp_path / "s"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


def test_nothing_listening_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sockets.sender(tmp_path / "absent.sock")


def test_a_dead_receiver_refuses(tmp_path: Path) -> None:
    sockets.receiver(tmp_path / "s").close()
    with pytest.raises(ConnectionRefusedError):
        sockets.sender(tmp_path / "s")


def test_a_reborn_receiver_takes_the_place_of_the_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    sockets.receiver(path).close()
    assert exchange(path) == b"rows"
    assert [entry.name for entry in tmp_path.iterdir()] == ["s"]


def test_a_file_of_an_earlier_life_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("left behind")
    assert exchange(tmp_path / "s") == b"rows"


def test_a_full_socket_does_not_block(tmp_path: Path) -> None:
    def fill(edge: socket.socket) -> None:
        while True:
            edge.send(b"x" * 1_000)

    path = tmp_path / "s"
    with sockets.receiver(path), sockets.sender(path) as edge, pytest.raises(BlockingIOError):
        fill(edge)


def test_a_place_that_cannot_be_bound_leaves_no_socket_open(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        sockets.receiver(tmp_path / ("n" * 120))
