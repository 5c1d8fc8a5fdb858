"""The live page in a real browser: it shows what /status.json says, what is down at once, and that
lb4 does not answer; by keyboard, on a phone, in light and dark. Its pictures are kept beside the
results of the tests."""
import contextlib
import datetime
import json
import os
import pathlib
import re
import socket
import urllib.request

import pytest

import browser
import daemon
import conftest
import namespace
import servers

LISTEN = "127.0.0.1:7000"
LISTEN_DNS = "127.0.0.1:7053"
CHECK = "check tcp interval 100ms timeout 500ms fall 2 rise 2"
RED_BAR_S = 1
SLACK = 3  # CI shares its processors
CONTRAST_BAR = 4.5  # WCAG 2, AA
BINARY = pathlib.Path(os.environ.get("LB4", conftest.ROOT / "build/release/lb4"))
PICTURES = BINARY.parent / "results" / "page"

pytestmark = [pytest.mark.skipif(daemon.IS_SANITIZED, reason="the page is the same in any build"),
              pytest.mark.skipif(not browser.is_there(), reason="chromium is not installed")]

# What the page shows, and the document that it shows, of one moment.
SHOWN = """
const raw = (root) => Object.fromEntries([...root.querySelectorAll('data[data-k]')].map(
    (node) => [node.dataset.k, node.value === '' ? null : Number(node.value)]));
const text = (root, key) => root.querySelector(`[data-k=${key}]`).textContent;
return { doc: lb4.doc, head: raw(document.getElementById('head')),
    relay: raw(document.getElementById('relay')), title: document.title,
    workers: [...document.querySelectorAll('#workers data')].map((node) => Number(node.value)),
    services: [...document.querySelectorAll('details[data-service]')].map((root) => ({
        name: root.dataset.service, shown: raw(root.querySelector('summary')),
        word: text(root, 'word'),
        facts: Object.fromEntries([...root.querySelectorAll('[data-fact]')].map(
            (node) => [node.dataset.fact, Number(node.value)])),
        servers: [...root.querySelectorAll('tbody tr')].map((row) => ({
            name: row.dataset.server, state: row.dataset.state, word: text(row, 'state'),
            why: text(row, 'why'), address: text(row, 'address'), shown: raw(row) })) })) };
"""

