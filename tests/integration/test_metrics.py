"""What /metrics says is what clients, servers and the kernel know; the identity of connections holds
in every scrape; and a scrape of many servers is cheap."""
import collections
import contextlib
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import pytest

import daemon
import drill
import namespace
import pools
import reloading
import servers
import udp_drill
import web

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 100ms timeout 500ms fall 2 rise 2"
MB = 1 << 20
SCRAPE_BAR_S = 0.050
N_SERVERS = 1000


@pytest.fixture
def site():
    return web.take_address()


@pytest.fixture
def pool():
    with pools.make(3) as pool:
        yield pool


def start(start_lb4, site, pool, *words, **options):
    text = f"http {site}\n" + pools.config(LISTEN, pool.texts, *words)
    return start_lb4(["-w", "2"], config=text, **options)


def wait_scrape(site, condition, what):
    """The first scrape for which it is true."""
    found = []

    def look():
        found[:] = [web.Scrape(site)]
        return condition(found[0])
    servers.wait_until(look, what=what)
    return found[0]


def wait_active(site, count, service="web"):
    return wait_scrape(site, lambda scrape: scrape.value("lb4_connections_active", service=service)
                       == count, f"{count} active connections")


# --- the format

def test_promtool_has_no_complaint(start_lb4, site, pool):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    text = reloading.service("both", [f"both {LISTEN}"], [("a", pool.texts[0])])
    start_lb4(["-w", "2"], config=f"http {site}\n{text}")
    pools.ask_name(LISTEN)
    done = subprocess.run([promtool, "check", "metrics"], input=web.get(site, "/metrics"),
                          capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_all_are_there_from_the_start(start_lb4, site, pool):
    start(start_lb4, site, pool, "check none")
    scrape = web.Scrape(site)
    assert scrape.label_values("lb4_closed_total", "reason") == daemon.REASONS
    assert scrape.label_values("lb4_bytes_total", "direction") == {"in", "out"}
    assert scrape.label_values("lb4_server_checks_total", "result") == {"ok", "failed", "unknown"}
    assert scrape.label_values("lb4_relay_bytes_total", "path") == {"splice", "copy"}
    assert scrape.label_values("lb4_pipes", "state") == {"idle", "lent"}
    assert scrape.label_values("lb4_worker_connections_active", "worker") == {"1", "2"}
    assert scrape.label_values("lb4_server_up", "server") == {"s1", "s2", "s3"}
    assert scrape.sum("lb4_closed_total") == scrape.sum("lb4_connections_total") == 0
    assert scrape.sum("lb4_build_info") == 1
    assert abs(scrape.value("lb4_start_time_seconds") - time.time()) < 60


# --- numbers

def established_to(port):
    """What ss counts at the listener's side, without those that wait to be accepted."""
    done = subprocess.run(["ss", "-Htn", "state", "established", f"( sport = :{port} )"],
                          capture_output=True, text=True, check=True)
    return len(done.stdout.splitlines())


def test_books(start_lb4, site, pool):
    """Held, ended and refused ones, as the clients, the servers and ss count them."""
    lb4 = start(start_lb4, site, pool, CHECK)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(servers.connect(LISTEN)) for _ in range(30)]
        names = collections.Counter(pools.read_name(sock) for sock in held)
        for sock in held[:7]:
            sock.sendall(b"x" * 1000)
        ended = collections.Counter(pools.ask_name(LISTEN) for _ in range(20))
        scrape = wait_active(site, 30)
        assert scrape.value("lb4_connections_total", service="web") == 50
        assert scrape.value("lb4_closed_total", service="web", reason="client_fin") == 20
        assert scrape.value("lb4_bytes_total", service="web", direction="out") == 2 * 50
        assert scrape.value("lb4_bytes_total", service="web", direction="in") == 7000
        assert scrape.sum("lb4_worker_connections_active") == 30 == established_to(7000)
        for index in range(3):
            labels = {"service": "web", "server": f"s{index + 1}"}
            assert scrape.value("lb4_server_connections_active", **labels) == names[index]
            total = scrape.value("lb4_server_connections_total", **labels)
            assert total == names[index] + ended[index]
            assert scrape.value("lb4_server_connect_seconds_count", **labels) == total
        for sock in held[:5]:
            servers.reset(sock)
    scrape = wait_active(site, 0)
    assert scrape.value("lb4_closed_total", service="web", reason="client_rst") == 5
    assert scrape.value("lb4_closed_total", service="web", reason="client_fin") == 45
    assert scrape.value("lb4_session_seconds_count", service="web") == 50
    assert scrape.value("lb4_session_bytes_sum", service="web") == 7000 + 2 * 50
    assert scrape.sum("lb4_server_connections_active") == 0 == established_to(7000)
    lb4.finish()
    assert lb4.summary()["service", "web"]["total"] == 50


