"""Servers are updated one at a time behind lb4, and no client notices."""
import contextlib

import pytest

import drill
import servers

pytestmark = pytest.mark.patient

PER_S = 300
CHECK = drill.Check(interval_ms=100, timeout_ms=300, fall=2, rise=2)


def mixed(index):
    """Most are short; some stay for a while."""
    return drill.Script(hold_s=0.3 if index % 10 == 0 else 0)


@pytest.mark.parametrize("verb", ["drain", "maint"])
@pytest.mark.parametrize("policy", ["leastconn", "roundrobin"])
def test_deploy_over_three_servers(start_lb4, desk, verb, policy):
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b", "c")]
        lines = ["service web {", f"listen tcp {drill.LISTEN}", f"balance {policy}", str(CHECK),
                 *(f"server {server.name} {server.address}" for server in pool), "}"]
        lb4 = start_lb4(["-w", "2"], config=desk.directive + "\n".join(lines))
        with drill.Drill(drill.LISTEN, PER_S, mixed) as clients:
            for server in pool:
                clients.wait_records(len(clients.records) + PER_S // 4)
                desk.do(verb, f"web/{server.name}", "--wait", "20s")
                assert desk.server(f"web/{server.name}")["active"] == 0
                server.kill()
                clients.wait_records(len(clients.records) + PER_S // 4)
                server.start()
                desk.do("ready", f"web/{server.name}", "--wait", "20s")
                clients.wait_served_by(server.name, clients.records[-1].start, 10)
        bad = drill.failures(clients.records)
        assert not bad, drill.describe(bad, lb4)
        assert len(clients.records) > PER_S
    lb4.wait_n_closed("web", len(clients.records))
