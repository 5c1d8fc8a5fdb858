"""Reload (SIGHUP): what stays keeps its sockets, health, counters and connections; what goes drains;
what comes is probed first; and nobody who comes meanwhile is turned away."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest

import daemon
import drill
import namespace
import reloading
import servers

LISTEN = "127.0.0.1:7000"
OTHER = "127.0.0.1:7001"
NAMES = [f"s{i + 1}" for i in range(4)]
CHECK = "check tcp interval 200ms timeout 200ms fall 3 rise 2 fast 50ms"
PER_S = 300


@pytest.fixture(scope="module")
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(name)) for name in NAMES]


def web(pool, *directives, listens=(f"tcp {LISTEN}",), name="web"):
    return reloading.service(name, listens, [(server.name, server.address) for server in pool],
                             *directives)


def ask_name(address=LISTEN):
    """Which server a new client gets."""
    with servers.connect(address) as sock:
        return greet(sock)


def greet(sock):
    sock.sendall(b"hello")
    text = b""
    while not text.endswith(b"\nhello"):
        data = sock.recv(100)
        assert data, "ended"
        text += data
    return text.partition(b"\n")[0].decode()


def assert_no_failures(clients, lb4):
    failed = drill.failures(clients.records)
    assert len(clients.records) > 20 and not failed, drill.describe(failed, lb4)


def listening_inodes(lb4):
    links = [os.readlink(f"/proc/{lb4.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{lb4.pid}/fd")]
    return {link for link in links if link.startswith("socket:")}


# --- what stays

def test_no_difference_is_said(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, web(pool[:2], "check none"))
    before = listening_inodes(lb4)
    n_changes, lines = file.reload()
    assert n_changes == 0, "\n".join(lines)
    assert listening_inodes(lb4) == before


def test_a_server_that_is_down_stays_down(start_lb4, pool):
    """A change of its service, even of the check, brings no new first probe and no client to it."""
    dead = servers.ServerProcess("dead")
    lb4, file = reloading.start(start_lb4, web([*pool[:2], dead], CHECK))
    lb4.wait_line(r"server web/dead is DOWN")
    start = len(lb4.lines)
    with drill.Drill(LISTEN, PER_S) as clients:
        file.change(web([*pool[:2], dead], CHECK, "balance roundrobin"),
                    "~ balance of web leastconn -> roundrobin")
        file.change(web([*pool[:3], dead], CHECK, "balance roundrobin"),
                    f"+ server web/s3 {pool[2].address}")
        file.change(web([*pool[:3], dead], CHECK.replace("fall 3", "fall 2")))
        clients.wait_records(PER_S)
    assert_no_failures(clients, lb4)
    assert not [line for line in lb4.lines[start:] if re.search(r"web/dead is (UP|DOWN)", line)]
    assert reloading.sums(lb4)["server", "web/dead"]["total"] == 0


def test_counters_and_connections_stay(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, web(pool[:2], "check none", "balance roundrobin"))
    with reloading.Transfers(LISTEN, 10) as transfers:
        before = reloading.sums(lb4)
        file.change(web(reversed(pool[:3]), "check none", "timeout idle 5s", "balance random"))
        file.change(web(pool[:2], "check none", "tries 2"), "~ tries of web 3 -> 2")
        after = reloading.sums(lb4)
    assert transfers.problems == []
    keys = [("server", "web/s1"), ("server", "web/s2"), ("service", "web")]
    reloading.assert_monotone(before, after, keys)
    assert [after[key]["active"] for key in keys] == [5, 5, 10]


def test_weights_count_at_once(start_lb4, pool):
    def text(weight):
        return reloading.service("web", [f"tcp {LISTEN}"],
                                 [("s1", pool[0].address, f"weight {weight}"),
                                  ("s2", pool[1].address)], "check none", "balance roundrobin")
    lb4, file = reloading.start(start_lb4, text(1))
    file.change(text(4), "~ weight web/s1 1 -> 4")
    got = [ask_name() for _ in range(50)]
    assert (got.count("s1"), got.count("s2")) == (40, 10)
    lb4.wait_n_closed("web", 50)


# --- what goes

def test_a_removed_server_drains(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, web(pool[:2], "check none", "balance roundrobin"))
    with servers.connect(LISTEN) as one, servers.connect(LISTEN) as other:
        clients = {greet(one): one, greet(other): other}
        start = len(lb4.lines)
        file.change(web(pool[1:2], "check none", "balance roundrobin"),
                    f"- server web/s1 {pool[0].address}")
        assert {ask_name() for _ in range(20)} == {"s2"}
        for _ in range(5):
            greet_again(clients["s1"])
            greet_again(clients["s2"])
        assert not any("has gone" in line for line in lb4.lines[start:])
        assert reloading.sums(lb4)["server", "web/s1"]["active"] == 1
        clients["s1"].close()
        reloading.wait_gone(lb4, "server web/s1", start)
        greet_again(clients["s2"])
    assert ("server", "web/s1") not in reloading.sums(lb4)


def greet_again(sock):
    sock.sendall(b"again")
    assert sock.recv(5, socket.MSG_WAITALL) == b"again"


def test_a_removed_server_is_not_probed(start_lb4, pool):
    """Its machine may be switched off while a last connection is open: nobody wants to hear that."""
    doomed = servers.ServerProcess("doomed").start()
    lb4, file = reloading.start(start_lb4, web([*pool[:1], doomed], CHECK, "balance roundrobin"))
    with servers.connect(LISTEN) as one, servers.connect(LISTEN) as other:
        assert {greet(one), greet(other)} == {"s1", "doomed"}
        file.change(web(pool[:1], CHECK, "balance roundrobin"))
        before = reloading.sums(lb4)["server", "web/doomed"]
        assert before["active"] == 1
        time.sleep(0.6)  # three intervals
        after = reloading.sums(lb4)["server", "web/doomed"]
        assert after["checks_ok"] <= before["checks_ok"] + 1
    reloading.wait_gone(lb4, "server web/doomed")
    doomed.kill()


def test_a_removed_service_drains(start_lb4, pool):
    both = web(pool[:1], "check none") + web(pool[1:2], "check none", listens=[f"tcp {OTHER}"],
                                             name="old")
    lb4, file = reloading.start(start_lb4, both)
    at_start = lb4.descriptors()
    with servers.connect(OTHER) as sock:
        assert greet(sock) == "s2"
        file.change(web(pool[:1], "check none"), "- service old", f"- listener tcp {OTHER} of old",
                    f"- server old/s2 {pool[1].address}")
        assert servers.is_refused(OTHER)
        greet_again(sock)
        greet_again(sock)
    reloading.wait_gone(lb4, "service old")
    assert ("service", "old") not in reloading.sums(lb4)
    lb4.descriptors_at_start["socket"] -= 2  # of the two workers
    file.change(both, "+ service old")
    assert ask_name(OTHER) == "s2"
    lb4.descriptors_at_start = at_start


# --- what comes

def test_an_added_server_that_is_dead_gets_nobody(start_lb4, pool):
    dead = servers.ServerProcess("dead")
    lb4, file = reloading.start(start_lb4, web(pool[:2], CHECK))
    with drill.Drill(LISTEN, PER_S) as clients:
        clients.wait_records(30)
        file.change(web([*pool[:2], dead], CHECK), f"+ server web/dead {dead.address}")
        lb4.wait_line(r"server web/dead is DOWN: connection refused; this was its first probe")
        clients.wait_records(len(clients.records) + 60)
        assert reloading.sums(lb4)["server", "web/dead"]["connect_failures"] == 0
        with dead:
            lb4.wait_line(r"server web/dead is UP")
            clients.wait_served_by("dead", 0, 5)
            file.change(web(pool[:2], CHECK))
            clients.wait_records(len(clients.records) + 60)
    assert_no_failures(clients, lb4)


def test_an_added_server_is_used_after_its_probe(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, web(pool[:1], CHECK))
    with drill.Drill(LISTEN, PER_S) as clients:
        since = time.monotonic()
        file.change(web(pool[:2], CHECK), f"+ server web/s2 {pool[1].address}")
        clients.wait_served_by("s2", since, 5)
        clients.wait_records(30)
    assert_no_failures(clients, lb4)
    assert reloading.sums(lb4)["server", "web/s2"]["checks_ok"] >= 1


@pytest.mark.parametrize("policy", ["leastconn", "roundrobin", "source", "random"])
@pytest.mark.parametrize("check", ["check none", CHECK], ids=["unchecked", "checked"])
def test_the_only_server_gets_a_new_address(start_lb4, pool, policy, check):
    """The old one serves until the new one may: no client finds nobody there."""
    def text(server):
        return reloading.service("web", [f"tcp {LISTEN}"], [("db", server.address)], check,
                                 f"balance {policy}")
    lb4, file = reloading.start(start_lb4, text(pool[0]))
    before = reloading.sums(lb4)
    with servers.connect(LISTEN) as old, drill.Drill(LISTEN, 2 * PER_S) as clients:
        assert greet(old) == "s1"
        for server in [pool[1], pool[0], pool[2], pool[3]] * 3:
            file.change(text(server))
            assert ask_name() == server.name
            now = reloading.sums(lb4)
            reloading.assert_monotone(before, now, [("server", "web/db"), ("service", "web")])
            before = now
            greet_again(old)
            clients.wait_records(len(clients.records) + 5)
    assert_no_failures(clients, lb4)


def test_the_only_one_that_is_up_is_replaced(start_lb4, pool):
    """The other is down: the new one is not to be waited for."""
    dead = servers.ServerProcess("dead")
    lb4, file = reloading.start(start_lb4, web([dead, pool[0]], CHECK))
    lb4.wait_line(r"server web/dead is DOWN")
    with drill.Drill(LISTEN, PER_S) as clients:
        for server in [pool[1], pool[2], pool[3], pool[0]] * 3:
            file.change(web([dead, server], CHECK))
            clients.wait_records(len(clients.records) + 5)
    assert_no_failures(clients, lb4)


# --- listeners

def test_a_listener_moves_to_another_service(start_lb4, pool):
    """Its socket stays; no client is refused, and new ones go to the other service."""
    def text(name, server):
        return reloading.service(name, [f"tcp {LISTEN}"], [(server.name, server.address)],
                                 "check none")
    lb4, file = reloading.start(start_lb4, text("web0", pool[0]))
    before = listening_inodes(lb4)
    with servers.connect(LISTEN) as old:
        assert greet(old) == "s1"
        with drill.Drill(LISTEN, 2 * PER_S) as clients:
            for i in range(1, 9):
                file.change(text(f"web{i}", pool[i % 4]), f"+ service web{i}",
                            f"- service web{i - 1}")
                assert ask_name() == pool[i % 4].name
                clients.wait_records(len(clients.records) + 5)
        assert_no_failures(clients, lb4)
        greet_again(old)
    reloading.wait_gone(lb4, "service web0")
    servers.wait_until(lambda: listening_inodes(lb4) == before, what="the same sockets")


def test_a_service_is_there_when_its_listener_is(start_lb4, pool):
    """From the first client that is accepted on."""
    only = web(pool[:1], "check none")
    more = only + web(pool[1:2], "check none", listens=[f"tcp {OTHER}"], name="more")
    lb4, file = reloading.start(start_lb4, only)
    ends = []

    def hammer():
        while not is_ending.is_set():
            try:
                with servers.connect(OTHER) as sock:
                    ends.append(greet(sock))
                    return
            except ConnectionRefusedError:
                continue  # not there yet
            except (OSError, AssertionError) as problem:
                ends.append(repr(problem))
                return
    for _ in range(10):
        is_ending = threading.Event()
        n_lines = len(lb4.lines)
        threads = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in threads:
            thread.start()
        file.change(more)
        for thread in threads:
            thread.join(5)
        is_ending.set()
        file.change(only)
        reloading.wait_gone(lb4, "service more", n_lines)
    assert ends == ["s2"] * 40


@contextlib.contextmanager
def late_worker(lb4, name, milliseconds):
    """One thread of lb4 sleeps so long whenever something wakes it."""
    tid = next(task.name for task in pathlib.Path(f"/proc/{lb4.pid}/task").iterdir()
               if (task / "comm").read_text().strip() == name)
    tracer = subprocess.Popen(
        ["strace", "-qq", "-o", "/dev/null", "-e", "trace=epoll_wait", "-e",
         f"inject=epoll_wait:delay_exit={milliseconds * 1000}", "-p", tid])
    try:
        status = pathlib.Path(f"/proc/{lb4.pid}/task/{tid}/status")
        servers.wait_until(lambda: f"TracerPid:\t{tracer.pid}\n" in status.read_text(),
                           what="strace has attached")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("name", ["worker 1", "worker 2"])
def test_a_worker_is_handed_a_client_before_it_knows_the_listener(start_lb4, pool, name):
    """The other one accepts on it, has more clients, and hands over."""
    only = web(pool[:1], "check none")
    lb4, file = reloading.start(start_lb4, only)
    for i in range(4):
        more = only + web(pool[1:2], "check none", listens=[f"tcp {OTHER}"], name=f"more{i}")
        with late_worker(lb4, name, 150), contextlib.ExitStack() as stack:
            file.put(more)
            start = len(lb4.lines)
            lb4.signal(signal.SIGHUP)
            servers.wait_until(lambda: not servers.is_refused(OTHER), what="it listens")
            clients = [stack.enter_context(servers.connect(OTHER)) for _ in range(20)]
            assert [greet(client) for client in clients] == ["s2"] * 20
            lb4.wait_line("reload: done", start=start)
        file.change(only)
    workers = [key for key in reloading.sums(lb4) if key[0] == "worker"]
    assert sum(reloading.sums(lb4)[key]["handed_over"] for key in workers) > 0


def test_clients_in_the_queue_of_a_removed_listener_are_served(start_lb4, pool):
    both = web(pool[:1], "check none", listens=[f"tcp {LISTEN}", f"tcp {OTHER}"])
    lb4, file = reloading.start(start_lb4, both)
    for _ in range(5):
        file.put(web(pool[:1], "check none"))
        start = len(lb4.lines)
        lb4.signal(signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(servers.connect(OTHER)) for _ in range(50)]
            lb4.signal(signal.SIGHUP)
            lb4.signal(signal.SIGCONT)
            lb4.wait_line(r"reload: done", start=start)
            assert servers.is_refused(OTHER)
            assert {greet(client) for client in clients} == {"s1"}
        file.change(both, f"+ listener tcp {OTHER} of web")
        assert ask_name(OTHER) == "s1"


def test_an_address_in_use_changes_nothing(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, web(pool[:1], "check none"))
    before = lb4.descriptors()
    with socket.create_server(("127.0.0.1", 7001)):
        lines = file.refuse(
            web(pool[1:2], "check none", listens=[f"tcp {LISTEN}", "tcp 127.0.0.1:7002",
                                                  f"tcp {OTHER}"]),
            f"cannot listen on {OTHER} of service web: Address already in use")
        assert "ERROR" in lines[-1]
        assert ask_name() == "s1"
        assert servers.is_refused("127.0.0.1:7002")
    lb4.wait_n_closed("web", 1)
    servers.wait_until(lambda: lb4.descriptors() == before, what="no descriptor left")
    file.change(web(pool[1:2], "check none"))
    assert ask_name() == "s2"


def test_wildcard_and_address_take_turns(start_lb4, pool):
    """A port goes from all addresses to one and back without a refusal."""
    lb4, file = reloading.start(start_lb4, web(pool[:1], "check none", listens=["tcp :7000"]))
    with drill.Drill(LISTEN, PER_S) as clients:
        for _ in range(3):
            file.change(web(pool[:1], "check none", listens=["tcp :7000", f"tcp {LISTEN}"]))
            clients.wait_records(len(clients.records) + 20)
            file.change(web(pool[:1], "check none", listens=["tcp :7000"]))
    lost = drill.failures(clients.records)  # a handshake that is under way when it closes
    assert len(lost) <= 3, drill.describe(lost, lb4)


# --- the rest of a file

def test_what_needs_a_start_is_told(start_lb4, pool):
    text = web(pool[:1], "check none")
    lb4, file = reloading.start(start_lb4, "pipes 4\n" + text)
    lines = file.change("pipes 8\nsplice off\ndrain 9s\n" + text, "~ drain 30s -> 9s",
                        "~ pipes 4 -> 8 (at the next start)",
                        "~ splice on -> off (at the next start)")
    assert sum("(at the next start)" in line for line in lines) == 2
    assert ask_name() == "s1"
    lb4.wait_n_closed("web", 1)


def test_maxconn_changes_at_once(start_lb4, pool):
    text = web(pool[:1], "check none")
    lb4, file = reloading.start(start_lb4, "maxconn 2\n" + text)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(servers.connect(LISTEN, 1)) for _ in range(4)]
        for client in clients:
            client.sendall(b"hello")
        served = [client for client in clients if select_name(client)]
        assert len(served) == 2
        file.change("maxconn 4\n" + text, "~ maxconn 2 -> 4")
        for client in clients:
            if client not in served:
                client.settimeout(5)
                assert client.recv(100).startswith(b"s1\n")
        file.change("maxconn 1\n" + text, "~ maxconn 4 -> 1")
        for client in clients:
            greet_again(client)
        late = stack.enter_context(servers.connect(LISTEN, 1))
        late.sendall(b"hello")
        for client in clients[:3]:
            client.close()
        assert not select_name(late)
        clients[3].close()
        late.settimeout(5)
        assert select_name(late)


def select_name(client, limit_s=0.5):
    client.settimeout(limit_s)
    try:
        return client.recv(100).startswith(b"s1\n")
    except TimeoutError:
        return False


def test_no_reload_while_draining(start_lb4, pool):
    lb4, file = reloading.start(start_lb4, web(pool[:1], "check none"))
    with servers.connect(LISTEN) as sock:
        assert greet(sock) == "s1"
        lb4.signal(signal.SIGTERM)
        servers.wait_until(lambda: servers.is_refused(LISTEN), what="the drain")
        file.put(web(pool[1:2], "check none"))
        lb4.signal(signal.SIGHUP)
        lb4.wait_line(r"SIGHUP: no reload on the way out")
        greet_again(sock)
    lb4.is_finished = True
    lb4.check_end()
    assert not any("reload: " in line for line in lb4.lines)


def test_check_to_none_and_back(start_lb4, pool):
    """Without probes nobody is down; with them the first one decides, and nobody fails."""
    dead = servers.ServerProcess("dead")
    lb4, file = reloading.start(start_lb4, web([*pool[:1], dead], CHECK))
    lb4.wait_line(r"server web/dead is DOWN")
    start = len(lb4.lines)
    file.change(web([*pool[:1], dead], "check none"))
    with drill.Drill(LISTEN, PER_S) as clients:
        servers.wait_until(
            lambda: reloading.sums(lb4)["server", "web/dead"]["connect_failures"] > 0,
            what="clients are sent to it")
        file.change(web([*pool[:1], dead], CHECK))
        lb4.wait_line(r"server web/dead is DOWN", start=start)
        failures = reloading.sums(lb4)["server", "web/dead"]["connect_failures"]
        clients.wait_records(len(clients.records) + 60)
    assert_no_failures(clients, lb4)
    assert reloading.sums(lb4)["server", "web/dead"]["connect_failures"] == failures


@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")
def test_a_privileged_port_can_be_added(start_lb4, pool):
    port = namespace.sysctl("net.ipv4.ip_unprivileged_port_start", "1024")
    with port:
        top = "user nobody\ndrain 200ms\n"
        text = web(pool[:1], "check none")
        lb4, file = reloading.start(start_lb4, top + text, uid=None)
        listens = [f"tcp {LISTEN}", "both 127.0.0.1:81"]
        file.change(top + web(pool[:1], "check none", listens=listens),
                    "+ listener both 127.0.0.1:81 of web")
        assert ask_name("127.0.0.1:81") == "s1"
        file.change(top + text)
        lb4.wait_n_closed("web", 1)


def test_an_unprivileged_one_is_refused_a_port(start_lb4, pool):
    with namespace.sysctl("net.ipv4.ip_unprivileged_port_start", "1024"):
        lb4, file = reloading.start(start_lb4, web(pool[:1], "check none"))
        if not daemon.can_change_uid():
            pytest.skip("the one uid of this namespace may bind it")
        file.refuse(web(pool[:1], "check none", listens=["tcp 127.0.0.1:81"]),
                    "cannot listen on 127.0.0.1:81 of service web: Permission denied")
        assert ask_name() == "s1"
        lb4.wait_n_closed("web", 1)
