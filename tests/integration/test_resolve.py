"""Names of servers while lb4 serves: other addresses are put in force, and whatever becomes of DNS,
traffic goes on. DNS is a server of our own on loopback (dns_server.py), in an /etc of our own."""
import contextlib
import os
import signal
import time

import pytest

import daemon
import dns_server
import drill
import namespace
import reloading
import servers
import web
from test_names import etc, wrapper  # noqa: F401

pytestmark = pytest.mark.patient

__all__ = ["etc"]

LISTEN = "127.0.0.1:7000"
SLACK_S = 3 if not daemon.IS_SANITIZED else 12
SETTLE_S = 1 + SLACK_S  # `resolve 1s`, and a first probe
NAME = "db.example"


@pytest.fixture
def dns():
    with dns_server.DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def pool():
    """Named servers on the same port of 127.0.2.1 and the next ones."""
    with contextlib.ExitStack() as stack:
        port = namespace.take_port()
        yield [stack.enter_context(servers.ServerProcess(f"n{i}", f"127.0.2.{i}", port))
               for i in range(1, 5)]


def hosts(*servers_):
    return [server.host for server in servers_]


def text(desk, port, *directives, server=None, check="check tcp interval 200ms"):
    return desk.directive + reloading.service(
        "web", [f"tcp {LISTEN}"], [("db", server or f"{NAME}:{port}")], check, "resolve 1s",
        *directives)


def start(start_lb4, etc, config, **options):
    lb4 = start_lb4(["-w", "2"], config=config, wrapper=wrapper(etc), uid=None, **options)
    return lb4, reloading.File(lb4)


def wait_change(lb4, line, start=0, limit_s=SETTLE_S):
    return lb4.wait_line(rf": names: {line}$", limit_s, start)


def states(desk):
    """{(server, address): state}"""
    return {(row["server"], row["address"]): row["state"]
            for row in desk.json("show", "servers", "web")}


def wait_states(desk, wanted, limit_s=SETTLE_S):
    servers.wait_until(lambda: states(desk) == wanted, limit_s, f"{wanted}")


def report(name, records):
    seconds = [record.seconds for record in records if record.outcome == "ok"]
    print(f"{name}: {len(records)} connections, p50 {drill.percentile(seconds, 0.5) * 1000:.2f} ms, "
          f"p99 {drill.percentile(seconds, 0.99) * 1000:.2f} ms, "
          f"most {max(seconds, default=0) * 1000:.1f} ms")


def assert_unharmed(clients, lb4):
    failed = drill.failures(clients.records)
    assert clients.records and not failed, drill.describe(failed, lb4)


def test_another_address(start_lb4, etc, desk, dns, pool):
    """The new server is probed, then serves; connections to the old one live on."""
    one, two = pool[:2]
    dns.a[NAME] = hosts(one)
    lb4, _ = start(start_lb4, etc, text(desk, one.port))
    with drill.Drill(LISTEN, 100) as clients, reloading.Transfers(LISTEN, 5) as transfers:
        assert set(transfers.names.values()) == {one.name}
        dns.a[NAME] = hosts(two)
        wait_change(lb4, f"~ address web/db {one.address} -> {two.address}")
        clients.wait_served_by(two.name, time.monotonic(), SETTLE_S)
        servers.wait_until(lambda: states(desk).get(("db", one.address)) == "removed", SETTLE_S)
        n_rounds = transfers.n_rounds
        servers.wait_until(lambda: transfers.n_rounds > n_rounds + 5, SETTLE_S)
        assert not transfers.problems
        changed = time.monotonic()
        clients.wait_records(len(clients.records) + 50)
    assert {record.server for record in clients.during(changed)} == {two.name}
    assert_unharmed(clients, lb4)
    reloading.wait_gone(lb4, "server web/db")