# Each text that is seen, with its colour and what is under it; the contrast of the least of them.
CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map(
    (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const ground = (node) => {
    for (; node; node = node.parentElement) {
        const colour = parse(getComputedStyle(node).backgroundColor);
        if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const isSeen = node.checkVisibility() && !node.closest('style, script, .unseen');
    if (!walker.currentNode.data.trim() || !isSeen) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data]);
}
return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
"""

WATCH_STATE = """
window.turned = {};
new MutationObserver((changes) => changes.forEach((change) => {
    turned[change.target.dataset.state] ??= Date.now();
})).observe(document.querySelector(`tr[data-server=${arguments[0]}]`),
    { attributeFilter: ['data-state'] });
"""

ROW = """
const row = document.querySelector(`tr[data-server=${arguments[0]}]`);
const state = row.querySelector('.state');
return { state: row.dataset.state, word: state.textContent, colour: getComputedStyle(state).color,
    mark: getComputedStyle(state.querySelector('svg')).fill, index: row.sectionRowIndex,
    shape: row.querySelector('use').getAttribute('href'),
    past: [...row.querySelectorAll('.strip title')].map((title) => title.textContent) };
"""

FILTER_OF_VALUES = "return getComputedStyle(document.querySelector('main')).filter"

# The page gets documents of ours instead of those of lb4.
FEED = """
window.fed = arguments[0];
window.fetch = async () => new Response(JSON.stringify(window.fed));
"""


@pytest.fixture(scope="module")
def chromium():
    with browser.Browser() as chromium:
        yield chromium


@pytest.fixture
def pool():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(servers.ServerProcess(f"s{i + 1}")) for i in range(3)]


class Site:
    """An lb4 with a page: its configuration, which a second one can have, too."""

    def __init__(self, start_lb4, chromium, pool, desk):
        self.port = namespace.take_port()
        self.chromium = chromium
        self.begin = start_lb4
        self.config = "\n".join([
            desk.directive + f"http 127.0.0.1:{self.port}",
            "service web {", f"    listen tcp {LISTEN}", f"    {CHECK}",
            *(f"    server {each.name} {each.address}" for each in pool), "}",
            "service dns {", f"    listen both {LISTEN_DNS}", "    check none",
            "    timeout udp 1s",
            f"    server ns1 {pool[0].address} weight 7",
            f"    server ns2 {pool[1].address} backup", "}", ""])
        self.lb4 = self.start()

    def start(self):
        return self.begin(["-w", "2"], config=self.config)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def open(self, width=1280, height=900, scheme="light"):
        self.chromium.look(width, height, scheme)
        self.chromium.open(self.url)
        self.chromium.wait("return window.lb4?.doc && document.querySelectorAll('tbody tr').length")

    def status(self):
        with urllib.request.urlopen(self.url + "status.json", timeout=browser.LIMIT_S) as answer:
            return json.load(answer)

    def shown(self):
        return self.chromium.run(SHOWN)


@pytest.fixture
def site(start_lb4, chromium, pool, desk):
    site = Site(start_lb4, chromium, pool, desk)
    site.open()
    yield site
    chromium.open("about:blank")


def ask_udp(stack, listen, pool):
    """A datagram that reaches a server, which does not answer."""
    for each in pool:
        stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(
            (each.host, each.port))
    client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    host, port = listen.rsplit(":", 1)
    client.sendto(b"x", (host, int(port)))


def hold(stack, listen):
    client = stack.enter_context(servers.connect(listen))
    client.sendall(b"x")
    assert client.recv(16)  # its name: it is connected
    return client


def visit(listen):
    with contextlib.ExitStack() as stack:
        hold(stack, listen)


def by_name(rows):
    return {row["name"]: row for row in rows}


def is_red(colour):
    r, g, b = map(int, re.findall(r"\d+", colour)[:3])
    return r > 2 * g and r > 2 * b


def is_green(colour):
    r, g, b = map(int, re.findall(r"\d+", colour)[:3])
    return g > r and g > b


def log_ms(line):
    stamp = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00"))
    return stamp.timestamp() * 1000


def compare_server(shown, server):
    assert (shown["state"], shown["word"]) == (server["state"], server["state"])
    assert (shown["why"], shown["address"]) == (server["why"], server["address"])
    for key in ("weight", "active", "connect_failures"):
        assert shown["shown"][key] == server[key], key
    for key in ("ok", "failed", "unknown"):
        assert shown["shown"][key] == server["checks"][key], key


def compare_service(shown, service):
    assert shown["shown"]["active"] == service["active"]
    usable = service["servers_usable"] or "none"
    assert shown["word"] == f"{usable} of {service['servers_total']} usable"
    facts = shown["facts"]
    assert facts["connections in all"] == service["total"]
    assert facts["redispatches"] == service["redispatches"]
    ends = {reason: n for reason, n in service["closed"].items() if n}
    assert {name: n for name, n in facts.items() if name in service["closed"]} == ends
    if "datagrams in" in facts:
        udp = service["udp"]
        assert facts["UDP sessions in all"] == udp["sessions"]
        assert (facts["datagrams in"], facts["datagrams out"]) == (
            udp["datagrams_in"], udp["datagrams_out"])
    servers_shown = by_name(shown["servers"])
    assert set(servers_shown) == {server["name"] for server in service["servers"]}
    for server in service["servers"]:
        compare_server(servers_shown[server["name"]], server)


def compare(shown, status):
    """All that the page shows against one document."""
    for key in ("uptime_s", "connections", "connections_limit", "descriptors", "descriptors_limit",
                "udp_sessions"):
        assert shown["head"][key] == status[key], key
    assert shown["head"]["reloads_ok"] == status["reloads"]["ok"]
    assert shown["head"]["reloads_failed"] == status["reloads"]["failed"]
    assert shown["relay"]["splice"] == status["relay"]["splice_bytes"]
    assert shown["relay"]["copy"] == status["relay"]["copy_bytes"]
    assert shown["workers"] == [worker["active"] for worker in status["workers"]]
    services = by_name(shown["services"])
    assert set(services) == {service["name"] for service in status["services"]}
    for service in status["services"]:
        compare_service(services[service["name"]], service)


def without_time(status):
    """What stands still while nothing happens."""
    keep = {key: status[key] for key in ("pid", "version", "state", "connections", "relay")}
    keep["services"] = [
        {**service, "servers": [{key: server[key] for key in server
                                 if key not in ("since_s", "checks")}
                                for server in service["servers"]]}
        for service in status["services"]]
    return keep


def test_shows_what_the_status_says(site, chromium, pool):
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            visit(LISTEN)
        held = [hold(stack, LISTEN) for _ in range(4)]
        held[0].sendall(b"x" * 100_000)
        hold(stack, LISTEN_DNS)
        ask_udp(stack, LISTEN_DNS, pool)
        site.lb4.wait_n_closed("web", 5)
        chromium.wait("""const [web, dns] = lb4.doc.services;
            return web.active === 4 && web.total === 9 && web.bytes_in > 100000 &&
                dns.active === 1 && dns.udp.datagrams_in === 1""", what="the page knows of all")
        shown = site.shown()
        compare(shown, shown["doc"])
        assert "all well" in shown["title"]
        chromium.wait("return lb4.doc.services[1].udp.active === 0", what="the session ends")
        # The same as somebody else is told, once nothing moves.
        for _ in range(2):
            asked, known = site.status(), site.shown()["doc"]
        assert without_time(asked) == without_time(known)
        chromium.wait("return document.querySelector('#totals path.first').getAttribute('d')"
                      ".split('L').length > 2", what="a plot grows")
    assert chromium.messages() == []


def test_shows_who_waits(site, chromium, desk):
    unit = "return document.querySelector('[data-k=active_unit]').textContent"
    site.lb4.finish()
    site.config = site.config.replace(CHECK, CHECK + "\n    all-down hold 30s")
    site.lb4 = site.start()
    site.open()
    assert chromium.run(unit) == "active"
    for i in (1, 2, 3):
        desk.do("maint", f"web/s{i}")
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(servers.connect(LISTEN))
        chromium.wait(f"{unit} === 'active, 2 waiting'", what="the page tells that two wait")
        desk.do("ready", "web/s1")
        chromium.wait(f"{unit} === 'active'", what="nobody waits")


@pytest.mark.serial
def test_killed_server_turns_red_and_green_again(site, chromium, pool):
    victim = pool[1]
    assert is_green(chromium.run(ROW, victim.name)["colour"])
    start = len(site.lb4.lines)
    chromium.run(WATCH_STATE, victim.name)
    victim.kill()
    down_ms = log_ms(site.lb4.wait_line("web/s2 is DOWN", start=start))
    red_ms = chromium.wait("return turned.down")
    print(f"red {(red_ms - down_ms) / 1000:.3f} s after the log said so")
    row = chromium.run(ROW, victim.name)
    assert (row["state"], row["word"], row["shape"]) == ("down", "down", "#m-down")
    assert is_red(row["colour"]) and is_red(row["mark"])
    assert row["index"] == 0, "what is down stands first"
    compare(site.shown(), site.shown()["doc"])
    assert chromium.driver.title.startswith("1 down")
    assert "%3E1%3C" in chromium.run("return document.querySelector('link[rel=icon]').href")
    assert chromium.text("verdict").endswith("1 of 5 servers down")
    attention = chromium.text("attention")
    assert "web/s2" in attention and "connection refused" in attention
    assert "web/s2 is down" in chromium.text("spoken")
    assert any(text.startswith("down for") and "refused" in text for text in row["past"])
    chromium.shoot(PICTURES / "down.png")

    victim.start()
    up_ms = log_ms(site.lb4.wait_line("web/s2 is UP", start=start))
    green_ms = chromium.wait("return turned.up")
    print(f"green {(green_ms - up_ms) / 1000:.3f} s after the log said so")
    row = chromium.run(ROW, victim.name)
    assert (row["state"], row["shape"]) == ("up", "#m-up") and is_green(row["colour"])
    assert "all well" in chromium.driver.title
    assert chromium.run("return document.getElementById('attention').hidden")
    assert any(text.startswith("down for") for text in row["past"]), "the strip remembers"
    changes = chromium.text("changes")
    assert "web/s2 is up" in changes and "web/s2 is down" in changes
    assert max(red_ms - down_ms, green_ms - up_ms) / 1000 < RED_BAR_S * SLACK
    assert chromium.messages() == []


def test_wishes_of_operators_are_no_alarm(site, chromium, desk):
    for word, server in (("drain", "s1"), ("maint", "s3")):
        desk.do(word, f"web/{server}")
        chromium.wait("return document.querySelector("
                      f"'tr[data-server={server}][data-state={word}]')")
        row = chromium.run(ROW, server)
        assert (row["word"], row["shape"]) == (word, f"#m-{word}") and not is_red(row["colour"])
    shown = site.shown()
    compare(shown, shown["doc"])
    assert shown["title"].startswith("all well")
    head = chromium.text("head")
    assert "3 of 5 servers up" in head and "1 draining · 1 in maintenance" in head
    assert f"drain, by uid {os.geteuid()}" in chromium.text("changes")


def test_tells_that_lb4_does_not_answer(site, chromium):
    for _ in range(7):
        visit(LISTEN)
    chromium.wait("return lb4.doc.services[0].total === 7")
    assert chromium.run("return document.getElementById('banner').hidden")
    site.lb4.finish()
    chromium.wait("return !document.getElementById('banner').hidden", what="a banner")
    banner = chromium.text("banner-text")
    assert re.match(r"No answer since \d\d:\d\d:\d\d\b", banner), banner
    assert re.search(r"Silent for \d+ s\.$", chromium.text("banner"))
    assert chromium.run(FILTER_OF_VALUES) != "none", "grey"
    assert chromium.text("verdict") == "No answer"
    assert "Last seen: All 5 servers are up" in chromium.text("head")
    assert chromium.driver.title.startswith("no answer")
    chromium.shoot(PICTURES / "no-answer.png")

    site.start()
    chromium.wait("return document.getElementById('banner').hidden", what="the banner goes")
    assert chromium.run(FILTER_OF_VALUES) == "none"
    shown = site.shown()
    compare(shown, shown["doc"])
    assert by_name(shown["doc"]["services"])["web"]["total"] == 0
    visit(LISTEN)
    chromium.wait("return lb4.doc.services[0].total === 1 &&"
                  " lb4.totals.points.at(-1).rate != null")
    rates = chromium.run("return lb4.totals.points.map((point) => point.rate ?? 0)")
    assert min(rates) >= 0, "a counter that begins anew is no negative rate"
    assert "started again" in chromium.text("changes")


def test_asks_nobody_else(site, chromium):
    chromium.wait("return performance.getEntriesByType('resource').length > 2")
    asked = chromium.run("""return performance.getEntries()
        .filter((entry) => ['navigation', 'resource'].includes(entry.entryType))
        .map((entry) => entry.name).filter((name) => !name.startsWith('data:'))""")
    assert set(asked) == {site.url, site.url + "status.json"}
    assert chromium.messages() == []


@pytest.mark.parametrize("name, width, scheme", [
    ("light", 1280, "light"), ("dark", 1280, "dark"), ("phone", 360, "light"),
    ("phone-dark", 360, "dark")])
def test_fits_and_is_legible(site, chromium, pool, name, width, scheme):
    pool[2].kill()
    site.open(width, 800, scheme)
    with contextlib.ExitStack() as stack:
        for _ in range(6):
            hold(stack, LISTEN)
        site.lb4.wait_line("web/s3 is DOWN")
        chromium.wait("return document.querySelector('tr[data-state=down]') &&"
                      " lb4.totals.points.length > 4")
        assert chromium.run("return document.documentElement.scrollWidth") <= width
        least = chromium.run(CONTRAST)
        print(f"least contrast {least[0][0]:.2f} of '{least[0][1]}'")
        assert least[0][0] >= CONTRAST_BAR, least
        chromium.shoot(PICTURES / f"{name}.png")
    assert chromium.messages() == []


def test_works_by_keyboard(site, chromium):
    from selenium.webdriver.common.keys import Keys

    focused = """const node = document.activeElement;
        return node.id || node.closest('[data-service]')?.dataset.service || node.className"""
    reached = []
    for _ in range(10):
        chromium.press(Keys.TAB)
        reached.append(chromium.run(focused))
    wanted = ["skip", "filter", "open-all", "close-all", "pause", "web", "dns", "changes"]
    assert [name for name in reached if name in wanted] == wanted, reached
    chromium.run("document.querySelector('[data-service=web] summary').focus()")
    is_open = "return document.querySelector('[data-service=web]').open"
    assert chromium.run(is_open)
    chromium.press(Keys.ENTER)
    chromium.wait("const n = lb4.doc; return (window.seen ??= n) !== n", what="another answer")
    assert not chromium.run(is_open), "it stays as its user wants it"
    chromium.press(Keys.ENTER)
    chromium.press("/")
    assert chromium.run(focused) == "filter"
    chromium.press("s2")
    chromium.wait("""return String([...document.querySelectorAll('tbody tr')]
        .filter((row) => row.checkVisibility()).map((row) => row.dataset.server)) === 's2,ns2'""",
                  what="only what fits the filter")
    assert chromium.messages() == []


def fabricate(status, n_servers, why):
    """A document of one service with many servers; one of the last is down, for this reason."""
    service = status["services"][0]
    model = service["servers"][0]
    service["servers"] = [{**model, "name": f"node{i}", "address": f"10.0.{i // 250}.{i % 250}:80"}
                          for i in range(n_servers)]
    service["servers"][-2].update(state="down", why=why, since_s=61)
    service["servers_total"], service["servers_usable"] = n_servers, n_servers - 1
    return {**status, "services": [service], "history": []}


def test_thousand_servers_and_hostile_words(site, chromium):
    why = "<img src=x onerror='window.hit=1'><script>window.hit=1</script>&amp; \u202e\x01"
    chromium.run(FEED, fabricate(site.status(), 1000, why))
    chromium.wait("return document.querySelector('tr[data-server=node998]')")
    shown = site.shown()["services"][0]["servers"]
    assert len(shown) == 50 and shown[0]["name"] == "node998" and shown[0]["why"] == why
    assert chromium.run("return document.images.length") == 0
    assert chromium.run("return window.hit") is None
    task_ms = chromium.run("""
        let most = 0;
        for (let i = 0; i < 5; i++) {
            const began = performance.now();
            fed.now_ms += 1000;
            for (const server of fed.services[0].servers) server.total += i;
            take(structuredClone(fed));
            render();
            document.body.offsetHeight;
            most = Math.max(most, performance.now() - began);
        }
        return most""")
    print(f"1,000 servers: {task_ms:.1f} ms for a new document at most")
    more = "document.querySelector('.more:not([hidden])')"
    chromium.run(f"while ({more}) {more}.click()")
    assert chromium.run("return document.querySelectorAll('tbody tr').length") == 1000
    assert chromium.run("return document.documentElement.scrollWidth") <= 1280
    assert chromium.messages() == []


@pytest.mark.parametrize("width", [360, 700, 1280])
def test_long_words_fit(site, chromium, width):
    chromium.look(width, 800)
    long = "n" * 64
    status = fabricate(site.status(), 3, "why " * 40 + "w" * 200)
    service = status["services"][0]
    service["name"], service["servers"][-2]["name"] = long, long
    service["servers"][-2]["address"] = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535"
    service["listeners"] = [f"tcp/[2001:db8:1111:2222:3333:4444:5555:{i}]:65535" for i in range(9)]
    for key in ("total", "active", "bytes_in", "bytes_out", "redispatches"):
        service[key] = 2 ** 53 - 1
    service["closed"] = dict.fromkeys(service["closed"], 2 ** 53 - 1)
    chromium.run(FEED, status)
    chromium.wait("return document.querySelector('tr[data-state=down]')")
    chromium.shoot(PICTURES / f"long-{width}.png")
    assert chromium.run("return document.documentElement.scrollWidth") <= width
    assert chromium.run("return document.getElementById('attention').offsetHeight") < 600
    wide = "return [...document.querySelectorAll('td, summary > *, .attention li > *')].filter(" \
           "(node) => node.checkVisibility() && node.scrollWidth > node.clientWidth + 1 &&" \
           " node.clientWidth > 0).map((node) => node.outerHTML.slice(0, 90))"
    assert chromium.run(wide) == []


def test_clients_that_wait_and_priorities(site, chromium):
    status = site.status()
    web = status["services"][0]
    web["waiting"].update(active=7, total=9, refused=2)
    web["servers"][0]["priority"] = 3
    chromium.run(FEED, status)
    chromium.wait("return lb4.doc.services[0].waiting.active === 7")
    facts = by_name(site.shown()["services"])["web"]["facts"]
    assert [facts[name] for name in ("waiting now", "waited in all", "could not wait")] == [7, 9, 2]
    tags = chromium.run("return [...document.querySelectorAll('tr[data-server] [data-k=backup]')]"
                        ".filter((tag) => !tag.hidden).map((tag) => tag.textContent)")
    assert sorted(tags) == ["backup", "priority 3"]


def test_counters_that_go_back_are_no_rate(site, chromium):
    status = fabricate(site.status(), 3, "x")
    status["services"][0]["total"] = 1000
    chromium.run(FEED, status)
    chromium.wait("return lb4.doc.services[0].total === 1000")
    chromium.run("fed.now_ms += 2000; fed.services[0].total = 5")
    chromium.wait("return lb4.doc.services[0].total === 5")
    assert chromium.run("return lb4.totals.points.every((point) => !(point.rate < 0))")
    chromium.run("fed.now_ms += 2000; fed.services[0].total = 25")
    chromium.wait("return lb4.totals.points.at(-1).rate === 10", what="20 in 2 s")


def fail_to_answer(chromium):
    chromium.run("window.fetch = async () => { throw new TypeError('no'); }")
    chromium.wait("return !document.getElementById('banner').hidden")
    return chromium.text("banner-text")


def test_service_without_servers_comes_first(site, chromium):
    """Somebody is turned away there; where a server is down others serve. It is so since the last
    of them went, whatever an operator has done with it later."""
    status = site.status()
    now_ms = status["now_ms"]
    web, dns = status["services"]
    web["servers"][0].update(state="down", why="connection refused", since_s=5)
    web["servers_usable"] = 2
    dns["servers"][0].update(state="down", why="timed out", since_s=300)
    dns["servers"][1].update(state="maint", why="maint, by uid 0", since_s=60)
    dns["servers_usable"] = 0
    status["history"] = [
        {"at_ms": now_ms - ago * 1000, "service": "dns", "server": server, "state": state,
         "why": state, "lasted_s": 1}
        for ago, server, state in [(300, "ns1", "down"), (120, "ns2", "down"), (60, "ns2", "maint")]]
    chromium.run("lb4.lines.clear();" + FEED, status)
    chromium.wait("return document.querySelector('tr[data-state=maint]')")
    assert chromium.text("verdict") == "dns: no usable server"
    assert "2 of 5 servers down" in chromium.text("head")
    first, second = chromium.run(
        "return [...document.querySelectorAll('.attention li')].map((line) => line.innerText)")
    assert "no usable server for 2 min 0 s, since" in first
    assert "1 down, 1 maint; last ns2: maint, by uid 0" in first
    assert "web/s1" in second and "down for 5 s, since" in second
    states = chromium.run("""return [...document.querySelectorAll('details.service')].map(
        (root) => [root.dataset.service, root.dataset.state])""")
    assert states == [["dns", "down"], ["web", "suspect"]], "one has lost a server, not its clients"
    inside = "return [...document.querySelector('.inside').children].map((node) => node.tagName)"
    assert chromium.run(inside)[0] == "TABLE", "servers stand right below their service"


def test_tab_that_slept_does_not_blame_lb4(site, chromium):
    """Nobody asked meanwhile; the first request after it fails, as the network is not back yet."""
    chromium.run("lb4.answeredMs -= 3 * 3600e3; lb4.askedMs -= 3 * 3600e3;")
    banner = fail_to_answer(chromium)
    since, values = re.fullmatch(
        r"No answer since (.*): values are from (.*)\. Asking again each second\.", banner).groups()
    assert since != values != "then", banner
    assert chromium.run("return Date.now() - lb4.lostMs") < 60_000


def test_clock_of_the_browser_is_wrong(site, chromium):
    """All times of the page are by one clock, that of lb4."""
    status = site.status()
    status["now_ms"] += 3 * 3600 * 1000 + 60_000
    chromium.run(FEED, status)
    chromium.wait("return lb4.doc.now_ms === fed.now_ms")
    banner = fail_to_answer(chromium)
    hour = chromium.run("return new Date(lb4.lostMs).getHours()")
    shown = int(re.search(r"(\d\d):\d\d:\d\d", banner)[1])
    assert (shown - hour) % 24 in (3, 4), banner


def test_request_that_slept_with_its_tab(site, chromium):
    """Under way when the machine went to sleep, given up when it woke."""
    chromium.run("""window.fetch = () => new Promise((_, reject) => {
        window.wake = () => reject(new TypeError('no')); })""")
    chromium.wait("return Boolean(window.wake)", what="a request is under way")
    chromium.run("lb4.askedMs -= 3 * 3600e3; window.wake()")
    chromium.wait("return lb4.lostMs > 0")
    assert chromium.run("return Date.now() - lb4.lostMs") < 60_000


def test_short_states_are_not_zero_seconds(site, chromium):
    status = site.status()
    status["history"] = [
        {"at_ms": status["now_ms"] - ago, "service": "web", "server": "s1", "state": state,
         "why": "", "lasted_s": 1} for ago, state in [(1500, "down"), (1000, "up")]]
    chromium.run("lb4.lines.clear(); lb4.changes.length = 0; lb4.lastChangeMs = 0;" + FEED, status)
    chromium.wait("return lb4.changes.length >= 2")
    assert "web/s1 is up, after less than 1 s down" in chromium.text("changes")
