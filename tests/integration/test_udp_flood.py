"""A flood of invented clients: those that are there notice nothing, and lb4's memory keeps to what
its sessions may hold."""
import contextlib
import os
import time

import pytest

import daemon
import namespace
import udp_drill

N_LEGITIMATE = 500
CAP = 4000
N_WORKERS = 2

# What lb4 may add to its memory, by what a session is (relay/udp_session.h) and what the allocator
# puts around it; and once, whatever the sessions: buffers of batches, the log's rings, the table.
SESSION_BYTES = 640
KEPT_BYTES = 64  # of a session that nobody has answered: its last datagram; here a short one
ONCE_BYTES = 3 << 19


def answer_all(payload):
    return b"s|" + payload


def answer_known(payload):
    return b"s|" + payload if payload != udp_drill.FLOOD else None


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
@pytest.mark.parametrize("answer", [answer_all, answer_known], ids=["answered", "unanswered"])
def test_a_spoofed_flood_costs_clients_and_memory_nothing(start_lb4, is_full, answer):
    """With and without a server that replies to the flood, too."""
    count, per_s = 100000 if is_full else 25000, 10000
    if daemon.IS_SANITIZED:
        count, per_s = 6000, 2000
    listen = f"127.0.0.1:{namespace.take_port()}"
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(udp_drill.UdpServer(answer=answer))
        lb4 = start_lb4(["-w", str(N_WORKERS)], debug=False, config=(
            f"service u {{\n    listen udp {listen}\n    udp-sessions {CAP}\n"
            f"    timeout udp 2s\n    server s {server.address}\n}}\n"))
        at_start = lb4.rss_bytes()
        flows = stack.enter_context(udp_drill.Flows(listen, N_LEGITIMATE))
        assert flows.round() == 0
        floods = [flood(lb4, flows, listen, count, per_s) for _ in range(1 if answer == answer_all
                                                                         else 2)]
        now = udp_drill.totals(lb4, "u")
        print(dict(now))
        # On trial are at most half of the places; an answered one may be so no more.
        full = CAP if answer == answer_all else CAP / 2 + N_LEGITIMATE
        most_active = max(active for active, _ in floods)
        assert most_active <= full
        assert most_active >= CAP / 2 or daemon.IS_SANITIZED
        assert now["datagrams_in"] >= count * len(floods)
        most = max(rss for _, rss in floods)
        allowed = full * (SESSION_BYTES + KEPT_BYTES) + ONCE_BYTES
        print(f"memory: {at_start >> 10} KiB at the start, {(most - at_start) >> 10} KiB more"
              f" under the flood, {allowed / 1024:.0f} allowed; by flood {floods}")
        assert most - at_start <= allowed or daemon.IS_SANITIZED
        udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="all sessions end")
        lb4.wait_descriptors()
        with udp_drill.Flows(listen, 100) as late:
            assert late.round() == 0


def flood(lb4, flows, listen, count, per_s):
    """While the legitimate clients go on: (most sessions, most memory)."""
    sent, missing, active, rss = 0, 0, [], []
    began = time.monotonic()
    with udp_drill.Flood(listen, count, per_s) as running:
        while running.is_running():
            missing += flows.round(window=25, limit_s=2)
            sent += len(flows)
            active.append(udp_drill.totals(lb4, "u")["active"])
            rss.append(lb4.rss_bytes())
    print(f"{count} in {time.monotonic() - began:.1f} s; legitimate: {missing} of {sent} lost;"
          f" active up to {max(active)}")
    print(dict(udp_drill.totals(lb4, "u")))
    assert missing < sent * 0.001 or missing == 0
    assert flows.round() == 0
    return max(active), max(rss)