def test_an_address_where_nobody_answers(start_lb4, etc, desk, dns, pool):
    """Probed before use: the old server serves on, until the new one can."""
    one, two = pool[:2]
    dead = servers.ServerProcess("late", "127.0.2.9", one.port)
    dns.a[NAME] = hosts(one)
    lb4, _ = start(start_lb4, etc, text(desk, one.port))
    with drill.Drill(LISTEN, 100) as clients:
        dns.a[NAME] = [dead.host]
        wait_change(lb4, f"~ address web/db {one.address} -> {dead.address}")
        wait_states(desk, {("db", one.address): "up", ("db", dead.address): "down"})
        lb4.wait_line("no new address has answered a check; those they replace serve on", 20)
        assert web.Scrape(lb4.http).value("lb4_service_servers_usable", service="web") == 1
        since = time.monotonic()
        clients.wait_records(len(clients.records) + 50)
        until = time.monotonic()
        desk.do("weight", "web/db", "2")
        clients.wait_records(len(clients.records) + 50)
        with dead:
            servers.wait_until(lambda: states(desk).get(("db", dead.address)) == "up", SETTLE_S)
            reloading.wait_gone(lb4, "server web/db", limit_s=SETTLE_S)
            dns.a[NAME] = hosts(two)
            wait_change(lb4, f"~ address web/db {dead.address} -> {two.address}")
            wait_states(desk, {("db", two.address): "up"})
    # Looked at when the last has ended: those under way have no server yet.
    assert {record.server for record in clients.during(since, until)} == {one.name}
    assert_unharmed(clients, lb4)


def test_addresses_come_and_go(start_lb4, etc, desk, dns, pool):
    """Each keeps its name, its weight and the operator's wishes."""
    one, two, three = pool[:3]
    dns.a[NAME] = hosts(two)
    lb4, _ = start(start_lb4, etc, text(desk, one.port, "balance roundrobin"))
    with drill.Drill(LISTEN, 100) as clients, reloading.Transfers(LISTEN, 5) as transfers:
        desk.do("weight", "web/db", "7")
        dns.a[NAME] = hosts(one, two, three)
        wait_states(desk, {("db", two.address): "up", ("db-2", one.address): "up",
                           ("db-3", three.address): "up"})
        assert desk.server("web/db")["weight"] == 7
        desk.do("drain", "web/db-3")
        dns.a[NAME] = hosts(two, three)
        wait_states(desk, {("db", two.address): "up", ("db-3", three.address): "drain"})
        dns.a[NAME] = hosts(pool[3], two, three)
        wait_states(desk, {("db", two.address): "up", ("db-2", pool[3].address): "up",
                           ("db-3", three.address): "drain"})
        assert desk.server("web/db")["weight"] == 7
        assert not transfers.problems
    assert_unharmed(clients, lb4)
    assert f"server db {NAME}:{one.port} weight 1" in desk.do("show", "config")


@pytest.mark.parametrize("trouble", ["dead", "silent", "slow", "empty", "servfail", "nxdomain",
                                     "junk"])
def test_trouble_changes_nothing(start_lb4, etc, desk, dns, pool, trouble, is_full):
    """The last good addresses stay. Told once with the cause, and again when all is well."""
    one, two = pool[:2]
    dns.a[NAME] = hosts(one, two)
    lb4, _ = start(start_lb4, etc, text(desk, one.port))
    with drill.Drill(LISTEN, 200) as clients, reloading.Transfers(LISTEN, 10) as transfers:
        clients.wait_records(200)
        before = time.monotonic()
        if trouble == "silent":
            dns.is_silent = True
        elif trouble == "slow":
            dns.delay_s["*"] = 30
        elif trouble == "empty":
            dns.a[NAME] = []
        elif trouble == "servfail":
            dns.rcodes[NAME] = dns_server.SERVFAIL
        elif trouble == "nxdomain":
            dns.rcodes[NAME] = dns_server.NXDOMAIN
        elif trouble == "junk":
            dns.raw[NAME] = lambda query, question: query[:2] + b"\x81\x80" + b"\xc0\x0c" * 30
        elif trouble == "dead":
            (etc / "resolv.conf").write_text("nameserver 127.0.0.77\n")
        lb4.wait_line(f"WARN .*: name {NAME}: .*; what was found .* ago stays$", 20 + SLACK_S)
        names = desk.json("show", "names")
        assert [(row["name"], row["state"], row["addresses"]) for row in names] == [
            (NAME, "failing", 2)]
        samples = web.Scrape(lb4.http).samples
        assert {dict(labels)["result"]: n >= 1 for labels, n in
                samples["lb4_resolve_total"].items()} == {"ok": True, "failed": True}
        assert list(samples["lb4_resolve_addresses"].values()) == [2]
        assert "names are not found" in desk.do("doctor")
        if is_full:
            time.sleep(20)
        clients.wait_records(len(clients.records) + 100)
        dns.is_silent = False
        dns.delay_s.clear()
        dns.rcodes.clear()
        dns.raw.clear()
        dns.a[NAME] = hosts(one, two)
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        lb4.wait_line(f"INFO .*: name {NAME}: found after", 60 + SLACK_S)
        assert not transfers.problems
    told = [line for line in lb4.lines if f"name {NAME}" in line]
    assert len(told) == 2, told
    assert not [line for line in lb4.lines if ": names: " in line]
    report("before", clients.during(0, before))
    report(trouble, clients.during(before))
    assert_unharmed(clients, lb4)


