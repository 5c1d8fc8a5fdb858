"""Traffic that nobody answers, as of syslog: a killed server is found out all the same, by its
host's refusals or by checks alone, and every flow goes on at another server."""
import contextlib
import time

import pytest

import namespace
import udp_drill
from drill import bar

N_FLOWS = 1000
INTERVAL_S, FALL = 0.5, 3
PROBE = (f'check send "ping" expect "|ping" interval {INTERVAL_S * 1000:.0f}ms timeout 200ms'
         f' fall {FALL} rise 1 fast 125ms')
ARRIVAL_LIMIT_S = 10


class Traffic:
    """Rounds of one datagram of each flow, and when each was sent."""

    def __init__(self, flows, reports):
        self.flows = flows
        self.reports = reports
        self.sent_at = []  # of round, which is the sequence of each flow's datagram

    def round(self):
        self.sent_at.append(time.monotonic())
        for flow in range(len(self.flows)):
            self.flows.send(flow)
            if flow % 20 == 19:
                time.sleep(0.004)
                self.reports.read()

    def wait_arrived(self):
        """The latest of each flow."""
        deadline = time.monotonic() + ARRIVAL_LIMIT_S
        while n_left := sum(not got or got[-1][1] != len(self.sent_at) - 1
                            for got in map(self.reports.by_flow.get, range(len(self.flows)))):
            assert time.monotonic() < deadline, f"{n_left} flows are stuck"
            self.reports.read()
            time.sleep(0.01)

    def recovered_at(self, flow, first):
        """When the first datagram from round `first` on was sent that has arrived; None = none."""
        return next((self.sent_at[sequence] for _, sequence in self.reports.by_flow[flow]
                     if sequence >= first), None)


@pytest.mark.parametrize("way", [
    "refused", "refused-checked",
    pytest.param("silent", marks=pytest.mark.skipif(not namespace.has_nft(), reason="no nft"))])
def test_one_way_flows_outlive_a_killed_server(start_lb4, way):
    listen = f"127.0.0.1:{namespace.take_port()}"
    with contextlib.ExitStack() as stack:
        reports = stack.enter_context(udp_drill.Reports())
        servers = [stack.enter_context(udp_drill.UdpProcess(f"s{i + 1}", namespace.take_port(),
                                                            reports.port)) for i in range(3)]
        lines = ["service u {", f"listen udp {listen}", "balance roundrobin", "timeout udp 3s",
                 "udp-responses 0", "check none" if way == "refused" else PROBE]
        lines += [f"server {server.name} {server.address}" for server in servers]
        lb4 = start_lb4(["-w", "2"], config="\n    ".join(lines) + "\n}\n")
        flows = stack.enter_context(udp_drill.Flows(listen, N_FLOWS))
        traffic = Traffic(flows, reports)
        for _ in range(3):
            traffic.round()
        traffic.wait_arrived()
        homes = [reports.by_flow[flow][-1][0] for flow in range(N_FLOWS)]
        moving = [flow for flow in range(N_FLOWS) if homes[flow] == "s1"]
        assert len(moving) >= N_FLOWS / 3 * 0.8
        if way == "silent":
            port = udp_drill.split(servers[0].address)[1]
            stack.enter_context(namespace.filtered_port("gone", port))
        began, first = time.monotonic(), len(traffic.sent_at)
        servers[0].kill()
        while any(traffic.recovered_at(flow, first) is None for flow in moving):
            assert time.monotonic() < began + bar(2 * FALL * INTERVAL_S), "a flow is stuck"
            traffic.round()
        took = max(traffic.recovered_at(flow, first) for flow in moving) - began
        settled = len(traffic.sent_at)
        for _ in range(2):
            traffic.round()
        traffic.wait_arrived()
        lost = [len(traffic.sent_at) - len(reports.by_flow[flow]) for flow in range(N_FLOWS)]
        print(f"{len(moving)} moved, the last after {took:.2f} s; a flow lost at most {max(lost)}")
        # A datagram that was sent by then has already gone to a survivor.
        assert took <= bar(FALL * INTERVAL_S)
        for flow in range(N_FLOWS):
            got = reports.by_flow[flow]
            assert {sequence for _, sequence in got} >= set(range(settled, len(traffic.sent_at)))
            if homes[flow] != "s1":
                assert {server for server, _ in got} == {homes[flow]} and lost[flow] == 0
        if way == "refused":
            assert max(lost) <= 3
        now = udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="sessions end")
        print(dict(now))
        assert now["rebinds"] >= len(moving) and now["total"] == N_FLOWS
        lb4.wait_descriptors()
