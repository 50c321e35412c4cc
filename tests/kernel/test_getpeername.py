"""bpf/getpeername.h: an application sees whom it dialled, and only where it was redirected."""

from __future__ import annotations

import ipaddress

import pytest

from tests.kernel.conftest import Gate

PEER = """
    s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
    s.connect((sys.argv[1], int(sys.argv[2]))); say(peer=s.getpeername()[:2])
"""


@pytest.mark.parametrize("address", ["10.9.8.7", "fd99::7", "::ffff:10.9.8.7"])
def test_the_peer_is_the_address_dialled(gate: Gate, address: str) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432)])
    assert gate.run(PEER, address, 5432)["peer"] == [address, 5432]


def test_what_was_not_redirected_shows_its_real_peer(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(ipaddress.ip_network("10.9.8.7/32"), 5432)])
    assert gate.run(PEER, "127.0.0.1", gate.port)["peer"] == ["127.0.0.1", gate.port]


def test_the_agent_sees_the_peer_of_an_accepted_socket_as_it_is(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432)])
    answer = gate.run(
        "s = socket.socket(); s.connect(('10.9.8.7', 5432)); say(local=s.getsockname())",
    )
    connection, address = gate.four.accept()
    with connection:
        assert list(address) == list(connection.getpeername()) == answer["local"]


def test_a_reader_in_another_process_sees_it_too(gate: Gate) -> None:
    gate.interceptor.set_targets([gate.target(None, 5432)])
    answer = gate.run(
        """
        s = socket.create_connection(('10.9.8.7', 5432))
        if os.fork() == 0: say(peer=s.getpeername()); os._exit(0)
        os.wait()
        """
    )
    assert answer["peer"] == ["10.9.8.7", 5432]
