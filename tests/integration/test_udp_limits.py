"""A flood of invented clients costs the real ones nothing; caps hold and are counted; an end is
prompt."""
import contextlib
import os
import signal
import socket
import threading
import time

import pytest

import namespace
import udp_drill
from drill import IS_STRICT, bar

CAP = 2000


def start(start_lb4, addresses, *words, workers=2, name="u"):
    listen = f"127.0.0.1:{namespace.take_port()}"
    return start_lb4(["-w", str(workers)], config=block(name, listen, addresses, *words)), listen


def block(name, listen, addresses, *words, before=""):
    lines = [f"service {name} {{", f"    listen udp {listen}", "    balance roundrobin", *words]
    lines += [f"    server s{i + 1} {address}" for i, address in enumerate(addresses)]
    return before + "\n    ".join(lines) + "\n}\n"


def answer_flood(payload):
    return b"s|" + payload


def named_echo(payload):
    return b"s|" + payload if payload != udp_drill.FLOOD else None




@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
@pytest.mark.parametrize("answers", [False, True], ids=["unanswered", "answered"])
def test_new_clients_are_served_during_a_flood(start_lb4, answers):
    """At once, but for one that needs a second try now and then."""
    count, per_s = (20000, 10000) if IS_STRICT else (5000, 2000)
    with udp_drill.UdpServer(answer=answer_flood if answers else named_echo) as server, \
            contextlib.ExitStack() as stack:
        lb4, listen = start(start_lb4, [server.address], f"udp-sessions {per_s // 5}",
                            "timeout udp 5s")
        socks = clients(listen, 50, stack, one_host=False)
        with udp_drill.Flood(listen, count, per_s) as flood:
            udp_drill.wait_totals(lb4, "u", lambda t: t["total"] > per_s // 5 * 2, what="evictions")
            n_tries = [next((i + 1 for i in range(5)
                             if udp_drill.ask(sock, b"x", 0.1) == b"s|x"), None) for sock in socks]
            assert flood.is_running()
        print(f"tries {n_tries}; {dict(udp_drill.totals(lb4, 'u'))}")
        lb4.finish(checks_descriptors=False)
        assert None not in n_tries
        assert n_tries.count(1) >= 45


def clients(listen, count, stack, one_host):
    """Connected sockets, each of a host of its own if not one_host."""
    socks = []
    for i in range(count):
        sock = stack.enter_context(udp_drill.udp_socket("127.0.0.1" if one_host
                                                        else f"127.0.1.{i + 1}"))
        sock.connect(udp_drill.split(listen))
        socks.append(sock)
    return socks


def test_udp_sessions_caps_and_counts(start_lb4):
    """Ten clients that have come back hold their places; twenty others are turned away."""
    with udp_drill.UdpServer() as server, contextlib.ExitStack() as stack:
        lb4, listen = start(start_lb4, [server.address], "udp-sessions 10", "timeout udp 1s",
                            workers=1)
        socks = clients(listen, 30, stack, one_host=False)
        for sock in socks[:10] * 2:
            assert udp_drill.ask(sock, b"x") == b"x"
        for sock in socks[10:]:
            sock.send(b"y")
        now = udp_drill.wait_totals(lb4, "u", lambda t: t["drop_limit"] == 20, what="drops")
        assert (now["active"], now["total"], now["dropped"]) == (10, 10, 20)
        for sock in socks[:10]:
            assert udp_drill.ask(sock, b"z") == b"z"
        # Their places are free once they are silent.
        udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="sessions end")
        for sock in socks[10:20]:
            assert udp_drill.ask(sock, b"x") == b"x"


@pytest.mark.parametrize("workers, one_host", [(1, False), (1, True), (2, False), (8, False)])
def test_udp_sessions_is_what_a_service_may_have(start_lb4, workers, one_host):
    """Whatever workers the clients land on; a single host has half of it at a time."""
    with udp_drill.UdpServer() as server, contextlib.ExitStack() as stack:
        lb4, listen = start(start_lb4, [server.address], "udp-sessions 100", "timeout udp 60s",
                            workers=workers)
        socks = clients(listen, 100, stack, one_host)
        n_served = sum(udp_drill.ask(sock, b"x") == b"x" for sock in socks)
        now = udp_drill.totals(lb4, "u")
        print(f"{n_served} of 100 served; {dict(now)}")
        lb4.finish(checks_descriptors=False)
        assert n_served == now["total"] == 100
        assert now["active"] == (50 if one_host else 100)


