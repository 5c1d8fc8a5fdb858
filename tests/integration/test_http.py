"""The HTTP listener: its pages, who may be asked whether lb4 is ready, and how its socket comes and
goes."""
import json
import os
import signal
import socket
import subprocess

import pytest

import admin
import pools
import reloading
import servers
import web

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 50ms timeout 500ms fall 2 rise 2"


@pytest.fixture
def pool():
    with pools.make(2) as pool:
        yield pool


@pytest.fixture
def site():
    return web.take_address()


def start(start_lb4, site, pool, *words, before="", **options):
    text = f"http {site}\n{before}" + pools.config(LISTEN, pool.texts, CHECK, *words)
    return start_lb4(["-w", "2"], config=text, **options)


def raw(site, request):
    """The whole answer as text."""
    with servers.connect(site) as sock:
        sock.sendall(request)
        return admin.read_all(sock)


# --- pages

def test_pages(start_lb4, site, pool):
    start(start_lb4, site, pool)
    for path, kind in (("/", "text/html; charset=utf-8"), ("/status.json", "application/json"),
                       ("/metrics", "text/plain; version=0.0.4; charset=utf-8")):
        page = web.Page(site, path)
        assert (page.status, page.headers["content-type"]) == (200, kind)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert int(page.headers["content-length"]) == len(page.text.encode())
        head = web.Page(site, path, "HEAD")
        assert head.status == 200 and head.text == ""
        assert head.headers.keys() == page.headers.keys()
    assert "default-src 'none'" in web.Page(site, "/").headers["content-security-policy"]
    assert web.Page(site, "/?a=b").status == 200
    web.get(site, "/nothing", 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "FROB"])