def test_failures(start_lb4, site, pool):
    """Refused connects, the redispatch, and at last no server; the state of the servers."""
    lb4 = start(start_lb4, site, pool, "check tcp interval 10s timeout 500ms fall 3 rise 2")
    checks = web.Scrape(site).sum("lb4_server_checks_total", result="ok")
    assert checks >= 3  # a server's slot may be close to its first probe
    for index in range(3):
        pool.close(index)
    assert servers.connect_end(LISTEN)[0] == "rst"
    lb4.wait_line("no server is up")
    scrape = wait_scrape(site, lambda scrape: scrape.sum("lb4_server_up") == 0, "all down")
    assert scrape.value("lb4_closed_total", service="web", reason="connect_failed") == 1
    assert scrape.value("lb4_redispatches_total", service="web") == 2
    assert scrape.sum("lb4_server_connect_failures_total") == 3
    assert scrape.sum("lb4_server_checks_total", result="failed") >= 3
    assert scrape.value("lb4_service_servers_usable", service="web") == 0
    assert scrape.value("lb4_service_servers", service="web") == 3
    assert servers.connect_end(LISTEN)[0] == "rst"
    scrape = wait_scrape(site, lambda scrape: scrape.value(
        "lb4_closed_total", service="web", reason="no_server") == 1, "no_server")
    assert scrape.sum("lb4_server_connect_seconds_count") == 0


def test_where_bytes_went(start_lb4, site, splice):
    """Bulk goes by splice where it may, a little by copy; a reader that stalls keeps a pipe."""
    with servers.EchoServer() as server:
        start_lb4(["-w", "1", "-o", f"http {site}", "-l", LISTEN, "-s", server.address],
                  splice=splice)
        servers.ask_once(LISTEN, b"x" * 10)
        scrape = wait_active(site, 0, "rule1")
        assert scrape.value("lb4_relay_bytes_total", path="copy") == 20
        with servers.connect(LISTEN) as sock:
            sender = threading.Thread(target=sock.sendall, args=(b"x" * (32 * MB),))
            sender.start()
            time.sleep(0.2)
            scrape = web.Scrape(site)
            assert scrape.value("lb4_pipes", state="idle") + scrape.value(
                "lb4_pipes", state="lent") <= (64 if splice else 0)
            n_came = 0
            while n_came < 32 * MB:
                n_came += len(sock.recv(MB))
            sender.join()
        scrape = wait_active(site, 0, "rule1")
        moved = scrape.sum("lb4_relay_bytes_total")
        assert moved == 64 * MB + 20 == scrape.sum("lb4_bytes_total")
        spliced = scrape.value("lb4_relay_bytes_total", path="splice")
        assert spliced > 32 * MB if splice else spliced == 0
        assert scrape.value("lb4_pipes", state="lent") == 0
        assert scrape.value("lb4_session_bytes_bucket", service="rule1", le="1e+08") == 2
        assert scrape.value("lb4_session_bytes_bucket", service="rule1", le="1e+07") == 1


def test_durations(start_lb4, site, pool):
    """As long as they lasted, by the client's clock."""
    start(start_lb4, site, pool)
    lasted = 0.0
    for pause in (0, 0.3, 1.1):
        before = time.monotonic()
        with servers.connect(LISTEN) as sock:
            pools.read_name(sock)
            time.sleep(pause)
        wait_active(site, 0)
        lasted += time.monotonic() - before
    scrape = web.Scrape(site)
    assert 1.4 <= scrape.value("lb4_session_seconds_sum", service="web") <= lasted
    assert scrape.value("lb4_session_seconds_bucket", service="web", le="60") == 3
    assert scrape.value("lb4_session_seconds_bucket", service="web", le="1") <= 2
    assert scrape.sum("lb4_server_connect_seconds_sum") < lasted