def test_an_answer_after_ten_seconds(start_lb4, etc, desk, dns, pool):
    """It counts, however late; other names do not wait for it."""
    one, two = pool[:2]
    dns.a[NAME] = hosts(one)
    dns.a["other.example"] = hosts(one)
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:1\n")
    config = text(desk, one.port) + reloading.service(
        "other", ["tcp 127.0.0.1:7001"], [("o", f"other.example:{one.port}")], "check none",
        "resolve 1s")
    lb4, _ = start(start_lb4, etc, config)
    dns.delay_s[NAME] = 10.5
    dns.a[NAME] = hosts(two)
    servers.wait_until(lambda: len(dns.asked(NAME)) >= 2, SETTLE_S)
    asked = time.monotonic()
    dns.a["other.example"] = hosts(two)
    wait_change(lb4, f"~ address other/o {one.address} -> {two.address}")
    assert time.monotonic() - asked < 5
    lb4.wait_line(f"WARN .*: name {NAME}: no answer in time; what was found", 11 + SLACK_S)
    wait_change(lb4, f"~ address web/db {one.address} -> {two.address}", limit_s=30)


def test_it_starts_with_nothing(start_lb4, etc, desk, dns, pool):
    """Clients are reset until the name is found; then it serves, without a reload."""
    one = pool[0]
    lb4, file = start(start_lb4, etc, text(desk, one.port), waits=False)
    lb4.wait_line(r"\bready\b")
    lb4.wait_line(f"name {NAME} not resolved: Name or service not known")
    row = desk.server("web/db")
    assert (row["state"], row["address"]) == ("unresolved", NAME)
    assert row["why"] == "name not resolved: Name or service not known"
    assert f"No server yet: db, {NAME}: name not resolved" in desk.do("why", "web", "192.0.2.1")
    assert "1 of 1 names not resolved" in desk.do("doctor")
    with pytest.raises(ConnectionResetError), servers.connect(LISTEN) as sock:
        sock.recv(1)
    file.change(text(desk, one.port, "tries 2"), "~ tries of web 3 -> 2")
    dns.a[NAME] = hosts(one)
    wait_change(lb4, rf"\+ server web/db {one.address}", limit_s=5 + SLACK_S)
    servers.wait_until(lambda: desk.server("web/db")["state"] == "up", what="it is probed first")
    with drill.Drill(LISTEN, 100) as clients:
        clients.wait_records(50)
    assert_unharmed(clients, lb4)
    dns.a.clear()
    lb4.wait_line("what was found .* ago stays", 5 + SLACK_S)
    lb4.finish(checks_descriptors=False)


def test_a_server_that_dies(start_lb4, etc, desk, dns, pool):
    """Its name is looked up soon, not only when it is due."""
    with servers.ServerProcess("mortal", "127.0.2.8", pool[0].port) as mortal:
        dns.a[NAME] = [mortal.host]
        config = text(desk, mortal.port).replace("resolve 1s", "resolve 1h")
        lb4, _ = start(start_lb4, etc, config)
        dns.a[NAME] = hosts(pool[0])
        asked = len(dns.asked(NAME))
        mortal.kill()
        wait_change(lb4, f"~ address web/db {mortal.address} -> {pool[0].address}",
                    limit_s=5 + SLACK_S)
        assert len(dns.asked(NAME)) > asked
        wait_states(desk, {("db", pool[0].address): "up"})