def test_no_worker_is_starved(start_lb4):
    """A few sessions, answered and silent, hold all places, most workers none. Whoever comes next is
    served, when it asks once more at the latest but two."""
    with udp_drill.UdpServer() as server, contextlib.ExitStack() as stack:
        lb4, listen = start(start_lb4, [server.address], "udp-sessions 4", "timeout udp 1h",
                            workers=8)
        socks = clients(listen, 60, stack, one_host=False)
        n_tries = [next((i + 1 for i in range(10) if udp_drill.ask(sock, b"x", 0.2) == b"x"), None)
                   for sock in socks]
        now = udp_drill.totals(lb4, "u")
        print(f"tries {n_tries}; {dict(now)}")
        lb4.finish(checks_descriptors=False)
        assert None not in n_tries and max(n_tries) <= 3
        assert now["active"] <= 4


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need root")
def test_a_datagram_of_our_own_listener_is_dropped(start_lb4):
    """Else two listeners, each the other's client, would talk for ever."""
    with udp_drill.UdpServer() as server:
        ports = [namespace.take_port() for _ in range(2)]
        lb4 = start_lb4(["-w", "2"], config=(
            block("a", f"127.0.0.1:{ports[0]}", [server.address], "timeout udp 500ms")
            + block("b", f":{ports[1]}", [server.address], "timeout udp 500ms")))
        with udp_drill.raw_socket() as sock:
            for source, target in [(0, 1), (1, 0), (0, 0), (1, 1)]:
                udp_drill.send_spoofed(sock, ("127.0.0.1", ports[source]),
                                       ("127.0.0.1", ports[target]), b"x")
            udp_drill.send_spoofed(sock, ("127.0.0.1", 0), ("127.0.0.1", ports[0]), b"x")
        udp_drill.wait_totals(lb4, "b", lambda t: t["drop_loop"] == 2, what="loop drops of b")
        now = udp_drill.wait_totals(lb4, "a", lambda t: t["drop_loop"] == 3, what="of a")
        assert now["total"] == 0 and server.n_received == 0
        # An ordinary client is none of that.
        with udp_drill.udp_socket("127.0.0.1") as client:
            client.connect(("127.0.0.1", ports[0]))
            assert udp_drill.ask(client, b"x") == b"x"


class Chatter:
    """Asks all the time, from a thread."""

    def __init__(self, flows):
        self.flows = flows
        self.is_ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.is_ending:
            for flow in range(len(self.flows)):
                self.flows.send(flow)
            self.flows.collect(0.02)
            time.sleep(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()


def exit_seconds(lb4, number):
    began = time.monotonic()
    lb4.signal(number)
    lb4.check_end()
    lb4.is_finished = True
    return time.monotonic() - began


def test_term_ends_silent_sessions_after_a_second(start_lb4):
    with udp_drill.UdpServer(answer=named_echo) as server:
        lb4, listen = start(start_lb4, [server.address], "timeout udp 60s")
        with udp_drill.Flows(listen, 50) as flows:
            assert flows.round() == 0
            took = exit_seconds(lb4, signal.SIGTERM)
        print(f"TERM to exit {took:.2f} s")
        assert took < bar(2.5)
        assert {e["reason"] for e in udp_drill.closed_sessions(lb4)} == {"drain"}
        assert udp_drill.totals(lb4, "u")["active"] == 0


def wait_no_new_sessions(listen):
    """The log tells of a drain before each worker has heard of it: until twenty new clients in a
    row are not served. How many have asked."""
    n_asked = 0
    n_silent = 0
    deadline = time.monotonic() + 10
    while n_silent < 20:
        assert time.monotonic() < deadline, "new clients are served on and on"
        with udp_drill.Flows(listen, 20) as scouts:
            n_silent = scouts.round(limit_s=0.2)
        n_asked += 20
    return n_asked


def test_term_serves_live_sessions_until_drain(start_lb4):
    listen = f"127.0.0.1:{namespace.take_port()}"
    with udp_drill.UdpServer(answer=named_echo) as server:
        lb4 = start_lb4(["-w", "2"], config=block("u", listen, [server.address],
                                                  "timeout udp 60s", before="drain 3s\n"))
        with udp_drill.Flows(listen, 20) as flows, udp_drill.Flows(listen, 5) as late:
            assert flows.round() == 0
            with Chatter(flows):
                lb4.signal(signal.SIGTERM)
                lb4.wait_line("drain")
                n_scouts = wait_no_new_sessions(listen)
                before = list(flows.n_answers)
                for flow in range(5):
                    late.send(flow)
                time.sleep(1.5)  # more than a silent session lives
                assert all(now > n + 5 for now, n in zip(flows.n_answers, before)), "still served"
                began = time.monotonic()
                lb4.check_end()
                lb4.is_finished = True
                print(f"exit {time.monotonic() - began + 1.5:.2f} s after TERM")
                assert time.monotonic() - began < bar(3)
            assert late.collect(0) == 0, "no new sessions while draining"
        now = udp_drill.totals(lb4, "u")
        print(dict(now))
        assert now["active"] == 0 and now["drop_drain"] >= 20 + 5
        assert now["total"] + now["drop_drain"] == 20 + 5 + n_scouts


@pytest.mark.parametrize("is_live", [True, False], ids=["live", "silent"])
def test_int_ends_at_once(start_lb4, is_live):
    with udp_drill.UdpServer(answer=named_echo) as server:
        lb4, listen = start(start_lb4, [server.address], "timeout udp 60s")
        with udp_drill.Flows(listen, 50) as flows:
            assert flows.round() == 0
            if is_live:
                with Chatter(flows):
                    took = exit_seconds(lb4, signal.SIGINT)
            else:
                took = exit_seconds(lb4, signal.SIGINT)
        print(f"INT to exit {took:.3f} s")
        assert took < bar(0.5)
        assert udp_drill.totals(lb4, "u")["active"] == 0


def test_a_closed_client_does_not_end_the_session(start_lb4):
    """Its host refuses the answer (ICMP at our listening socket): other clients must not notice."""
    gate = threading.Event()

    def late_answer(payload):
        if payload == b"late":
            gate.wait(5)
        return b"s|" + payload
    with udp_drill.UdpServer(answer=late_answer) as server:
        lb4, listen = start(start_lb4, [server.address], "timeout udp 1s")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.sendto(b"late", udp_drill.split(listen))
            udp_drill.wait_totals(lb4, "u", lambda t: t["datagrams_in"] == 1)
        gate.set()
        with udp_drill.Flows(listen, 20) as flows:
            for _ in range(10):
                assert flows.round() == 0
        assert udp_drill.totals(lb4, "u")["dropped"] == 0