def test_udp(start_lb4, site):
    listen = f"127.0.0.1:{namespace.take_port()}"
    with udp_drill.UdpServer() as server:
        text = reloading.service("u", [f"udp {listen}"], [("s1", server.address)],
                                 "timeout udp 500ms")
        start_lb4(["-w", "2"], config=f"http {site}\n{text}")
        for _ in range(4):
            with udp_drill.udp_socket("127.0.0.1") as client:
                client.connect(udp_drill.split(listen))
                for _ in range(3):
                    assert udp_drill.ask(client, b"x" * 100) == b"x" * 100
        scrape = web.Scrape(site)
        assert scrape.value("lb4_udp_sessions_total", service="u") == 4
        for direction in ("in", "out"):
            labels = {"service": "u", "direction": direction}
            assert scrape.value("lb4_udp_datagrams_total", **labels) == 12
            assert scrape.value("lb4_udp_bytes_total", **labels) == 1200
        assert scrape.sum("lb4_udp_dropped_total") == scrape.sum("lb4_connections_total") == 0
        assert len(scrape.samples["lb4_udp_dropped_total"]) == 12
        wait_scrape(site, lambda scrape: scrape.sum("lb4_udp_sessions_active") == 0, "the end")


# --- every scrape

def test_identity_under_load(start_lb4, site, is_full):
    """Scraped again and again while connections come and go, and fail: no scrape is wrong, and no
    counter falls."""
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b", "c")]
        text = f"http {site}\n" + pools.config(
            drill.LISTEN, [server.address for server in pool], CHECK, names=["a", "b", "c"])
        start_lb4(["-w", "2"], config=text, debug=False)
        kinds = ["fin", "rst", "early_rst", "server_rst", "fin"]
        script = lambda index: drill.Script(kinds[index % len(kinds)], 0.02 * (index % 3))
        before = web.Scrape(site)
        n_scrapes = 0
        with drill.Drill(drill.LISTEN, 200, script) as clients:
            until = time.monotonic() + (30 if is_full else 4)
            while time.monotonic() < until:
                scrape = web.Scrape(site)
                scrape.check_monotone(before)
                web.status(site)
                before = scrape
                n_scrapes += 1
                if n_scrapes == 10:
                    pool[0].kill()
        n_records = len(clients.records)
        scrape = wait_active(site, 0)
        print(f"{n_scrapes} scrapes, {n_records} connections")
        # One that is reset before it is accepted may never be seen.
        early = sum(index % len(kinds) == 2 for index in range(n_records))
        total = scrape.value("lb4_connections_total", service="web")
        assert n_records - early <= total <= n_records
        assert n_scrapes > 20


def test_reload_keeps_counting(start_lb4, site, pool):
    """Of services and servers that stay; one that leaves is told of while it has a connection, and
    one with its name at another address goes on with its numbers."""
    lb4 = start(start_lb4, site, pool, "balance roundrobin")
    file = reloading.File(lb4)
    head = f"http {site}\n"
    with contextlib.ExitStack() as stack:
        held = {}
        for _ in range(3):
            sock = stack.enter_context(servers.connect(LISTEN))
            held[pools.read_name(sock)] = sock
        before = web.Scrape(site)
        file.reload(head + pools.config(LISTEN, pool.texts[:2], "balance roundrobin"))
        scrape = web.Scrape(site)
        scrape.check_monotone(before)
        gone = {"service": "web", "server": "s3"}
        assert scrape.value("lb4_reloads_total", result="ok") == 1
        assert scrape.value("lb4_server_connections_active", **gone) == 1
        assert not scrape.has("lb4_server_up", **gone)
        held[2].close()
        wait_scrape(site, lambda scrape: not scrape.has("lb4_server_connections_total", **gone),
                    "the end of s3")
        file.reload(head + pools.config(LISTEN, [pool.texts[0], pool.texts[2]],
                                        "balance roundrobin"))
        assert pools.ask_name(LISTEN) in (0, 2)
        scrape = wait_active(site, 2)
        scrape.check_monotone(before)
        moved = {"service": "web", "server": "s2"}
        assert scrape.value("lb4_server_connections_active", **moved) == 1
        assert scrape.value("lb4_server_connections_total", **moved) in (1, 2)
        assert scrape.value("lb4_server_up", **moved) == 1
        held[1].close()
        wait_active(site, 1)
    scrape = wait_active(site, 0)
    assert scrape.value("lb4_server_connections_total", **moved) in (1, 2)
    scrape.check_monotone(before)
    file.put(b"nonsense\n")
    lb4.signal(1)
    wait_scrape(site, lambda scrape: scrape.value("lb4_reloads_total", result="failed") == 1,
                "a failed reload")


