"""A server dies, or falls silent, under UDP flows: they go on at another one."""
import contextlib
import signal
import struct
import time

import pytest

import namespace
import udp_drill

N_FLOWS = 200
PROBE = 'check send "ping" expect "|ping" interval 200ms timeout 200ms fall 2 rise 1 fast 100ms'
DNS_PROBE = 'check dns probe.example interval 200ms timeout 200ms fall 2 rise 1 fast 100ms'
DOWN_LIMIT_S = 10


@contextlib.contextmanager
def pool(count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(
            udp_drill.UdpProcess(f"s{i + 1}", namespace.take_port())) for i in range(count)]


def start(start_lb4, addresses, *words):
    listen = f"127.0.0.1:{namespace.take_port()}"
    lines = ["service u {", f"    listen udp {listen}", "    balance roundrobin", *words]
    lines += [f"    server s{i + 1} {address}" for i, address in enumerate(addresses)]
    return start_lb4(["-w", "2"], config="\n    ".join(lines) + "\n}\n"), listen


def end(lb4):
    lb4.finish(checks_descriptors=False)
    now = udp_drill.totals(lb4, "u")
    print(dict(now))
    assert now["active"] == 0
    return now


@pytest.mark.parametrize("check", ["check none", PROBE])
def test_requests_outlive_a_killed_server(start_lb4, check):
    """It refuses from then on (ICMP): the datagram that learned this goes to another server."""
    with pool(3) as servers:
        lb4, listen = start(start_lb4, [s.address for s in servers], check, "timeout udp 2s")
        with udp_drill.Flows(listen, N_FLOWS) as flows:
            for _ in range(5):
                assert flows.round() == 0
            print(flows.servers)
            n_moving = flows.servers["s1"]
            assert n_moving >= N_FLOWS / 3 * 0.8
            servers[0].kill()
            began = time.monotonic()
            n_missing = sum(flows.round(limit_s=2) for _ in range(5))
            print(f"{n_missing} missing, {time.monotonic() - began:.2f} s, {flows.servers}")
            assert flows.n_foreign == 0 and flows.n_refused == 0
            assert n_missing == 0
            assert set(flows.servers) == {"s2", "s3"}
            udp_drill.wait_totals(lb4, "u", lambda t: t["active"] == 0, what="all sessions end")
        if check == "check none":
            lb4.wait_descriptors()
        assert end(lb4)["rebinds"] >= n_moving


def test_a_row_of_dead_servers_costs_nothing(start_lb4):
    """Answered flows go from one to the next with the same datagram."""
    with pool(4) as servers:
        lb4, listen = start(start_lb4, [s.address for s in servers], "check none")
        with udp_drill.Flows(listen, N_FLOWS) as flows:
            assert flows.round() == 0 and flows.round() == 0
            for server in servers[:3]:
                server.kill()
            assert flows.round(limit_s=2) == 0
            assert set(flows.servers) == {"s4"} and flows.n_foreign == 0
        assert end(lb4)["dropped"] == 0


@pytest.mark.parametrize("check", ["check none", PROBE])
def test_flows_find_a_server_that_comes_back(start_lb4, check):
    """All are dead for a while: nothing spins, and then the flows go on."""
    with pool(2) as servers:
        lb4, listen = start(start_lb4, [s.address for s in servers], check, "timeout udp 30s")
        with udp_drill.Flows(listen, 50) as flows:
            assert flows.round() == 0
            for server in servers:
                server.kill()
            if check != "check none":
                wait_down(lb4, "s1")
                wait_down(lb4, "s2")
            for _ in range(3):
                assert flows.round(limit_s=0.1) == 50
            busy, _ = lb4.load_during(0.5)
            now = udp_drill.totals(lb4, "u")
            print(f"busy {busy:.3f}, {dict(now)}")
            assert busy < 0.3
            with servers[1]:
                deadline = time.monotonic() + 15
                while flows.round(limit_s=0.3):
                    assert time.monotonic() < deadline, "a flow is stuck"
                assert set(flows.servers) == {"s2"}
        end(lb4)


@pytest.mark.parametrize("check, word", [("check none", "refused"), (PROBE, "no_server")])
def test_datagrams_that_nobody_takes_are_counted(start_lb4, check, word):
    nobody = [f"127.0.0.1:{namespace.take_port()}" for _ in range(2)]
    lb4, listen = start(start_lb4, nobody, check)
    if check == PROBE:
        wait_down(lb4, "s1")
        wait_down(lb4, "s2")
    with udp_drill.Flows(listen, 20) as flows:
        for flow in range(20):
            flows.send(flow)
        udp_drill.wait_totals(lb4, "u", lambda t: t["dropped"] >= 20, what="drops")
        assert flows.collect(0) == 0
    now = end(lb4)
    assert now["dropped"] == now[f"drop_{word}"] == 20


def test_what_a_refusal_costs_an_answered_flow_is_counted(start_lb4):
    with pool(2) as servers:
        lb4, listen = start(start_lb4, [s.address for s in servers], "check none")
        with udp_drill.Flows(listen, 20) as flows:
            assert flows.round() == 0
            for server in servers:
                server.kill()
            assert flows.round(limit_s=0.1) == 20
        assert end(lb4)["dropped"] == 20