def test_flapping_and_reloads(start_lb4, etc, desk, dns, pool, is_full):
    """Two sets that take turns, while files are read again and again."""
    dns.a[NAME] = hosts(*pool[:2])
    configs = [text(desk, pool[0].port, f"tries {n}") for n in (2, 3)]
    lb4, file = start(start_lb4, etc, configs[0])
    with drill.Drill(LISTEN, 200) as clients:
        for i in range(40 if is_full else 8):
            dns.a[NAME] = hosts(*(pool[2:] if i % 2 == 0 else pool[:2]))
            start_line = len(lb4.lines)
            for n in range(5):
                file.put(configs[n % 2])
                lb4.signal(signal.SIGHUP)
                time.sleep(0.05)
            lb4.wait_line(reloading.OUTCOME.pattern, reloading.LIMIT_S, start_line)
            servers.wait_until(
                lambda: {address for (_, address), state in states(desk).items()
                         if state == "up"} == {server.address for server in
                                               (pool[2:] if i % 2 == 0 else pool[:2])},
                10 + SLACK_S, "the other two")
    assert_unharmed(clients, lb4)
    report("flapping", clients.records)
    names = {row["server"] for row in desk.json("show", "servers", "web")}
    assert names == {"db", "db-2"}


def test_an_address_that_changes_while_a_file_is_read(start_lb4, etc, desk, dns, pool):
    """The reader waits 5 s for a new name that is silent; the change of another name does not."""
    one, two = pool[:2]
    dns.a[NAME] = hosts(one)
    dns.raw["mute.example"] = lambda query, question: None
    lb4, file = start(start_lb4, etc, text(desk, one.port))
    with drill.Drill(LISTEN, 100) as clients:
        file.put(text(desk, one.port, server=f"mute.example:{one.port}"))
        start_line = len(lb4.lines)
        lb4.signal(signal.SIGHUP)
        servers.wait_until(lambda: dns.asked("mute.example"), SETTLE_S)
        dns.a[NAME] = hosts(two)
        wait_change(lb4, f"~ address web/db {one.address} -> {two.address}")
        lb4.wait_line("mute.example: no answer within 5s", 5 + SLACK_S, start_line)
        file.change(text(desk, one.port, "tries 2"), "~ tries of web 3 -> 2")
        wait_states(desk, {("db", two.address): "up"})
    assert_unharmed(clients, lb4)


def test_a_reload_that_is_undone(start_lb4, etc, desk, dns, pool):
    """What comes back has the addresses of now, not those of then."""
    one, two = pool[:2]
    dns.a[NAME] = hosts(one)
    lb4, file = start(start_lb4, etc, text(desk, one.port))
    with drill.Drill(LISTEN, 100) as clients:
        file.put(text(desk, one.port, "tries 2"))
        desk.do("reload", "--confirm", "4s")
        dns.a[NAME] = hosts(two)
        wait_change(lb4, f"~ address web/db {one.address} -> {two.address}")
        lb4.wait_line("the configuration before comes back", 10)
        lb4.wait_line(r"reload: done, 1 change$", 10, len(lb4.lines) - 3)
        wait_states(desk, {("db", two.address): "up"})
        clients.wait_records(len(clients.records) + 50)
    assert_unharmed(clients, lb4)
    assert not [line for line in lb4.lines if "reload: ~ address" in line]


def test_twenty_addresses(start_lb4, etc, desk, dns, pool):
    """The 16 lowest, said once."""
    dns.a[NAME] = hosts(*pool)
    lb4, _ = start(start_lb4, etc, text(desk, pool[0].port, check="check none"))
    dns.a[NAME] = [f"127.0.2.{i}" for i in range(1, 21)]
    lb4.wait_line(f"name {NAME}: {NAME} has more than 16 addresses, the lowest are used", SETTLE_S)
    servers.wait_until(lambda: len(states(desk)) == 16, SETTLE_S)
    since = time.monotonic()
    servers.wait_until(lambda: len(dns.asked(NAME, since)) >= 6, 4 * SETTLE_S)
    assert sum("more than 16" in line for line in lb4.lines) == 1
    assert max(address for _, address in states(desk)).startswith("127.0.2.9:")


