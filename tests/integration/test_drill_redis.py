"""The worked example of Redis, as it is, with a real master and its replica: the master dies, the
replica takes its place, and clients go on; then the old master comes back."""
import statistics

import pytest

import databases
import drill
import failovers
import servers
import writers

pytestmark = [
    pytest.mark.skipif(not databases.HAS_REDIS,
                       reason="Debian's redis-server and redis-tools are not installed"),
    pytest.mark.serial]

WRITES = "127.0.0.1:6379"
READS = "127.0.0.1:6380"
SEEN_S = 1 + 0.25 + 0.5
SLACK_S = 15
ROUNDS = 3


@pytest.fixture
def folder():
    with databases.folder() as folder:
        yield folder


@pytest.fixture
def pair(folder):
    with failovers.RedisPair(folder) as pair:
        yield pair


def start(start_lb4, desk, pair):
    """lb4 with the example; returns once it knows who is who."""
    lb4 = start_lb4([], config=databases.example("redis", desk.directive))
    wait_up(desk, "writes", pair.primary)
    wait_up(desk, "reads", pair.replica)
    return lb4


def wait_up(desk, service, *wanted):
    """Until these servers, and no others, are up."""
    names = {server.name for server in wanted}
    servers.wait_until(
        lambda: {row["server"] for row in desk.json("show", "servers", service)
                 if row["state"] == "up"} == names, 20, f"of {service} {names} are up")


def hosts(address, count=10):
    """Which servers do clients get?"""
    found = set()
    for _ in range(count):
        client = writers.RedisClient(address)
        found.add(client.server)
        client.close()
    return found


@pytest.mark.parametrize("event", ["kill", "hang"])
def test_failover(start_lb4, desk, pair, event):
    """Writes resume; the old master is back as a replica, and reads go there."""
    lb4 = start(start_lb4, desk, pair)
    assert hosts(READS) == {pair.replica.host}
    with writers.Writers(writers.RedisClient, WRITES) as clients:
        clients.wait_writes(100)
        started = pair.switch(event)
        clients.wait_writes(100, started, pair.primary.host)
        gap = clients.longest_gap(started)
        wait_up(desk, "writes", pair.primary)
        pair.repair()
        wait_up(desk, "reads", pair.replica)
        assert hosts(READS) == {pair.replica.host}
        assert hosts(WRITES) == {pair.primary.host}
    print(f"{event}: {gap:.2f} s without a write, {len(clients.failures)} failures")
    assert clients.count_failures("connect") == 0, clients.failures
    assert clients.count_failures("write") <= 4 or not drill.IS_STRICT, "each writer is cut once"
    assert gap < SEEN_S + SLACK_S
    lb4.finish()


def test_roles_change_places(start_lb4, desk, pair):
    """Nobody dies: who is on the server that is no master any more is reset, at once and not when
    it next writes."""
    lb4 = start(start_lb4, desk, pair)
    client = writers.RedisClient(WRITES)
    assert client.server == pair.primary.host
    pair.replica.promote()
    pair.primary.follow(pair.replica)
    assert servers.read_end(client.sock) == "rst"
    client.close()
    end = lb4.wait_n_closed("writes", 1)[-1]
    assert end["reason"] == "server_down" and end["server"] == pair.primary.name
    wait_up(desk, "writes", pair.replica)
    wait_up(desk, "reads", pair.primary)
    assert hosts(WRITES) == {pair.replica.host} and hosts(READS) == {pair.primary.host}


def test_two_masters(start_lb4, desk, pair):
    """A master that comes back as it was is one: clients are sent to both, as the example warns.
    What is taken out before stays out, and comes back as a replica."""
    start(start_lb4, desk, pair)
    old = pair.primary
    pair.switch("kill")
    wait_up(desk, "writes", pair.primary)
    old.start()
    wait_up(desk, "writes", pair.primary, old)
    desk.do("maint", f"writes/{old.name}")
    assert hosts(WRITES) == {pair.primary.host}
    old.follow(pair.primary)
    wait_up(desk, "reads", old)
    desk.do("ready", f"writes/{old.name}")
    wait_up(desk, "writes", pair.primary)
    assert hosts(WRITES) == {pair.primary.host}


def test_taken_out_before_the_failover(start_lb4, desk, pair):
    """As the example advises: the old master may come back as one, and nobody is sent there."""
    start(start_lb4, desk, pair)
    old = pair.primary
    desk.do("maint", f"writes/{old.name}")
    with writers.Writers(writers.RedisClient, WRITES) as clients:
        started = pair.switch("kill")
        clients.wait_writes(50, started, pair.primary.host)
        old.start()
        clients.wait_writes(500, started, pair.primary.host)
    assert not [write for write in clients.writes if write.sent > started
                and write.server == old.host]
    assert old.ask("dbsize") == "0"


@pytest.mark.skipif(not databases.HAS_HAPROXY, reason="Debian's haproxy is not installed")
@pytest.mark.parametrize("event", ["kill", "hang"])
def test_not_slower_than_haproxy(binary, pair, folder, is_full, event):
    """Rounds in turn, medians. scripts/drill has more of them."""
    if not is_full:
        pytest.skip("only in a full run")
    rounds = {"lb4": [], "haproxy": []}
    for index in range(ROUNDS):
        for kind, figures in rounds.items():
            figures.append(failovers.measure(pair, kind, binary, event, folder, index / ROUNDS))
            pair.repair()
    medians = {kind: statistics.median(figure.gap_s for figure in figures)
               for kind, figures in rounds.items()}
    print(event, medians)
    assert sum(figure.connects for figure in rounds["lb4"]) == 0
    # An interval of the checks is what the phase of each one may differ by.
    assert medians["lb4"] <= medians["haproxy"] + 1
