"""slow-start: the share of new connections that a server has which comes back."""
import contextlib

import pytest

import daemon
import drill
import servers

pytestmark = pytest.mark.patient

RAMP_S = 30.0 if drill.IS_FULL else 4.0
PER_S = 200 if not daemon.IS_SANITIZED else 100
N_PARTS = 4
CHECK = drill.Check(interval_ms=200, timeout_ms=200)


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i}")) for i in (1, 2, 3)]


def plot(shares, fair):
    for at, share in shares:
        part = share / fair
        print(f"{at:5.1f} s  {share:6.3f}  {part:5.2f} of its part  {'#' * round(part * 40)}")


def share_between(records, since, until):
    met = [record for record in records if since <= record.start < until]
    return sum(record.server == "s1" for record in met) / max(1, len(met))


def come_back(lb4, pool, clients):
    """s1 returns under load: when it was up, by the monotonic clock."""
    pool[0].start()
    line = lb4.wait_line("server web/s1 is UP")
    up = drill.log_seconds(line) - drill.wall(0)
    servers.wait_until(lambda: clients.records[-1].start > up + RAMP_S * 1.5, RAMP_S * 3, "the ramp")
    return up


def run(start_lb4, pool, policy, hold_s, *words):
    lb4 = drill.start_lb4_before(start_lb4, pool, policy, f"slow-start {RAMP_S * 1000:.0f}ms",
                                 *words, check=CHECK)
    pool[0].kill()
    lb4.wait_line("server web/s1 is DOWN")
    with drill.Drill(drill.LISTEN, PER_S, lambda index: drill.Script(hold_s=hold_s)) as clients:
        clients.wait_records(PER_S // 2)
        up = come_back(lb4, pool, clients)
    records = clients.records
    lb4.wait_n_closed("web", len(records))
    assert not drill.failures(records), drill.describe(drill.failures(records), lb4)
    return up, records


@pytest.mark.parametrize("hold_s", [0, 1000], ids=["short", "long"])
@pytest.mark.parametrize("policy", ["leastconn", "roundrobin", "random"])
def test_share_along_the_ramp(start_lb4, pool, policy, hold_s):
    up, records = run(start_lb4, pool, policy, hold_s)
    fair = 1 / len(pool)
    step = RAMP_S / 16
    plot([(i * step, share_between(records, up + i * step, up + (i + 1) * step))
          for i in range(24)], fair)
    part_s = RAMP_S / N_PARTS
    parts = [share_between(records, up + i * part_s, up + (i + 1) * part_s) / fair
             for i in range(N_PARTS)]
    after = share_between(records, up + RAMP_S, up + RAMP_S * 1.5) / fair
    print(f"by quarters {', '.join(f'{part:.2f}' for part in parts)}, after it {after:.2f}")
    n = PER_S * part_s * fair
    slack = 4 * n ** 0.5 / n + 0.1  # four standard deviations of a draw, and a step
    for i, part in enumerate(parts):
        assert abs(part - (i + 0.5) / N_PARTS) <= slack
    assert 1 - slack <= after <= 2 + slack