@pytest.mark.parametrize("lie, text_of_it", [
    ("0.0.0.0", "is 0.0.0.0: a wildcard is no server's address"),
    ("127.0.0.1", "is 127.0.0.1: our own listener, connections would go round in a circle"),
    ("255.255.255.255", "is 255.255.255.255: the broadcast address"),
])
def test_addresses_that_no_server_may_have(start_lb4, etc, desk, dns, pool, lie, text_of_it):
    """They are left out, whatever DNS says."""
    dns.a[NAME] = hosts(pool[0])
    config = desk.directive + reloading.service(
        "web", [f"tcp 127.0.0.1:{pool[0].port}"], [("db", f"{NAME}:{pool[0].port}")], "check none",
        "resolve 1s")
    lb4, _ = start(start_lb4, etc, config)
    dns.a[NAME] = [lie, *hosts(*pool[:2])]
    lb4.wait_line(f"name {NAME}: {NAME} {text_of_it}", SETTLE_S)
    servers.wait_until(lambda: set(states(desk)) == {("db", pool[0].address),
                                                     ("db-2", pool[1].address)}, SETTLE_S)


# --- in company

def plain(desk, port, *directives):
    """Without a `check` line."""
    return desk.directive + reloading.service("web", [f"tcp {LISTEN}"],
                                              [("db", f"{NAME}:{port}")], "resolve 1s", *directives)


def n_checks(desk):
    return sum(row["checks_ok"] + row["checks_failed"] for row in
               desk.json("show", "servers", "web"))


def test_probed_while_there_are_several(start_lb4, etc, desk, dns, pool):
    """Without a `check` line: one address is not probed, two are, and one again is not. What an
    operator wished stays."""
    one, two = pool[:2]
    dns.a[NAME] = hosts(one)
    lb4, _ = start(start_lb4, etc, plain(desk, one.port))
    with drill.Drill(LISTEN, 100) as clients:
        dns.a[NAME] = hosts(one, two)
        servers.wait_until(lambda: [row["checks_ok"] > 0 for row in
                                    desk.json("show", "servers", "web")] == [True, True], SETTLE_S)
        desk.do("weight", "web/db", "9")
        desk.do("drain", "web/db-2")
        dns.a[NAME] = hosts(one)
        reloading.wait_gone(lb4, "server web/db-2", limit_s=SETTLE_S)
        assert desk.server("web/db")["weight"] == 9
        before = n_checks(desk)
        dns.a[NAME] = hosts(two)
        wait_change(lb4, f"~ address web/db {one.address} -> {two.address}")
        clients.wait_served_by(two.name, time.monotonic(), SETTLE_S)
        reloading.wait_gone(lb4, "server web/db", limit_s=SETTLE_S)
        time.sleep(2.5)  # longer than an interval
        assert n_checks(desk) <= before
    assert_unharmed(clients, lb4)


def test_one_that_is_down_and_alone(start_lb4, etc, desk, dns, pool):
    """What probes have found out does not count where there are none: clients find out."""
    late = servers.ServerProcess("late", "127.0.2.9", pool[0].port)
    dns.a[NAME] = [pool[0].host, late.host]
    lb4, _ = start(start_lb4, etc, plain(desk, pool[0].port))
    wait_states(desk, {("db", pool[0].address): "up", ("db-2", late.address): "down"})
    dns.a[NAME] = [late.host]
    reloading.wait_gone(lb4, "server web/db", limit_s=SETTLE_S)
    with late, drill.Drill(LISTEN, 50) as clients:
        clients.wait_records(50)
    assert_unharmed(clients, lb4)


@pytest.mark.parametrize("n", [1, 2])
def test_clients_are_held_until_the_name_is_found(start_lb4, etc, desk, dns, pool, n):
    lb4, _ = start(start_lb4, etc, plain(desk, pool[0].port, "all-down hold 60s max 1000"),
                   waits=False)
    lb4.wait_line(r"\bready\b")
    with drill.Drill(LISTEN, 20) as clients:
        lb4.wait_line("service web: no server is usable, clients are held for up to 1m")
        dns.a[NAME] = hosts(*pool[:n])
        clients.wait_records(40)
        wait_change(lb4, rf"\+ server web/db {pool[0].address}", limit_s=5 + SLACK_S)
        clients.wait_records(len(clients.records) + 20)
    assert_unharmed(clients, lb4)


