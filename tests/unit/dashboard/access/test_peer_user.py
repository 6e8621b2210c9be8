"""Whose process is at the other end of a loopback connection."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from dashboard.access.peer_user import peer_uid, uid_of
from tests.support.intruder import NOBODY, as_another_user

# Rows as Linux writes them on a little-endian processor.
TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:138E 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 7557554 2 00000000f277d8a9 100 0 0 10 0
   1: 0100007F:B2C4 0100007F:138E 01 00000000:00000000 00:00000000 00000000  1001        0 8123456 1 0000000000000000 20 4 30 10 -1
   2: 0100007F:138E 0100007F:B2C4 01 00000000:00000000 00:00000000 00000000  1000        0 8123457 1 0000000000000000 20 4 30 10 -1
   3: 0100007F:B2C6 0100007F:138E 06 00000000:00000000 03:00000F5C 00000000     0        0 0 3 0000000000000000
"""
TABLE_6 = """  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when
   0: 0000000000000000FFFF00000100007F:B2C4 0000000000000000FFFF00000100007F:138E 01 00000000:00000000 00:00000000 00000000  1002        0 9 1 0
   1: 00000000000000000000000001000000:B2C4 00000000000000000000000001000000:138E 01 00000000:00000000 00:00000000 00000000  1003        0 9 1 0
"""
little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the rows are of a little-endian processor")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@little_endian
def test_the_row_of_the_other_end_counts_and_not_the_own_one() -> None:
    assert uid_of(("127.0.0.1", 0xB2C4), ("127.0.0.1", 5006), TABLE) == 1001
    assert uid_of(("127.0.0.1", 5006), ("127.0.0.1", 0xB2C4), TABLE) == 1000
    assert uid_of(("127.0.0.1", 0xB2C5), ("127.0.0.1", 5006), TABLE) is None


@little_endian
def test_a_socket_that_was_closed_has_no_owner_and_not_root() -> None:
    assert uid_of(("127.0.0.1", 0xB2C6), ("127.0.0.1", 5006), TABLE) is None


@little_endian
def test_both_families_and_the_mapped_form_are_found() -> None:
    assert uid_of(("127.0.0.1", 0xB2C4), ("127.0.0.1", 5006), TABLE_6) == 1002
    assert uid_of(("::ffff:127.0.0.1", 0xB2C4), ("::ffff:127.0.0.1", 5006), TABLE) == 1001
    assert uid_of(("::1", 0xB2C4), ("::1", 5006), TABLE_6) == 1003


@pytest.mark.skipif(sys.platform != "linux", reason="the table is Linux's")
def test_a_process_of_this_user_is_recognized(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert peer_uid(accepted) == os.getuid()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user_is_not_taken_for_the_owners(listener: socket.socket) -> None:
    address = listener.getsockname()
    listener.settimeout(10)

    def connect() -> None:
        with socket.create_connection(address, timeout=60) as connection:
            connection.recv(1)

    seen: list[int | None] = []

    def serve() -> None:
        accepted, _ = listener.accept()
        with accepted:
            seen.append(peer_uid(accepted))
            accepted.sendall(b"x")

    thread = threading.Thread(target=serve)
    thread.start()
    as_another_user(connect)
    thread.join(60)
    assert seen == [NOBODY]


@pytest.mark.skipif(sys.platform != "linux", reason="the table is Linux's")
def test_an_end_that_is_closed_already_belongs_to_nobody(listener: socket.socket) -> None:
    # Who sends a request and closes at once would otherwise be root, as which a pipeline may run.
    socket.create_connection(listener.getsockname()).close()
    accepted, _ = listener.accept()
    with accepted:
        assert peer_uid(accepted) is None
