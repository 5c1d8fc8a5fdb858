"""Who is to blame for a connect that comes to nothing."""
import time

import pytest

import namespace
import servers

LISTEN = "127.0.0.1:7000"
N_SERVERS = 4

pytestmark = pytest.mark.skipif(not namespace.has_nft(), reason="nft is not installed")


def failures(lb4):
    return [values["connect_failures"] for (kind, _), values in lb4.summary().items()
            if kind == "server"]


def test_a_connect_that_the_kernel_gives_up_counts_as_a_try(start_lb4):
    """The kernel is less patient than `timeout connect`."""
    first = namespace.take_ports(N_SERVERS)
    pool = [word for i in range(N_SERVERS) for word in ("-s", f"127.0.0.1:{first + i}")]
    lb4 = start_lb4(["-w", "1", "-l", LISTEN, *pool, "-o", "timeout connect 30s", "-o", "tries 1",
                     "-o", "check none"])
    for i in range(N_SERVERS):
        namespace.filter_port("held", first + i)
    with namespace.sysctl("net.ipv4.tcp_syn_retries", "1"):
        end, took = servers.connect_end(LISTEN, 9)
    for i in range(N_SERVERS):
        namespace.unfilter_port("held", first + i)
    print(f"{end} after {took:.1f} s")
    assert end == "rst"
    assert lb4.wait_n_closed("rule1", 1)[0]["reason"] == "connect_failed"
    lb4.finish()
    assert sorted(failures(lb4)) == [0] * (N_SERVERS - 1) + [1]


def test_a_client_that_resets_while_connecting_is_not_held_against_the_server(start_lb4):
    """It left bytes, which the server may still want: they wait a while for the connect, which then
    ends with the client's reset."""
    port = namespace.take_port()
    lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", f"127.0.0.1:{port}", "-o",
                     "timeout connect 1h"])
    with namespace.filtered_port("held", port):
        client = servers.connect(LISTEN)
        client.sendall(b"hello")
        time.sleep(0.2)  # lets the bytes come in before the reset; either order must hold
        servers.reset(client)
        end, = lb4.wait_n_closed("rule1", 1)
    assert end["reason"] == "client_rst"
    lb4.finish()
    assert failures(lb4) == [0]