def test_a_reload_while_the_old_one_is_kept(start_lb4, etc, desk, dns, pool):
    """It does not take away the only one that serves; a service that goes takes it along."""
    one = pool[0]
    other = reloading.service("other", ["tcp 127.0.0.1:7001"], [("o", one.address)])
    dns.a[NAME] = hosts(one)
    lb4, file = start(start_lb4, etc, text(desk, one.port) + other)
    with drill.Drill(LISTEN, 50) as clients:
        dns.a[NAME] = ["127.0.2.9"]
        wait_states(desk, {("db", one.address): "up", ("db", f"127.0.2.9:{one.port}"): "down"})
        file.change(text(desk, one.port, "tries 2") + other, "~ tries of web 3 -> 2")
        clients.wait_records(len(clients.records) + 50)
    assert_unharmed(clients, lb4)
    file.change(desk.directive + other, "- service web")
    reloading.wait_gone(lb4, "service web")
    lb4.finish(checks_descriptors=False)


def test_runs_that_change_nothing_leave_nothing(start_lb4, etc, desk, dns, pool):
    one = pool[0]
    dns.a[NAME] = hosts(one)
    lb4, file = start(start_lb4, etc, text(desk, one.port))
    for i in range(5):
        dns.a[f"x{i}.example"] = hosts(one)
        file.put(text(desk, one.port, server=f"x{i}.example:{one.port}"))
        desk.do("reload", "--dry-run")
    assert {dict(labels)["name"] for labels in
            web.Scrape(lb4.http).samples["lb4_resolve_total"]} == {NAME}


def test_a_reload_finds_it_first(start_lb4, etc, desk, dns, pool):
    one = pool[0]
    dns.a[NAME] = hosts(one)
    config = text(desk, one.port).replace("resolve 1s", "resolve 4s")
    lb4, file = start(start_lb4, etc, config)
    dns.rcodes[NAME] = dns_server.NXDOMAIN
    lb4.wait_line(f"WARN .*: name {NAME}: .*; what was found", 4 + SLACK_S)
    dns.rcodes.clear()
    file.change(config.replace("resolve 4s", "resolve 4s\n tries 2"))
    line = lb4.wait_line(f"INFO .*: name {NAME}: found after", 4 + SLACK_S)
    assert int(line.split("found after ")[1].split()[0]) < 60


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_does_not_wait_for_look_ups(start_lb4, etc, desk, dns, pool, number):
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:3\n")
    names = [f"h{i}.example" for i in range(200)]
    dns.a.update({name: hosts(pool[0]) for name in names})
    lb4, _ = start(start_lb4, etc, desk.directive + reloading.service(
        "web", [f"tcp {LISTEN}"], [(name, f"{name}:{pool[0].port}") for name in names],
        "check none", "resolve 1s"))
    dns.is_silent = True
    tasks = f"/proc/{lb4.pid}/task"
    servers.wait_until(lambda: len(os.listdir(tasks)) > len(names), 10 + SLACK_S)
    lb4.signal(signal.SIGHUP)  # and a file that is being read
    begin = time.monotonic()
    lb4.signal(number)
    lb4.wait_exit()
    assert time.monotonic() - begin < SLACK_S


# --- SRV records

SRV_NAME = "_pg._tcp.example"


