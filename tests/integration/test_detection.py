"""How soon a server is out of use where checks speak its protocol: killed, no client is sent there
50 ms after the first failed connect; hung, it is down by `fall` intervals and a timeout."""
import contextlib
import signal
import time

import pytest

import drill
import packets
import pools
import servers

PER_S = 300
N_ROUNDS = 10 if drill.IS_FULL else 2
KILLED_BAR_S = 0.050


class Dialogue(drill.Check):
    """The servers of these tests say their names, then echo."""

    def __str__(self):
        return super().__str__().replace("check tcp", 'check send "ping" expect "ping"')


CHECK = Dialogue(interval_ms=500, timeout_ms=500, fall=3, rise=1)
HUNG_BAR_S = CHECK.fall * CHECK.interval_s + CHECK.timeout_ms / 1000
CLOSED = "127.0.0.1:7199"  # nobody listens there
TOLD_S = 0.05  # until the log's line has been written, and read here

pytestmark = pytest.mark.serial


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i}")) for i in (1, 2, 3)]


def test_killed(start_lb4, pool):
    lb4 = drill.start_lb4_before(start_lb4, pool, "roundrobin", check=CHECK)
    late, kills = [], []
    with drill.Drill(drill.LISTEN, PER_S) as clients:
        for index in range(N_ROUNDS):
            victim = pool[index % len(pool)]
            clients.wait_records(len(clients.records) + PER_S // 2)
            seconds, died = kill(lb4, clients, victim)
            kills.append((victim, died))
            late.append(seconds)
            clients.wait_served_by(victim.name, time.monotonic(), 20)
    print("a client was sent there so long after the first refusal: "
          + ", ".join(f"{seconds * 1000:.1f} ms" for seconds in late))
    assert max(late) <= drill.bar(KILLED_BAR_S)
    lb4.wait_n_closed("web", len(clients.records))
    blame = drill.Blame(lb4)
    bad = [record for record in drill.failures(clients.records)
           if not any(blame.was_on(record, server.name, died) for server, died in kills)]
    assert not bad, drill.describe(bad, lb4)


def kill(lb4, clients, victim):
    """Kill and restart it; seconds from the first refusal to the last client sent there, and the
    time at which it was dead."""
    start, killed = len(lb4.lines), time.monotonic()
    with packets.PacketWatch(victim.port) as watch:
        victim.kill()
        died = time.monotonic()
        lb4.wait_line(f"server web/{victim.name} is DOWN", start=start)
        clients.wait_records(len(clients.records) + PER_S // 2)
    probes = packets.probe_starts(lb4.lines[start:], f"web/{victim.name}")
    victim.start()
    refused = [stamp for stamp in watch.resets if stamp >= drill.wall(killed)]
    syns = [stamp for stamp in watch.syns if stamp >= drill.wall(killed)]
    late = max((stamp - refused[0] for stamp in packets.client_syns(syns, probes)), default=0.0)
    return late, died


def test_hung(start_lb4, pool):
    """Its kernel still accepts, so no client's connect fails: only the dialogue tells."""
    lb4 = drill.start_lb4_before(start_lb4, pool, "roundrobin", check=CHECK)
    took = []
    for index in range(N_ROUNDS):
        victim = pool[index % len(pool)]
        took.append(hang(lb4, victim, CHECK.interval_s * index / N_ROUNDS))
    print(f"down after {', '.join(f'{seconds:.2f}' for seconds in took)} s (bar {HUNG_BAR_S:.2f})")
    assert max(took) <= drill.bar(HUNG_BAR_S + TOLD_S, 1.5)
    assert min(took) >= CHECK.timeout_ms / 1000, "down before one check can have failed"


def hang(lb4, victim, phase_s):
    """Seconds from when it hangs until it is down; up again at the return."""
    time.sleep(phase_s)  # another phase of the interval
    start = len(lb4.lines)
    began = time.monotonic()
    victim.process.send_signal(signal.SIGSTOP)
    try:
        lb4.wait_line(f"server web/{victim.name} (is DOWN|is flapping)", start=start)
        return time.monotonic() - began
    finally:
        victim.process.send_signal(signal.SIGCONT)
        lb4.wait_line(f"server web/{victim.name} (is UP|flaps no more)", start=start)


def test_back_after_all_were_down(start_lb4):
    """Clients have nobody meanwhile: probes do not wait for the next interval, which is far off."""
    check = "check tcp interval 1h timeout 1s fast 100ms rise 2"
    with servers.ServerProcess("s1") as server:
        address = server.address
        server.kill()
        lb4 = start_lb4(["-w", "1"], config=pools.config(drill.LISTEN, [address, CLOSED], check))
        lb4.wait_line("service web: no server is up")
        began = time.monotonic()
        server.start()
        lb4.wait_line("server web/s1 is UP; it was down for")
        took = time.monotonic() - began
        print(f"up again after {took:.2f} s, with the start of its process")
        lb4.wait_line("service web: served again")
