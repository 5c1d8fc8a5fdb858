"""A server that dies and returns again and again: no client fails, and the log is not flooded."""
import contextlib
import re
import time

import pytest

import drill
import servers

pytestmark = pytest.mark.patient

PER_S = 200
N_ROUNDS = 10 if drill.IS_FULL else 5
PHASE_S = 1.0


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i}")) for i in (1, 2, 3)]


def hold_until(moment):
    servers.wait_until(lambda: time.monotonic() >= moment, 60, "the next phase")


def flap(server):
    """Down and up, a phase each: when it died each time."""
    deaths = []
    begin = time.monotonic()
    for i in range(N_ROUNDS):
        hold_until(begin + 2 * i * PHASE_S)
        server.kill()
        deaths.append(time.monotonic())
        hold_until(begin + (2 * i + 1) * PHASE_S)
        server.start()
    hold_until(begin + 2 * N_ROUNDS * PHASE_S)
    return deaths


def reported(lb4, server):
    wanted = re.compile(rf"server web/{server.name} is (DOWN|UP)\b")
    return [match.group(1) for match in map(wanted.search, lb4.lines) if match]


CHECKS = {"often": drill.Check(200, 100), "seldom": drill.Check(1000, 500)}
CASES = [("leastconn", "often"), ("roundrobin", "seldom")]
if drill.IS_FULL:
    CASES += [("roundrobin", "often"), ("leastconn", "seldom")]


@pytest.mark.parametrize("policy, how_often", CASES)
def test_flapping_fails_nobody_and_is_told_seldom(start_lb4, pool, policy, how_often):
    check = CHECKS[how_often]
    lb4 = drill.start_lb4_before(start_lb4, pool, policy, "timeout connect 1s", check=check)
    with drill.Drill(drill.LISTEN, PER_S) as clients:
        clients.wait_records(PER_S // 2)
        began = time.monotonic()
        deaths = flap(pool[0])
        lasted = time.monotonic() - began
    lb4.wait_n_closed("web", len(clients.records))
    blame = drill.Blame(lb4)
    bad = drill.failures(clients.records)
    lost = [record for record in bad
            if not any(blame.was_on(record, "s1", died) for died in deaths)]
    changes = reported(lb4, pool[0])
    most = lasted / ((check.fall + check.rise) * check.interval_s) + 1
    served = sum(record.server == "s1" for record in clients.during(began))
    print(f"{len(clients.records)} clients, {len(bad) - len(lost)} were on it when it died, "
          f"{len(lost)} others failed; it served {served}; {changes} in {lasted:.0f} s, "
          f"at most {most:.1f}")
    assert not lost, drill.describe(lost, lb4)
    assert 1 <= len(changes) <= most
    assert changes[0] == "DOWN"
    assert all(one != other for one, other in zip(changes, changes[1:])), "told twice"