def test_a_new_flow_loses_nothing_to_a_refusing_server(start_lb4):
    """Nothing was answered yet: the very first datagram goes on to another server."""
    with pool(2) as servers:
        nobody = f"127.0.0.1:{namespace.take_port()}"
        lb4, listen = start(start_lb4, [nobody, servers[0].address, servers[1].address],
                            "check none")
        with udp_drill.Flows(listen, N_FLOWS) as flows:
            assert flows.round() == 0
            assert flows.n_refused == 0
        assert end(lb4)["drop_refused"] == 0


def wait_down(lb4, server):
    lb4.wait_line(rf"server u/{server} is DOWN", DOWN_LIMIT_S)


def test_a_silent_server_goes_down_and_its_flows_move(start_lb4):
    with pool(3) as servers:
        lb4, listen = start(start_lb4, [s.address for s in servers], PROBE)
        with udp_drill.Flows(listen, N_FLOWS) as flows:
            assert flows.round() == 0
            before = flows.servers
            servers[0].signal(signal.SIGSTOP)
            began = time.monotonic()
            wait_down(lb4, "s1")
            print(f"down after {time.monotonic() - began:.2f} s")
            assert flows.round() == 0
            assert set(flows.servers) == {"s2", "s3"}
            servers[0].signal(signal.SIGCONT)
            lb4.wait_line("server u/s1 is UP", DOWN_LIMIT_S)
            assert flows.round() == 0
            assert set(flows.servers) == {"s2", "s3"}, "flows that moved stay where they are"
        assert end(lb4)["rebinds"] == before["s1"]


def test_udp_on_down_keep_keeps_flows_where_they_are(start_lb4):
    with pool(2) as servers:
        lb4, listen = start(start_lb4, [s.address for s in servers], PROBE, "udp-on-down keep")
        with udp_drill.Flows(listen, 40) as flows, udp_drill.Flows(listen, 10) as late:
            assert flows.round() == 0
            homes = [last[0] for last in flows.last]
            assert homes.count("s1") >= 15
            servers[0].signal(signal.SIGSTOP)
            wait_down(lb4, "s1")
            assert flows.round(limit_s=0.3) == homes.count("s1")
            assert late.round() == 0 and set(late.servers) == {"s2"}, "new flows avoid it"
            servers[0].signal(signal.SIGCONT)
            lb4.wait_line("server u/s1 is UP", DOWN_LIMIT_S)
            while flows.collect(0.2):
                pass
            assert flows.round() == 0
            assert [last[0] for last in flows.last] == homes
        assert end(lb4)["rebinds"] == 0


def test_a_wrong_answer_to_check_send_is_down(start_lb4):
    with udp_drill.UdpServer(answer=lambda payload: b"a|" + payload) as good, \
            udp_drill.UdpServer(answer=lambda payload: b"what?") as wrong:
        lb4, listen = start(start_lb4, [good.address, wrong.address], PROBE)
        wait_down(lb4, "s2")
        with udp_drill.Flows(listen, 20) as flows:
            assert flows.round() == 0
            assert set(flows.servers) == {"a"}
        assert not any("u/s1 is DOWN" in line for line in lb4.lines)
        end(lb4)


def dns_answer(query, kind):
    """What a DNS server of this kind says; None = nothing."""
    number, question = query[:2], query[12:]
    if kind == "silent":
        return None
    if kind == "garbage":
        return b"\xff" * 40
    if kind == "short":
        return number
    if kind == "other-id":
        number = bytes([query[0] ^ 1, query[1]])
    if kind == "other-name":
        question = question.replace(b"probe", b"porbe")
    if kind == "echo":
        return query
    rcode = {"nxdomain": 3, "servfail": 2, "refused": 5}.get(kind, 0)
    n_answers = 1 if kind == "good" else 0
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if n_answers else b""
    return number + struct.pack("!HHHHH", 0x8180 | rcode, 1, n_answers, 0, 0) + question + answer


@pytest.mark.parametrize("kind", ["silent", "garbage", "short", "other-id", "other-name", "echo",
                                  "servfail", "refused"])
def test_a_wrong_dns_answer_is_down(start_lb4, kind):
    questions = []

    def say(payload):
        questions.append(payload)
        return dns_answer(payload, "good")
    with udp_drill.UdpServer(answer=say) as good, \
            udp_drill.UdpServer(answer=lambda query: dns_answer(query, "nxdomain")) as empty, \
            udp_drill.UdpServer(answer=lambda query: dns_answer(query, kind)) as wrong:
        lb4, _ = start(start_lb4, [good.address, empty.address, wrong.address], DNS_PROBE)
        wait_down(lb4, "s3")
        print(lb4.wait_line("u/s3 is DOWN"))
        # Its neighbours are asked on, and stay up.
        seen = len(questions)
        deadline = time.monotonic() + DOWN_LIMIT_S
        while len(questions) < seen + 5:
            assert time.monotonic() < deadline, "no probes"
            time.sleep(0.02)
        down = [line for line in lb4.lines if " is DOWN" in line]
        assert len(down) == 1, down
        assert questions[0][12:] == b"\5probe\7example\0\0\1\0\1"
        assert len({question[:2] for question in questions}) > 1, "ids change"
        end(lb4)
