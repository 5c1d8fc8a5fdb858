"""Few long connections are spread over the workers, whatever SO_REUSEPORT's hash says."""
import contextlib

import pytest

import servers

LISTEN = "127.0.0.1:7000"
N_WORKERS = 4


@pytest.mark.parametrize("n_clients", [8, 16, 64])
def test_long_connections_are_spread(start_lb4, n_clients, splice):
    with servers.EchoServer() as server, contextlib.ExitStack() as stack:
        lb4 = start_lb4(["-w", N_WORKERS, "-l", LISTEN, "-s", server.address], splice=splice)
        clients = []
        for _ in range(n_clients):
            client = stack.enter_context(servers.connect(LISTEN))
            servers.ask(client)
            clients.append(client)
        for client in clients:
            client.close()
        lb4.wait_n_closed("rule1", n_clients)
        lb4.finish()
    totals = [values["total"] for (kind, _), values in lb4.summary().items() if kind == "worker"]
    print(totals)
    assert len(totals) == N_WORKERS and sum(totals) == n_clients
    assert max(totals) <= min(totals) * 1.25 + 2


def test_a_handed_over_connection_works_like_any_other(start_lb4, splice):
    """All at once, much data on each, and every one ends cleanly."""
    with servers.EchoServer() as server, contextlib.ExitStack() as stack:
        lb4 = start_lb4(["-w", N_WORKERS, "-l", LISTEN, "-s", server.address], splice=splice)
        clients = [stack.enter_context(servers.connect(LISTEN)) for _ in range(40)]
        for _ in range(5):
            for i, client in enumerate(clients):
                servers.ask(client, bytes([i]) * 30000)
        for client in clients:
            client.close()
        ends = lb4.wait_n_closed("rule1", 40)
        assert {(end["reason"], end["in"], end["out"]) for end in ends} == {
            ("client_fin", "150000", "150000")}
