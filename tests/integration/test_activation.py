"""Listening sockets that a service manager passes (sd_listen_fds(3))."""
import concurrent.futures
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

import pytest

import daemon
import manager
import namespace
import servers
import udp_drill

N_WORKERS = 3


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


@pytest.fixture
def port():
    return namespace.take_port()


def service(name, *words):
    return "\n    ".join([f"service {name} {{", *words]) + "\n}\n"


def expect_refusal(lb4, *words):
    assert lb4.wait_exit() == 1, lb4.tail()
    lb4.is_finished = True
    text = "\n".join(lb4.lines)
    assert " ready" not in text and not daemon.SANITIZER.search(text), text
    for word in words:
        assert word in text, text


def listeners_of(lb4):
    """Listening TCP sockets that the process holds, but that of HTTP."""
    done = subprocess.run(["ss", "-Htlnp"], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines()
            if f"pid={lb4.pid}," in line and line.split()[3] != lb4.http]


def test_all_workers_serve_from_one_socket(start_lb4, server, port, splice):
    with manager.listening("127.0.0.1", port) as passed, contextlib.ExitStack() as stack:
        lb4 = start_lb4(["-w", N_WORKERS, "-l", f"127.0.0.1:{port}", "-s", server.address],
                        splice=splice, passed=[passed])
        assert len(listeners_of(lb4)) == 1, "it is not bound again"
        clients = [stack.enter_context(servers.connect(f"127.0.0.1:{port}")) for _ in range(60)]
        for client in clients:
            servers.ask(client, bytes(30000))
        for client in clients:
            client.close()
        lb4.wait_n_closed("rule1", 60)
        totals = [lb4.totals()["worker", str(i + 1)]["total"] for i in range(N_WORKERS)]
        print(totals)
        assert sum(totals) == 60 and max(totals) <= min(totals) * 1.25 + 2
        lb4.finish()


def test_sockets_and_listeners_of_its_own_side_by_side(start_lb4, server, port):
    """Two are passed, with different owners; the third lb4 binds itself."""
    own = namespace.take_port()
    other = namespace.take_port()
    with manager.listening("127.0.0.1", port) as one, manager.listening("::1", other) as two:
        lb4 = start_lb4(["-w", N_WORKERS], passed=[one, two], config=service(
            "web", f"listen tcp 127.0.0.1:{port}", f"listen tcp [::1]:{other}",
            f"listen tcp 127.0.0.1:{own}", f"server s1 {server.address}"))
        assert len(listeners_of(lb4)) == 2 + N_WORKERS
        for address in (f"127.0.0.1:{port}", f"[::1]:{other}", f"127.0.0.1:{own}"):
            servers.ask_once(address)
        lb4.wait_n_closed("web", 3)


@pytest.mark.parametrize("passed_hosts", [["::"], ["0.0.0.0"], ["127.0.0.1"]])
def test_all_addresses(start_lb4, server, port, passed_hosts):
    """[::] of systemd is `:PORT` of lb4; 0.0.0.0 serves it for IPv4; 127.0.0.1 is another one."""
    with contextlib.ExitStack() as stack:
        passed = [stack.enter_context(manager.listening(host, port)) for host in passed_hosts]
        lb4 = start_lb4(["-w", 2, "-l", f":{port}", "-s", server.address], passed=passed,
                        waits=passed_hosts != ["127.0.0.1"])
        if passed_hosts == ["127.0.0.1"]:
            expect_refusal(lb4, f":{port}")
            return
        servers.ask_once(f"127.0.0.1:{port}")
        if passed_hosts == ["::"]:
            servers.ask_once(f"[::1]:{port}")
        ends = lb4.wait_n_closed("rule1", 1 if passed_hosts == ["0.0.0.0"] else 2)
        # Two workers log in an order of their own.
        hosts = sorted(end["client"].rpartition(":")[0] for end in ends)
        assert hosts == (["127.0.0.1"] if passed_hosts == ["0.0.0.0"] else ["127.0.0.1", "[::1]"])


