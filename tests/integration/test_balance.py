"""roundrobin and leastconn share connections by weight, and the slots are given back."""
import contextlib
import random

import pytest

import servers

LISTEN = "127.0.0.1:7000"


@pytest.fixture
def three():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.EchoServer()) for _ in range(3)]


def start(start_lb4, pool, weights, policy, workers=2):
    """A daemon that balances over the pool, as s1, s2 ... of the service `web`."""
    lines = ["service web {", f"    listen tcp {LISTEN}", f"    balance {policy}", "    check none"]
    for i, (server, weight) in enumerate(zip(pool, weights)):
        lines.append(f"    server s{i + 1} {server.address} weight {weight}")
    return start_lb4(["-w", str(workers)], config="\n".join([*lines, "}"]) + "\n")


def open_many(stack, count):
    clients = []
    for _ in range(count):
        client = stack.enter_context(servers.connect(LISTEN))
        servers.ask(client)
        clients.append(client)
    return clients


def test_roundrobin_follows_the_weights(start_lb4, three):
    lb4 = start(start_lb4, three, [3, 2, 1], "roundrobin")
    for _ in range(300):
        servers.ask_once(LISTEN)
    counts = [server.n_accepted for server in three]
    print(counts)
    assert sum(counts) == 300
    assert all(abs(count - wanted) <= 6 for count, wanted in zip(counts, [150, 100, 50]))
    lb4.wait_n_closed("web", 300)
    lb4.finish()
    summary = lb4.summary()
    assert [summary["server", f"web/s{i}"]["total"] for i in (1, 2, 3)] == counts


def test_roundrobin_is_smooth(start_lb4, three):
    """No server gets all its share in a row: 5:1:1 over 70 connections, within each 7 one to each
    of the light ones."""
    start(start_lb4, three, [5, 1, 1], "roundrobin", workers=1)
    for seven in range(1, 11):
        for _ in range(7):
            servers.ask_once(LISTEN)
        assert [server.n_accepted for server in three] == [5 * seven, seven, seven]


def test_leastconn_follows_the_weights(start_lb4, three):
    start(start_lb4, three, [2, 1, 1], "leastconn")
    with contextlib.ExitStack() as stack:
        open_many(stack, 80)
        counts = [server.n_active for server in three]
        print(counts)
        assert all(abs(count - wanted) <= 1 for count, wanted in zip(counts, [40, 20, 20]))


def test_leastconn_fills_up_the_emptier_server(start_lb4, three):
    lb4 = start(start_lb4, three, [1, 1, 1], "leastconn")
    with contextlib.ExitStack() as stack:
        clients = open_many(stack, 60)
        assert [server.n_active for server in three] == [20, 20, 20]
        n_ended = end_connections_of(three[0], clients)
        servers.wait_until(lambda: three[0].n_active == 0)
        lb4.wait_n_closed("web", n_ended)
        open_many(stack, n_ended)
        assert [server.n_active for server in three] == [20, 20, 20]


def end_connections_of(server, clients):
    """Close the clients that a server serves; how many."""
    served = [client for client in clients if is_served_by(client, server)]
    for client in served:
        client.close()
    return len(served)


def is_served_by(client, server):
    """Whether bytes of this client arrive at this server: told by the count of echoes."""
    before = server.n_echoes
    servers.ask(client)
    return server.n_echoes > before


def test_leastconn_ties_are_spread(start_lb4, three):
    """Short connections one after the other find all servers equal: none may get them all."""
    start(start_lb4, three, [1, 1, 1], "leastconn")
    for _ in range(120):
        servers.ask_once(LISTEN)
    counts = [server.n_accepted for server in three]
    print(counts)
    assert min(counts) >= 10


def test_slots_come_back_after_every_kind_of_end(start_lb4, three):
    """Random ends; afterwards leastconn shares evenly again, so no slot was lost or given twice."""
    chance = random.Random(7)
    lb4 = start(start_lb4, three, [1, 1, 1], "leastconn")
    for _ in range(300):
        client = servers.connect(LISTEN)
        if chance.random() < 0.7:
            servers.ask(client)
        if chance.random() < 0.5:
            servers.reset(client)
        else:
            client.close()
    lb4.wait_n_closed("web", 300)
    servers.wait_until(lambda: not any(server.n_active for server in three))
    with contextlib.ExitStack() as stack:
        open_many(stack, 30)
        assert [server.n_active for server in three] == [10, 10, 10]