def test_srv_records(start_lb4, etc, desk, dns, pool):
    """Ports and weights are the records'; so are priorities, from 1 on; changes count."""
    one, two, three = pool[:3]
    for server in pool:
        dns.a[f"{server.name}.example"] = hosts(server)
    dns.srv[SRV_NAME] = [(10, 1000, one.port, "n1.example"), (10, 250, two.port, "n2.example"),
                         (20, 0, three.port, "n3.example")]
    dns.truncates = True  # over TCP, then
    lb4, file = start(start_lb4, etc, text(desk, one.port, server=f"srv:{SRV_NAME}."))
    rows = {row["address"]: row for row in desk.json("show", "servers", "web")}
    assert {address: (row["weight"], row["priority"]) for address, row in rows.items()} == {
        one.address: (256, 1), two.address: (64, 1), three.address: (1, 2)}
    with drill.Drill(LISTEN, 100) as clients, reloading.Transfers(LISTEN, 5) as transfers:
        dns.srv[SRV_NAME] = [(10, 3, one.port, "n1.example"), (10, 5, two.port, "n2.example"),
                             (10, 0, three.port, "n3.example")]
        wait_change(lb4, f"~ priority web/{rows[three.address]['server']} 2 -> 1")
        rows = {row["address"]: row for row in desk.json("show", "servers", "web")}
        assert {address: (row["weight"], row["priority"]) for address, row in rows.items()} == {
            one.address: (3, 1), two.address: (5, 1), three.address: (1, 1)}
        dns.srv[SRV_NAME] = [(0, 0, 0, ".")]
        lb4.wait_line(f"name srv:{SRV_NAME}: No address associated with hostname; what was found",
                      SETTLE_S)
        dns.srv[SRV_NAME] = [(1, 1, two.port, "n2.example"), (1, 1, 9, "gone.example")]
        servers.wait_until(lambda: [address for (_, address), state in states(desk).items()
                                    if state == "up"] == [two.address], SETTLE_S,
                           two.address)
        assert not transfers.problems
    assert_unharmed(clients, lb4)
    assert f"server db srv:{SRV_NAME}\n" in desk.do("show", "config")


LIES = {
    "loop": lambda query, question: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question +
    b"\xc0" + bytes([12 + len(question)]) + b"\0\x21\0\1\0\0\0\1\0\x08\0\1\0\1\0\1\xc0\x0c",
    "short": lambda query, question: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question +
    dns_server.record(SRV_NAME, dns_server.SRV, b"\0\1\0\1"),
    "other name": lambda query, question: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question +
    dns_server.record("evil.example", dns_server.SRV, dns_server.srv_data(1, 1, 1, "n1.example")),
    "cut": lambda query, question: query[:2] + b"\x81\x80\0\1\xff\xff\0\0\0\0" + question,
    "not a host": lambda query, question: query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question +
    dns_server.record(SRV_NAME, dns_server.SRV, b"\0\1\0\1\0\1\3a b\0"),
}


@pytest.mark.parametrize("lie", LIES)
def test_srv_lies(start_lb4, etc, desk, dns, pool, lie):
    one = pool[0]
    dns.a["n1.example"] = hosts(one)
    dns.srv[SRV_NAME] = [(1, 1, one.port, "n1.example")]
    lb4, _ = start(start_lb4, etc, text(desk, one.port, server=f"srv:{SRV_NAME}"))
    dns.raw[SRV_NAME] = LIES[lie]
    lb4.wait_line(f"name srv:{SRV_NAME}: .*; what was found", 20 + SLACK_S)
    assert states(desk) == {("db", one.address): "up"}
    del dns.raw[SRV_NAME]
    lb4.wait_line(f"name srv:{SRV_NAME}: found after", 20 + SLACK_S)


# --- how often

def test_names_are_shared_and_spread(start_lb4, etc, desk, dns, pool):
    """A name that many servers have is one question; names are not asked for at one instant."""
    n_names = 100
    lines = []
    for i in range(n_names):
        dns.a[f"h{i}.example"] = hosts(pool[0])
        lines += [(f"a{i}", f"h{i}.example:{1000 + i}"), (f"b{i}", f"h{i}.example:{3000 + i}")]
    lb4, _ = start(start_lb4, etc, desk.directive + reloading.service(
        "web", [f"tcp {LISTEN}"], lines, "check none", "resolve 4s"))
    begin = time.monotonic()
    servers.wait_until(lambda: all(dns.asked(f"h{i}.example", begin) for i in range(n_names)),
                       4 + SLACK_S)
    took_s = time.monotonic() - begin
    asked = sorted(at for i in range(n_names) for at in dns.asked(f"h{i}.example", begin)[:1])
    assert len(asked) == n_names
    fullest = max(sum(at <= other < at + 0.5 for other in asked) for at in asked)
    print(f"{n_names} names within {took_s:.1f} s, at most {fullest} in half a second")
    assert took_s > 2
    assert fullest < n_names / 2
    per_name = [len(dns.asked(f"h{i}.example", begin)) for i in range(n_names)]
    assert max(per_name) <= 8  # A and AAAA, twice
    lb4.finish()