# --- many servers

def cpu_s(pid):
    total_ns = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total_ns += int((task / "schedstat").read_text().split()[0])
    return total_ns / 1e9


@pytest.fixture
def many(start_lb4, site):
    """1,000 servers that nobody probes, three of which live."""
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b", "c")]
        text = f"http {site}\n" + pools.config(
            drill.LISTEN, [server.address for server in pool], names=["a", "b", "c"])
        dead = [(f"s{i}", f"198.51.100.1:{i + 1}") for i in range(N_SERVERS - 3)]
        text += reloading.service("many", ["tcp 127.0.0.1:7001"], dead, "check none")
        yield start_lb4(["-w", "2"], config=text, debug=False)


@pytest.mark.serial
def test_a_scrape_is_cheap(many, site):
    n_scrapes = 50
    web.Scrape(site)
    before, rss = cpu_s(many.pid), many.rss_bytes()
    for _ in range(n_scrapes):
        text = web.get(site, "/metrics")
    each = (cpu_s(many.pid) - before) / n_scrapes
    before = cpu_s(many.pid)
    for _ in range(n_scrapes):
        web.get(site, "/status.json")
    status_each = (cpu_s(many.pid) - before) / n_scrapes
    print(f"{N_SERVERS} servers: {each * 1e3:.2f} ms of CPU for {len(text) / 1e6:.2f} MB of metrics;"
          f" status.json {status_each * 1e3:.2f} ms; RSS {rss / MB:.1f} MiB, then "
          f"{many.rss_bytes() / MB:.1f}")
    assert daemon.IS_SANITIZED or each < SCRAPE_BAR_S
    assert daemon.IS_SANITIZED or many.rss_bytes() < rss + 4 * MB


# A process of its own, as a scraper in ours would keep the clients from their turns.
SCRAPER = """
import socket, sys, time
host, port = sys.argv[1].split(":")
while True:
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"GET /metrics HTTP/1.0\\r\\n\\r\\n")
        n_bytes = 0
        while data := sock.recv(1 << 20):
            n_bytes += len(data)
        assert n_bytes > 1000000
    time.sleep(0.1)
"""


@contextlib.contextmanager
def scraped(site):
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", SCRAPER, site])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.serial
def test_traffic_does_not_notice_scrapes(many, site, is_full):
    """The same clients without and with ten scrapes a second, in turns."""
    seconds = {False: [], True: []}
    with drill.Drill(drill.LISTEN, 200) as clients:
        for turn in range(12 if is_full else 4):
            with scraped(site) if turn % 2 else contextlib.nullcontext():
                time.sleep(0.3)  # a scraper's start is no scrape
                began = time.monotonic()
                time.sleep(5 if is_full else 1.5)
                seconds[turn % 2 == 1].append((began, time.monotonic()))
    bad = drill.failures(clients.records)
    assert not bad, drill.describe(bad, many)
    times = {}
    for is_scraped, spans in seconds.items():
        times[is_scraped] = [record.seconds for span in spans for record in clients.during(*span)]
    for share in (0.5, 0.99):
        print(f"p{share * 100:.0f}: without {drill.percentile(times[False], share) * 1e3:.2f} ms, "
              f"with scrapes {drill.percentile(times[True], share) * 1e3:.2f} ms")
    assert drill.percentile(times[True], 0.99) < max(
        2 * drill.percentile(times[False], 0.99), drill.bar(0.020))