def test_only_get_and_head(start_lb4, site, pool, method):
    start(start_lb4, site, pool)
    page = web.Page(site, "/", method)
    assert page.status == 405 and page.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("request_bytes, code", [
    (b"GET /ready HTTP/1.0\r\n\r\n", 200),
    (b"GET /ready HTTP/1.1\nHost: a\n\n", 200),
    (b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n" * 5, 200),
    (b"GET /ready HTTP/1.1\r\n\r\n", 400),
    (b"GET /ready\r\n\r\n", 400),
    (b"GET /ready HTTP/1.0\r\n folded\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400),
    (b"GET /ready HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc", 413),
    (b"GET /" + b"x" * 5000 + b" HTTP/1.0\r\n\r\n", 414),
    (b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 5000 + b"\r\n", 431),
    (b"GET / HTTP/3.0\r\n\r\n", 505),
])
def test_requests_by_hand(start_lb4, site, pool, request_bytes, code):
    start(start_lb4, site, pool)
    answer = raw(site, request_bytes)
    assert answer.startswith(f"HTTP/1.1 {code} "), answer[:100]
    assert answer.count("HTTP/1.1 ") == 1


def test_a_web_page_cannot_read_it(start_lb4, site, pool):
    """A name of somebody's DNS that points to 127.0.0.1 would make it the same origin."""
    start(start_lb4, site, pool)
    assert web.Page(site, "/status.json", headers={"Host": "rebound.example:7"}).status == 421
    for host in (site, "localhost:80", "lb4", "[::1]:7"):
        assert web.Page(site, "/status.json", headers={"Host": host}).status == 200


# --- ready

def test_ready_tells_of_a_service(start_lb4, site, pool):
    lb4 = start(start_lb4, site, pool)
    assert web.get(site, "/ready") == "ready\n"
    assert web.get(site, "/ready/web") == "ready\n"
    web.get(site, "/ready/nobody", 404)
    pool.close(0)
    lb4.wait_line("web/s1 is DOWN")
    assert web.get(site, "/ready/web") == "ready\n"
    pool.close(1)
    lb4.wait_line("web/s2 is DOWN")
    web.get(site, "/ready/web", 503)
    assert web.get(site, "/ready") == "ready\n"
    pool.open(1)
    lb4.wait_line("web/s2 is UP")
    assert web.get(site, "/ready/web") == "ready\n"


def test_not_ready_while_draining(start_lb4, site, pool):
    lb4 = start(start_lb4, site, pool)
    with servers.connect(LISTEN) as held:
        pools.read_name(held)
        lb4.signal(signal.SIGTERM)
        lb4.wait_line("draining")
        assert web.get(site, "/ready", 503) == "draining\n"
        web.get(site, "/ready/web", 503)
        assert web.status(site)["state"] == "draining"
    lb4.is_finished = True
    lb4.check_end()
    assert servers.is_refused(site)


# --- status.json

def test_status_says_what_lb4ctl_says(start_lb4, site, pool, desk):
    lb4 = start(start_lb4, site, pool, before=desk.directive)
    for _ in range(5):
        pools.ask_name(LISTEN)
    lb4.wait_n_closed("web", 5)
    with servers.connect(LISTEN) as held:
        pools.read_name(held)
        # Bytes are counted a moment after they were sent.
        servers.wait_until(lambda: web.status(site)["services"][0]["bytes_out"] ==
                           6 * pools.NAME_BYTES, what="all bytes are counted")
        document = web.status(site)
        service, = desk.json("show", "services")
        shown, = document["services"]
        for ours, theirs in (("name", "service"), ("balance", "policy"), ("total", "total"),
                             ("servers_total", "servers"), ("servers_usable", "servers_up"),
                             ("active", "active"), ("bytes_out", "bytes_out"),
                             ("closed", "closed_by_reason")):
            assert shown[ours] == service[theirs]
        assert shown["listeners"] == [f"tcp/{LISTEN}"]
        for row in desk.json("show", "servers"):
            server = web.server_of(document, "web", row["server"])
            assert all(server[name] == row[name] for name in
                       ("address", "state", "weight", "backup", "active", "total"))
        info = desk.json("show", "info")
        assert document["pid"] == info["pid"] == lb4.pid
        assert document["connections"] == 1
        assert document["descriptors_limit"] == info["descriptors_limit"]
        assert sum(worker["total"] for worker in document["workers"]) == 6
        assert sum(worker["active"] for worker in document["workers"]) == 1


def wait_history(site, count):
    """A change is told a moment after it has happened."""
    servers.wait_until(lambda: len(web.status(site)["history"]) >= count, what="the history")
    return web.status(site)


def test_history(start_lb4, site, pool, desk):
    lb4 = start(start_lb4, site, pool, before=desk.directive)
    assert web.status(site)["history"] == []
    pool.close(0)
    lb4.wait_line("web/s1 is DOWN")
    desk.do("drain", "web/s2")
    pool.open(0)
    lb4.wait_line("web/s1 is UP")
    desk.do("ready", "web/s2")
    desk.do("maint", "web/s1")
    desk.do("ready", "web/s1", "--wait", "10s")
    document = wait_history(site, 7)
    told = [(entry["server"], entry["state"]) for entry in document["history"]]
    assert [state for server, state in told if server == "s2"] == ["drain", "up"]
    assert [state for server, state in told if server == "s1"] == [
        "down", "up", "maint", "new", "up"]
    assert told.index(("s1", "down")) < told.index(("s2", "drain"))
    at = [entry["at_ms"] for entry in document["history"]]
    assert at == sorted(at) and document["now_ms"] - 60000 < at[0] <= at[-1] <= document["now_ms"]
    by_state = {(entry["server"], entry["state"]): entry for entry in document["history"]}
    assert by_state["s1", "down"]["why"].startswith("connection refused")
    assert by_state["s2", "drain"]["why"] == f"drain, by uid {os.geteuid()}"
    assert all(entry["service"] == "web" for entry in document["history"])


def test_history_outlives_a_server(start_lb4, site, pool):
    lb4 = start(start_lb4, site, pool)
    pool.close(0)
    lb4.wait_line("web/s1 is DOWN")
    text = f"http {site}\n" + pools.config(LISTEN, pool.texts[1:], CHECK, names=["s2"])
    reloading.File(lb4).reload(text)
    servers.wait_until(lambda: len(web.status(site)["services"][0]["servers"]) == 1,
                       what="the end of s1")
    document = web.status(site)
    assert [(entry["server"], entry["state"]) for entry in document["history"]] == [("s1", "down")]
    assert document["generation"] == 2 and document["reloads"] == {"ok": 1, "failed": 0}


def test_suspects_are_in_the_history(start_lb4, site):
    """A service without probes: what clients met."""
    with pools.make(1) as pool:
        text = f"http {site}\n" + pools.config(LISTEN, pool.texts)
        start_lb4(["-w", "1"], config=text)
        pool.close(0)
        servers.connect_end(LISTEN)
        entry, = wait_history(site, 1)["history"]
        assert entry["state"] == "suspect" and entry["why"] == "a client could not reach it"
        assert web.get(site, "/ready/web") == "ready\n"


# --- the socket

def test_address_in_use(binary, site, pool, start_lb4):
    start(start_lb4, site, pool)
    done = subprocess.run([binary, "-o", f"http {site}", "-l", "127.0.0.1:7001", "-s",
                           "127.0.0.1:1"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert f"http: cannot listen on {site}: Address already in use" in done.stderr
    assert web.get(site, "/ready") == "ready\n"


def test_is_not_shared(start_lb4, site, pool):
    """Nobody of the same uid gets a part of its clients."""
    start(start_lb4, site, pool)
    host, port = site.split(":")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError):
            other.bind((host, int(port)))


def test_warns_of_an_open_address(start_lb4, site, pool):
    lb4 = start(start_lb4, site, pool)
    assert not [line for line in lb4.lines if "open to the network" in line]
    port = site.split(":")[1]
    lb4.finish()
    lb4 = start(start_lb4, f"0.0.0.0:{port}", pool)
    assert lb4.wait_line(r" WARN .*http: 0\.0\.0\.0:\d+ is open to the network")
    assert web.get(site, "/ready") == "ready\n"


def test_without_an_address_it_is_the_loopback(start_lb4, site, pool):
    lb4 = start(start_lb4, f":{site.split(':')[1]}", pool)
    assert web.get(site, "/ready") == "ready\n"
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[3] for line in listening.splitlines()
            if f"pid={lb4.pid}," in line and line.split()[3].endswith(site[-5:])] == [site]


def test_another_address_needs_a_restart(start_lb4, site, pool):
    lb4 = start(start_lb4, site, pool)
    other = web.take_address()
    text = f"http {other}\n" + pools.config(LISTEN, pool.texts, CHECK)
    _, lines = reloading.File(lb4).reload(text)
    assert [line for line in lines if f"~ http {site} -> {other} (at the next start)" in
            line.replace('"', "")], lines
    assert web.get(site, "/ready") == "ready\n"
    assert servers.is_refused(other)


def test_descriptors_are_in_the_budget(start_lb4, site, pool):
    lb4 = start(start_lb4, site, pool, nofile=200)
    limit = web.status(site)["connections_limit"]
    lb4.finish()
    lb4 = start_lb4(["-w", "2"], config=pools.config(LISTEN, pool.texts, CHECK), nofile=200,
                   is_scraped=False)
    line = lb4.wait_line(r"maxconn \d+, limited by RLIMIT_NOFILE 200")
    assert limit == int(line.split("maxconn ")[1].split(",")[0]) - 18 / 2


def limit_descriptors(lb4, limit):
    subprocess.run(["prlimit", f"--pid={lb4.pid}", f"--nofile={limit}:"], check=True,
                   **lb4.drop)


def test_no_descriptors_left(start_lb4, site, pool):
    """Its clients wait, and are served when there are some again; nothing spins meanwhile."""
    lb4 = start(start_lb4, site, pool)
    before = lb4.descriptors_at_start
    limit_descriptors(lb4, len(os.listdir(f"/proc/{lb4.pid}/fd")) // 2)
    with servers.connect(site) as waiting:
        waiting.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
        cpu, _ = lb4.load_during(0.5)
        assert cpu < 0.5
        limit_descriptors(lb4, 1000)
        assert admin.read_all(waiting).startswith("HTTP/1.1 200 ")
    assert json.loads(web.get(site, "/status.json"))["state"] == "running"
    lb4.descriptors_at_start = before
