"""lb4ctl weight under load, with every policy: shares follow, and no client notices."""
import collections
import contextlib

import pytest

import drill
import pools
import servers

pytestmark = pytest.mark.patient

LISTEN = drill.LISTEN
PER_S = 200
N_SHARE = 400
N_SOURCES = 400


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b", "c")]


def start(start_lb4, desk, pool, policy):
    text = desk.directive + pools.config(LISTEN, [server.address for server in pool],
                                         f"balance {policy}", "check tcp interval 1s",
                                         names=["a", "b", "c"])
    return start_lb4(["-w", "2"], config=text)


def share(clients, since):
    """Of a, among the next clients."""
    clients.wait_records(since + N_SHARE)
    chosen = clients.records[since:since + N_SHARE]
    servers.wait_until(lambda: all(record.outcome for record in chosen), what="all are answered")
    names = collections.Counter(record.server for record in chosen)
    return names["a"] / N_SHARE


@pytest.mark.parametrize("policy", ["leastconn", "roundrobin", "random"])
def test_shares_follow(start_lb4, desk, pool, policy):
    """1:1:1, then 6:1:1, and back. Connections live on for a while, as leastconn counts them."""
    lb4 = start(start_lb4, desk, pool, policy)
    with drill.Drill(LISTEN, PER_S, lambda index: drill.Script(hold_s=0.3)) as clients:
        for weight, wanted in ((6, 6 / 8), (1, 1 / 3), (256, 256 / 258)):
            row, = desk.json("weight", "web/a", str(weight))
            assert row["weight"] == weight
            settled = len(clients.records) + PER_S // 2  # those before have ended by then
            found = share(clients, settled)
            print(f"{policy}: weight {weight}, share {found:.2f}, wanted {wanted:.2f}")
            assert abs(found - wanted) <= (0.05 if policy == "roundrobin" else 0.15)
    bad = drill.failures(clients.records)
    assert not bad, drill.describe(bad, lb4)
    lb4.wait_n_closed("web", len(clients.records))


def test_source_moves_few(start_lb4, desk):
    """Clients come to the server whose weight grew, and none moves between the others."""
    with pools.make(3) as pool:
        text = desk.directive + pools.config(LISTEN, pool.texts, "balance source")
        start_lb4(["-w", "2"], config=text)
        sources = [f"127.1.{index // 200}.{index % 200 + 1}" for index in range(N_SOURCES)]

        def places():
            return {source: pools.ask_name(LISTEN, source) for source in sources}
        before = places()
        desk.do("weight", "web/s1", "6")
        after = places()
        share_after = sum(place == 0 for place in after.values()) / N_SOURCES
        print(f"share {share_after:.2f}")
        assert abs(share_after - 6 / 8) <= 0.1
        moved = [source for source in sources if before[source] != after[source]]
        assert sum(after[source] != 0 for source in moved) <= 0.1 * N_SOURCES
        desk.do("weight", "web/s1", "1")
        assert places() == before
        servers.wait_until(lambda: desk.server("web/s1")["active"] == 0, what="all have gone")


def test_many_changes_in_a_row(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, "roundrobin")
    with drill.Drill(LISTEN, PER_S) as clients:
        for index in range(60):
            def is_taken(index=index):
                return desk.run("weight", f"web/{'abc'[index % 3]}", str(index + 1)).returncode == 0
            servers.wait_until(is_taken, what="the change before it is over")
    assert [row["weight"] for row in desk.json("show", "servers")] == [58, 59, 60]
    bad = drill.failures(clients.records)
    assert not bad, drill.describe(bad, lb4)
    lb4.wait_n_closed("web", len(clients.records))