def test_one_socket_for_each_worker(start_lb4, server, port):
    """A group of SO_REUSEPORT is spread over the workers; one too many is refused."""
    with contextlib.ExitStack() as stack:
        passed = []
        for _ in range(3):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", port))
            sock.listen()
            passed.append(sock)
        rule = ["-l", f"127.0.0.1:{port}", "-s", server.address]
        expect_refusal(start_lb4(["-w", 2, *rule], passed=passed, waits=False),
                       "more sockets were passed", f"127.0.0.1:{port}")
        lb4 = start_lb4(["-w", 3, *rule], passed=passed)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(servers.ask_once, [f"127.0.0.1:{port}"] * 100))
        lb4.wait_n_closed("rule1", 100)


def test_a_crash_refuses_nobody(start_lb4, server, port):
    """kill -9 and start again, while clients come all the time: those wait in the queue."""
    address = f"127.0.0.1:{port}"
    rule = ["-w", 2, "-l", address, "-s", server.address]
    with manager.listening("127.0.0.1", port) as passed:
        lb4 = start_lb4(rule, passed=[passed])
        servers.ask_once(address)
        for _ in range(3):
            lb4.kill()
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(servers.connect(address)) for _ in range(50)]
                for client in clients:
                    client.sendall(b"hello")
                started = time.monotonic()
                lb4 = start_lb4(rule, passed=[passed])
                for client in clients:
                    assert client.recv(5) == b"hello"
                print(f"served {time.monotonic() - started:.2f} s after the start")
            lb4.wait_n_closed("rule1", 50)
        lb4.finish()
        assert not servers.is_refused(address), "the socket is the manager's, it stays"


def test_a_drain_takes_whom_it_has_and_leaves_the_rest_in_the_queue(start_lb4, server, port):
    """The socket lives on: who comes during the drain waits for the next lb4, costs no CPU, and
    is served by it."""
    address = f"127.0.0.1:{port}"
    rule = ["-w", 2, "-l", address, "-s", server.address]
    with manager.listening("127.0.0.1", port) as passed:
        lb4 = start_lb4(rule, passed=[passed])
        with servers.connect(address) as client:
            servers.ask(client)
            lb4.signal(signal.SIGTERM)
            lb4.wait_line("draining")
            servers.wait_until(lambda: not listeners_of(lb4), what="it accepts no more")
            with servers.connect(address) as late:
                late.sendall(b"hello")
                cpu, wakes = lb4.load_during(0.5)
                print(f"{cpu:.3f} of a CPU, {wakes:.0f} wake-ups a second")
                assert cpu < 0.2 and wakes < 100
                servers.ask(client)
                client.close()
                lb4.is_finished = True
                lb4.check_end()
                following = start_lb4(rule, passed=[passed])
                assert late.recv(5) == b"hello"
        following.wait_n_closed("rule1", 1)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_udp(start_lb4, port, host):
    """Datagrams that came before lb4, during a crash, and while it runs; answers from the address
    that was asked."""
    listen = f":{port}" if host == "::" else f"{host}:{port}"
    asked = ["127.0.0.1"] if host == "127.0.0.1" else ["127.0.0.1", "127.0.0.3"]
    with udp_drill.UdpServer() as server, manager.bound(host, port) as passed, \
            contextlib.ExitStack() as stack:
        config = service("u", f"listen udp {listen}", "timeout udp 500ms",
                         f"server s1 {server.address}")
        clients = []
        for i in range(20):
            client = stack.enter_context(udp_drill.udp_socket("127.0.0.1"))
            client.settimeout(udp_drill.ANSWER_LIMIT_S)
            client.connect((asked[i % len(asked)], port))
            clients.append(client)
        for _ in range(2):
            for client in clients:
                client.send(b"early")
            lb4 = start_lb4(["-w", N_WORKERS], config=config, passed=[passed])
            for client in clients:
                assert client.recv(100) == b"early"
                assert udp_drill.ask(client, b"x" * 1000) == b"x" * 1000
            lb4.kill()
        lb4 = start_lb4(["-w", N_WORKERS], config=config, passed=[passed])
        for client in clients:
            assert udp_drill.ask(client, b"again") == b"again"
        lb4.finish()


