"""All servers down: clients are reset at once, told to the log once; a backup serves then and only
then; the first server that comes back serves again soon."""
import contextlib
import statistics
import time

import pytest

import drill
import namespace
import servers

RESET_BAR_S = 0.010
REFUSED_BAR_S = 0.100
PER_S = 200
CHECK = drill.Check(interval_ms=400, timeout_ms=200)
NOBODY_UP = r"service web: no server is up"
SERVED_AGAIN = r"service web: served again"


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i}")) for i in (1, 2, 3)]


def count(lb4, pattern):
    return sum(pattern in line for line in lb4.lines)


def wait_down(lb4, server, start=0):
    lb4.wait_line(f"server web/{server.name} is DOWN", start=start)


def wait_up(lb4, server, start=0):
    lb4.wait_line(f"server web/{server.name} is UP", start=start)


def check_resets(n_clients=20):
    ends = [servers.connect_end(drill.LISTEN) for _ in range(n_clients)]
    took = [seconds for _, seconds in ends]
    print(f"reset after {statistics.median(took) * 1000:.2f} ms, at most {max(took) * 1000:.2f}")
    assert {end for end, _ in ends} == {"rst"}
    return took


@pytest.mark.parametrize("policy", ["leastconn", "roundrobin", "source", "random"])
def test_all_down_is_a_prompt_reset_until_one_returns(start_lb4, pool, policy):
    lb4 = drill.start_lb4_before(start_lb4, pool, policy, check=CHECK)
    for server in pool:
        server.kill()
    for server in pool:
        wait_down(lb4, server)
    lb4.wait_line(NOBODY_UP)
    took = check_resets()
    assert max(took) <= drill.bar(RESET_BAR_S, 10)
    assert {end["reason"] for end in lb4.wait_n_closed("web", len(took))} == {"no_server"}
    check_return(lb4, pool[1])
    assert count(lb4, NOBODY_UP) == 1 and count(lb4, SERVED_AGAIN) == 1


def check_return(lb4, server):
    """Under clients at a rate: from the restart to the first that is served."""
    with drill.Drill(drill.LISTEN, PER_S) as clients:
        clients.wait_records(20)
        server.start()
        restarted = time.monotonic()
        first = clients.wait_served_by(server.name, restarted, 10)
        clients.wait_records(len(clients.records) + PER_S // 2)
    took = first.start - restarted
    probed = CHECK.interval_s * (1 + (CHECK.rise - 1) / 4)
    print(f"served {took:.2f} s after the restart; bar {CHECK.rise * CHECK.interval_s:.2f}, "
          f"interval and fast make {probed:.2f}")
    assert took <= drill.bar(CHECK.rise * CHECK.interval_s, 2)
    before = [record for record in clients.records if record.end < restarted]
    # Workers meet clients in an order of their own: those count who came when it was known.
    known = min(record.end for record in clients.records if record.outcome == "ok")
    after = clients.during(known)
    assert {record.outcome for record in before} == {"rst"}
    assert not drill.failures(after), drill.describe(drill.failures(after), lb4)
    wait_up(lb4, server)
    lb4.wait_line(SERVED_AGAIN)


def test_under_load_all_die_and_one_returns(start_lb4, pool):
    """From the last death on clients get resets, and nothing else."""
    lb4 = drill.start_lb4_before(start_lb4, pool, "leastconn", check=CHECK)
    with drill.Drill(drill.LISTEN, PER_S) as clients:
        clients.wait_records(PER_S // 2)
        for server in pool:
            server.kill()
        died = time.monotonic()
        lb4.wait_line(NOBODY_UP)
        known = time.monotonic()
        clients.wait_records(len(clients.records) + PER_S)
        returned = time.monotonic()
        pool[0].start()
        clients.wait_served_by("s1", returned, 10)
    between = [record for record in clients.during(died) if record.end < returned]
    took = [record.seconds for record in clients.during(known) if record.end < returned]
    print(f"all known to be down {known - died:.3f} s after the last death; reset after "
          f"{drill.percentile(took, 0.99) * 1000:.1f} ms (p99), {max(took) * 1000:.1f} (worst)")
    assert {record.outcome for record in between} <= {"rst"}
    assert drill.percentile(took, 0.99) <= drill.bar(RESET_BAR_S, 10)
    lb4.wait_n_closed("web", len(clients.records))
    assert count(lb4, NOBODY_UP) == 1 and count(lb4, SERVED_AGAIN) == 1


@pytest.mark.parametrize("line", [None, "check tcp interval 1s", "check none"])
def test_a_single_refused_server_answers_soon(start_lb4, line):
    """With probes and without; nobody waits for a second try."""
    port = namespace.take_port()
    more = ["-o", line] if line else []
    lb4 = start_lb4(["-l", drill.LISTEN, "-s", f"127.0.0.1:{port}", *more])
    took = check_resets()
    assert max(took) <= drill.bar(REFUSED_BAR_S)
    assert {end["reason"] for end in lb4.wait_n_closed("rule1", len(took))} <= {
        "connect_failed", "no_server"}


@pytest.mark.parametrize("policy", ["leastconn", "roundrobin", "source", "random"])
def test_a_backup_serves_when_no_primary_is_up(start_lb4, pool, policy):
    """Not while one primary is left; it gives way when one returns."""
    lb4 = drill.start_lb4_before(
        start_lb4, pool[:2], policy, f"server s3 {pool[2].address} backup", check=CHECK)
    with drill.Drill(drill.LISTEN, PER_S) as clients:
        clients.wait_records(PER_S // 2)
        pool[0].kill()
        first_killed = time.monotonic()
        wait_down(lb4, pool[0])
        clients.wait_records(len(clients.records) + PER_S // 2)
        one_left = time.monotonic()
        pool[1].kill()
        killed = time.monotonic()
        clients.wait_served_by("s3", killed, 5)
        wait_down(lb4, pool[1])
        clients.wait_records(len(clients.records) + PER_S // 2)
        start = len(lb4.lines)
        returning = time.monotonic()
        pool[0].start()
        wait_up(lb4, pool[0], start)
        returned = time.monotonic()
        clients.wait_records(len(clients.records) + PER_S)
    lb4.wait_n_closed("web", len(clients.records))
    blame = drill.Blame(lb4)
    lost = drill.failures(clients.records,
                          lambda record: blame.was_on(record, "s1", first_killed) or
                          blame.was_on(record, "s2", killed))
    assert not lost, drill.describe(lost, lb4)
    check_backup(clients, lb4, (one_left, killed, returning, returned))


def check_backup(clients, lb4, moments):
    """Who served when."""
    one_left, killed, returning, returned = moments

    def served(start, end=float("inf")):
        return {record.server for record in clients.during(start)
                if record.server and record.end < end}
    before, then, at_last = served(0, one_left), served(killed, returning), served(returned)
    print(f"before {before}, then {then}, at last {at_last}")
    assert "s3" not in before
    assert then == {"s3"}
    assert at_last == {"s1"}
    assert count(lb4, "no server is up") == 0
