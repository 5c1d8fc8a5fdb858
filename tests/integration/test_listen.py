"""Where lb4 listens: addresses in use, all addresses, port ranges, ports it may not have."""
import contextlib
import os
import socket

import pytest

import daemon
import namespace
import servers


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


def expect_refusal(lb4, *words):
    """lb4 exits 1, before `ready`, and says why."""
    assert lb4.wait_exit() == 1, lb4.tail()
    lb4.is_finished = True
    text = "\n".join(lb4.lines)
    assert " ready" not in text
    assert not daemon.SANITIZER.search(text), text
    for word in words:
        assert word in text, text


def listener(address, reuseport):
    """A listening socket that belongs to the uid that lb4 runs as."""
    with as_uid(daemon.LB4_UID):
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    sock.listen()
    return sock


@contextlib.contextmanager
def as_uid(uid):
    """Sockets made inside belong to uid."""
    if not daemon.can_change_uid():
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_second_lb4_on_the_same_address_is_refused(start_lb4, server):
    first = start_lb4(["-l", "127.0.0.1:7000", "-s", server.address])
    second = start_lb4(["-l", "127.0.0.1:7000", "-s", server.address], waits=False)
    expect_refusal(second, "127.0.0.1:7000")
    for _ in range(10):
        servers.ask_once("127.0.0.1:7000")
    first.wait_n_closed("rule1", 10)


@pytest.mark.parametrize("address", [":7000", "0.0.0.0:7000", "[::]:7000"])
def test_an_overlap_with_all_addresses_is_refused(start_lb4, server, address):
    start_lb4(["-l", ":7000", "-s", server.address])
    expect_refusal(start_lb4(["-l", address, "-s", server.address], waits=False), "7000")


@pytest.mark.parametrize("reuseport", [False, True])
def test_an_address_of_another_program_is_refused(start_lb4, server, reuseport):
    """Also if that one set SO_REUSEPORT, which would let us in silently (K26): the same uid."""
    with listener(("127.0.0.1", 7000), reuseport):
        expect_refusal(start_lb4(["-l", "127.0.0.1:7000", "-s", server.address], waits=False),
                       "127.0.0.1:7000")


def test_one_bad_address_starts_nothing(start_lb4, server):
    """The second listener fails: the first one serves nobody."""
    with listener(("127.0.0.1", 7001), False):
        lb4 = start_lb4(["-l", "127.0.0.1:7000", "-s", server.address,
                         "-l", "127.0.0.1:7001", "-s", server.address], waits=False)
        expect_refusal(lb4, "127.0.0.1:7001")
    assert servers.is_refused("127.0.0.1:7000")


def test_the_address_is_free_again_after_the_end(start_lb4, server):
    """Connections of the first one in TIME_WAIT do not hinder the next."""
    for _ in range(3):
        lb4 = start_lb4(["-l", "127.0.0.1:7000", "-s", server.address])
        for _ in range(5):
            servers.ask_once("127.0.0.1:7000")
        lb4.wait_n_closed("rule1", 5)
        lb4.finish()


def test_all_addresses_of_both_families(start_lb4, server):
    lb4 = start_lb4(["-l", ":7000", "-s", server.address])
    for host in ["127.0.0.1", "127.0.0.9", "[::1]"]:
        servers.ask_once(f"{host}:7000")
    ends = lb4.wait_n_closed("rule1", 3)
    clients = sorted(end["client"].rsplit(":", 1)[0] for end in ends)
    assert clients == ["127.0.0.1", "127.0.0.1", "[::1]"] or clients == [
        "127.0.0.1", "127.0.0.9", "[::1]"], "mapped addresses are shown as IPv4"


def test_all_addresses_where_there_is_no_ipv6(start_lb4, server):
    with namespace.sysctl("net.ipv6.conf.all.disable_ipv6", "1"):
        lb4 = start_lb4(["-l", ":7000", "-s", server.address])
        servers.ask_once("127.0.0.1:7000")
        lb4.wait_n_closed("rule1", 1)


def test_ipv4_to_ipv6_and_back(start_lb4):
    with servers.EchoServer("v4") as four, servers.EchoServer("v6") as six:
        lb4 = start_lb4(["-l", "127.0.0.1:7000", "-s", six.address,
                         "-l", "[::1]:7001", "-s", four.address])
        servers.ask_once("127.0.0.1:7000")
        servers.ask_once("[::1]:7001")
        assert (four.n_accepted, six.n_accepted) == (1, 1)
        lb4.wait_n_closed("rule1", 1)
        lb4.wait_n_closed("rule2", 1)


def test_a_range_keeps_the_port_that_was_asked_for(start_lb4):
    """One rule for 11 ports, a server without a port, one set of counters."""
    first = namespace.take_ports(12)
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.EchoServer(host="127.0.0.2", port=first + i))
                for i in range(11)]
        lb4 = start_lb4(["-w", "2", "-l", f"127.0.0.1:{first}-{first + 10}", "-s", "127.0.0.2"])
        for i in range(11):
            servers.ask_once(f"127.0.0.1:{first + i}")
        assert [server.n_accepted for server in pool] == [1] * 11
        assert servers.is_refused(f"127.0.0.1:{first + 11}")
        lb4.wait_n_closed("rule1", 11)
        lb4.finish()
        assert lb4.summary()["service", "rule1"]["total"] == 11


def test_a_range_in_front_of_one_port(start_lb4, server):
    first = namespace.take_ports(5)
    lb4 = start_lb4(["-l", f"127.0.0.1:{first}-{first + 4}", "-s", server.address])
    for i in range(5):
        servers.ask_once(f"127.0.0.1:{first + i}")
    assert server.n_accepted == 5
    lb4.wait_n_closed("rule1", 5)


@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs a second uid")
def test_a_port_below_1024_needs_privileges(start_lb4, server):
    expect_refusal(start_lb4(["-l", "127.0.0.1:80", "-s", server.address], waits=False),
                   "127.0.0.1:80")


@pytest.mark.parametrize("server_address", ["127.0.0.1:7000", "127.0.0.5:7000", "[::1]:7000"])
def test_a_server_that_is_our_own_listener_is_refused(start_lb4, server_address):
    expect_refusal(start_lb4(["-l", ":7000", "-s", server_address], waits=False),
                   "our own listener")


def test_an_address_that_this_host_does_not_have(start_lb4, server):
    expect_refusal(start_lb4(["-l", "192.0.2.1:7000", "-s", server.address], waits=False),
                   "192.0.2.1:7000")
