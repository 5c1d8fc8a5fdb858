"""An idle connection is two descriptors, no pipe, and a few hundred bytes."""
import resource

import pytest

import daemon
import servers

N_IDLE = 8000
BAR_BYTES = 400
START_BAR_BYTES = 8 << 20
SPARE_DESCRIPTORS = 500


def test_idle_connections_hold_little(start_lb4, splice):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(N_IDLE, (hard - SPARE_DESCRIPTORS) // 2)
    if count < 1000:
        pytest.skip(f"RLIMIT_NOFILE is {hard}")
    with servers.EchoServer() as server:
        lb4 = start_lb4(["-l", "127.0.0.1:7000", "-s", server.address], splice=splice)
        at_start = lb4.rss_bytes()
        clients = []
        for _ in range(count):
            client = servers.connect("127.0.0.1:7000")
            servers.ask(client)
            clients.append(client)
        each = (lb4.rss_bytes() - at_start) / count
        print(f"start {at_start / 2**20:.1f} MiB; {count} idle connections, {each:.0f} B each")
        held = lb4.descriptors()
        assert held["socket"] - lb4.descriptors_at_start["socket"] == 2 * count
        assert held["pipe"] == lb4.descriptors_at_start["pipe"]
        cpu, wakeups = lb4.load_during(1)
        print(f"CPU {cpu:.2%}, {wakeups:.0f} wake-ups/s")
        assert daemon.IS_SANITIZED or at_start <= START_BAR_BYTES
        assert daemon.IS_SANITIZED or each <= BAR_BYTES
        for client in clients:
            client.close()
        # Not by lines of the log: so many at once may be more than its ring holds.
        lb4.wait_descriptors()