def test_one_worker_may_have_all_sessions(start_lb4, port):
    """The owner of the only socket is not held to a worker's share, of which one client host would
    get half: 5."""
    with udp_drill.UdpServer() as server, manager.bound("127.0.0.1", port) as passed, \
            contextlib.ExitStack() as stack:
        lb4 = start_lb4(["-w", 4], passed=[passed], config=service(
            "u", f"listen udp 127.0.0.1:{port}", "timeout udp 2s", "udp-sessions 40",
            f"server s1 {server.address}"))
        for _ in range(18):
            client = stack.enter_context(udp_drill.udp_socket("127.0.0.1"))
            client.settimeout(udp_drill.ANSWER_LIMIT_S)
            client.connect(("127.0.0.1", port))
            for _ in range(2):  # on trial until the second
                assert udp_drill.ask(client, b"x") == b"x"
        assert udp_drill.totals(lb4, "u")["active"] == 18


def test_both_transports_at_one_port(start_lb4, server, port):
    with udp_drill.UdpServer(port=server.port) as _, manager.listening("127.0.0.1", port) as tcp, \
            manager.bound("127.0.0.1", port) as udp, udp_drill.udp_socket("127.0.0.1") as client:
        lb4 = start_lb4(["-w", 2], passed=[udp, tcp], config=service(
            "dns", f"listen both 127.0.0.1:{port}", "timeout udp 500ms",
            f"server s1 {server.address}"))
        servers.ask_once(f"127.0.0.1:{port}")
        client.settimeout(udp_drill.ANSWER_LIMIT_S)
        client.connect(("127.0.0.1", port))
        assert udp_drill.ask(client, b"x") == b"x"
        lb4.wait_n_closed("dns", 1)


# --- what does not fit


def test_a_socket_too_many_is_named_and_closed(start_lb4, server, port):
    stray = namespace.take_port()
    with manager.listening("127.0.0.1", port) as passed, \
            manager.listening("127.0.0.1", stray) as other, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0lb4-test-stray")
        unix.listen()
        lb4 = start_lb4(["-l", f"127.0.0.1:{port}", "-s", server.address],
                        passed=[unix, other, passed])
        assert " WARN " in lb4.wait_line(f"descriptor 4 .*TCP on 127.0.0.1:{stray}.*closed")
        assert " WARN " in lb4.wait_line("descriptor 3 .*@lb4-test-stray.*closed")
        servers.ask_once(f"127.0.0.1:{port}")
        assert not [line for line in listeners_of(lb4) if f":{stray} " in line]
        lb4.wait_n_closed("rule1", 1)


def test_a_udp_socket_for_a_tcp_listener(start_lb4, server, port):
    with manager.bound("127.0.0.1", port) as passed:
        expect_refusal(start_lb4(["-l", f"127.0.0.1:{port}", "-s", server.address],
                                 passed=[passed], waits=False),
                       "UDP socket", f"127.0.0.1:{port}", "service rule1 listens on TCP")


def test_a_connection_instead_of_a_listener(start_lb4, server, port):
    with servers.connect(server.address) as passed:
        expect_refusal(start_lb4(["-l", f"127.0.0.1:{port}", "-s", server.address],
                                 passed=[passed], waits=False), "descriptor 3", "Accept=no")


def test_no_socket_at_all(start_lb4, server, port):
    with open("/dev/null", "rb") as passed:
        expect_refusal(start_lb4(["-l", f"127.0.0.1:{port}", "-s", server.address],
                                 passed=[passed], waits=False), "descriptor 3", "not a socket")


def test_variables_for_another_process_mean_nothing(start_lb4, server, port):
    lb4 = start_lb4(["-l", f"127.0.0.1:{port}", "-s", server.address],
                    env={"LISTEN_PID": "1", "LISTEN_FDS": "5"})
    servers.ask_once(f"127.0.0.1:{port}")
    lb4.wait_n_closed("rule1", 1)


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"),
                    reason="systemd-socket-activate is not installed")
def test_systemd_socket_activate(binary, server, port):
    """systemd's own tool: it listens, and becomes lb4 when the first client comes."""
    process = subprocess.Popen(
        ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=web", binary,
         "-w", "2", "-l", f"127.0.0.1:{port}", "-s", server.address],
        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env={"PATH": os.environ["PATH"]})
    try:
        servers.wait_until(lambda: not servers.is_refused(f"127.0.0.1:{port}"), what="it listens")
        for _ in range(20):
            servers.ask_once(f"127.0.0.1:{port}")
        process.send_signal(signal.SIGTERM)
        log = process.communicate(timeout=10)[1].decode()
        assert process.returncode == 0, log
        assert not daemon.SANITIZER.search(log), log
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
