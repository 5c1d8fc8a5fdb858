"""Clients that wait: for a server, while all are down (all-down hold), and for a place, while all
servers have as many connections as they may (maxconn, queue)."""
import collections
import contextlib
import errno
import pathlib
import re
import signal
import socket
import time

import pytest

import daemon
import drill
import namespace
import reloading
import servers
import waiters
import web

CHECK = "check tcp interval 200ms timeout 100ms fall 2 rise 2 fast 50ms"
LISTEN = drill.LISTEN
HTTP = "127.0.0.1:9404"
RESET_BAR_S = 0.010
UP = r"server web/s1 is UP"
DOWN = r"server web/s1 is DOWN"
HOLDING = r"service web: no server is usable, clients are held for up to "
RELEASED = re.compile(r"service web: released (\d+) clients after \S+s; (\d+) gave up, (\d+) waited in "
                      r"vain, (\d+) were turned away")


def block(server_list, *directives, check=CHECK):
    """`server_list`: of CountingServer, each with its options or without."""
    rows = []
    for i, server in enumerate(server_list, 1):
        server, *options = server if isinstance(server, tuple) else (server,)
        rows.append((f"s{i}", server.address, *options))
    return reloading.service("web", [f"tcp {LISTEN}"], rows, check, *directives)


@pytest.fixture
def start(start_lb4, desk):
    def go(text, workers=2, **options):
        head = desk.directive + f"http {HTTP}\n"
        lb4 = start_lb4(["-w", str(workers)], config=head + text, **options)
        file = reloading.File(lb4)
        file.head = head
        return lb4, file
    return go


@pytest.fixture
def crowd():
    with waiters.Crowd(LISTEN) as people:
        yield people


def figures():
    return web.status(HTTP)["services"][0]["waiting"]


def are_waiting(n):
    """Not known, if no port is left to ask with: the questions before hold theirs for a second."""
    try:
        return figures()["active"] == n
    except OSError as error:
        if error.errno != errno.EADDRNOTAVAIL:
            raise
        return False


def wait_waiting(n, limit_s=servers.ECHO_LIMIT_S):
    servers.wait_until(lambda: are_waiting(n), limit_s, f"{n} waiting")


def by_worker(lb4, start):
    """Ports of clients, by the worker that served them, of those whose end is told from line
    `start` on: before it others may have had these ports."""
    found = collections.defaultdict(set)
    for line in lb4.lines[start:]:
        match = daemon.LOG_LINE.match(line)
        entry = daemon.parse_closed(line)
        if entry:
            found[match["thread"]].add(int(entry["client"].rsplit(":", 1)[1]))
    return found


def arrivals(desk):
    """Ports of clients as lb4 lists them: of each worker in the order in which it took them."""
    return [int(row["client"].rsplit(":", 1)[1]) for row in desk.json("show", "connections")
            if row["state"] == "waiting"]


def check_order(lb4, crowd, waited, start):
    """Those of each worker came to the server in the order of their arrival. `waited`: ports, as
    arrivals() has them."""
    lb4.wait_n_closed("web", len(crowd.socks))
    numbers = {port: crowd.greeted[i][0] for i, port in enumerate(crowd.ports)}
    for worker, ports in by_worker(lb4, start).items():
        order = [numbers[port] for port in waited if port in ports]
        assert order == sorted(order), f"{worker}: {order}"
        print(f"{worker}: {len(order)} in order")


# --- hold

@pytest.mark.parametrize("workers", [1, 2])
def test_a_pause_without_errors(start, desk, crowd, workers, is_full):
    """All servers are down for a while under 200 connections/s; nobody is lost, and those that
    waited are connected at once, in the order of their arrival."""
    down_s, per_s = (5 if is_full else 1, 200)
    with waiters.CountingServer() as server:
        lb4, _ = start(block([server], "all-down hold 30s max 2000"), workers)
        crowd.add(20, per_s)
        crowd.wait_greeted(20)
        server.stop()
        crowd.wait_ended(20)
        crowd.add(int(down_s * per_s), per_s)
        lb4.wait_line(DOWN)
        n_waiting = int(down_s * per_s)
        wait_waiting(n_waiting)
        waited = arrivals(desk)
        at = len(lb4.lines)
        server.start()
        lb4.wait_line(UP, start=at)
        up = time.monotonic()
        crowd.wait_greeted(20 + n_waiting)
        late = sorted(when - up for i, (_, when) in crowd.greeted.items() if i >= 20)
        print(f"{n_waiting} waited; the last was greeted {late[-1] * 1000:.0f} ms after 'is UP'")
        assert late[-1] <= drill.bar(0.2, 10)
        crowd.add(20, per_s)
        crowd.wait_greeted(40 + n_waiting)
        assert figures() == {"active": 0, "total": n_waiting, "refused": 0, "served": n_waiting,
                             "gave_up": 0, "timed_out": 0, "turned_away": 0}
        server.stop()
        check_order(lb4, crowd, waited, at)
    line = lb4.wait_line(RELEASED.pattern)
    assert RELEASED.search(line).groups() == (str(n_waiting), "0", "0", "0")


def test_cap_and_deadline_of_a_hold(start, crowd):
    with waiters.CountingServer(listens=False) as server:
        lb4, _ = start(block([server], "all-down hold 1s max 30"))
        lb4.wait_line(DOWN)
        crowd.add(50)
        crowd.wait_ended(20)
        assert {end for end, _ in crowd.ended.values()} == {"rst"}
        refused = set(crowd.ended)
        took = [when - crowd.began[i] for i, (_, when) in crowd.ended.items()]
        print(f"above the cap: reset after {max(took) * 1000:.1f} ms at most")
        assert sorted(took)[len(took) // 2] <= drill.bar(RESET_BAR_S, 10)
        assert figures()["active"] == 30 and figures()["refused"] == 20
        crowd.wait_ended(50)
        waited = [crowd.ended[i][1] - crowd.began[i] for i in range(50) if i not in refused]
        print(f"reset after {min(waited):.3f} to {max(waited):.3f} s of 1 s")
        assert min(waited) >= 0.99 and max(waited) <= drill.bar(1.1, 5)
        ends = lb4.wait_n_closed("web", 50)
        assert {end["reason"] for end in ends} == {"no_server"}
        assert figures()["timed_out"] == 30
        assert sum(bool(re.search(HOLDING, line)) for line in lb4.lines) == 1


def test_who_gives_up_is_forgotten(start, crowd):
    with waiters.CountingServer(listens=False) as server:
        lb4, _ = start(block([server], "all-down hold 30s max 4"))
        lb4.wait_line(DOWN)
        crowd.add(4)
        wait_waiting(4)
        crowd.leave(0, "rst")
        wait_waiting(3)
        crowd.leave(1, "fin")
        wait_waiting(2)
        crowd.leave(2, "bye")
        crowd.add(2)  # two places are free again
        wait_waiting(4)
        assert figures()["refused"] == 0 and figures()["gave_up"] == 2
        server.start()
        crowd.wait_greeted(4)
        assert sorted(crowd.greeted) == [2, 3, 4, 5]
    ends = lb4.wait_n_closed("web", 6)
    reasons = collections.Counter(end["reason"] for end in ends)
    assert reasons["client_rst"] == 1 and reasons["client_fin"] >= 1
    assert RELEASED.search(lb4.wait_line(RELEASED.pattern)).groups()[:2] == ("4", "2")


def test_who_meets_the_death_of_the_last_server_waits_too(start, crowd):
    """Its connects were refused before any probe was."""
    slow = "check tcp interval 3s timeout 100ms fall 1 rise 1 fast 100ms"
    with waiters.CountingServer() as one, waiters.CountingServer() as two:
        lb4, _ = start(block([one, two], "all-down hold 30s", check=slow))
        one.stop()
        two.stop()
        crowd.add(10)
        wait_waiting(10)
        two.start()
        crowd.wait_greeted(10)
        assert not crowd.n_lost
        two.stop()
    lb4.wait_n_closed("web", 10)


def test_operators_and_a_hold(start, desk, crowd):
    """maint on all servers is a hold, ready its end; what is shown meanwhile."""
    with waiters.CountingServer() as server:
        lb4, _ = start(block([server], "all-down hold 30s max 10", "access-log on"))
        desk.do("maint", "web/s1")
        crowd.add(3)
        wait_waiting(3)
        rows = desk.json("show", "connections")
        assert {row["state"] for row in rows} == {"waiting"} and len(rows) == 3
        assert {row["server"] for row in rows} == {""}
        assert desk.json("show", "services")[0]["waiting"] == 3
        said = desk.do("why", "web", "198.51.100.1")
        assert "A connection would wait up to 30s; 3 of 10 wait." in said, said
        scrape = web.Scrape(HTTP)
        assert scrape.value("lb4_queue_active", service="web") == 3
        assert scrape.value("lb4_queue_total", service="web") == 3
        desk.do("kill", "web/s1")
        time.sleep(0.2)
        desk.do("ready", "web/s1")
        crowd.wait_greeted(3)
        scrape = web.Scrape(HTTP)
        assert scrape.value("lb4_queue_active", service="web") == 0
        assert scrape.value("lb4_queue_ended_total", service="web", outcome="served") == 3
        server.stop()
        line = lb4.wait_line(r" access client=")
        assert float(re.search(r"queue_ms=(\S+)", line)[1]) >= 200, line
        assert float(re.search(r"connect_ms=(\S+)", line)[1]) < drill.bar(0.2, 10) * 1000, line


def test_reload_while_clients_wait(start, crowd):
    """Hold turned off: reset; a server added: served; the service removed: reset."""
    with waiters.CountingServer(listens=False) as dead, waiters.CountingServer() as alive:
        hold = "all-down hold 30s"
        lb4, file = start(block([dead], hold))
        lb4.wait_line(DOWN)
        crowd.add(3)
        wait_waiting(3)
        file.change(file.head + block([dead], "all-down refuse"))
        crowd.wait_ended(3)
        file.change(file.head + block([dead], hold))
        crowd.add(3)
        wait_waiting(3)
        file.change(file.head + block([dead, alive], hold))
        servers.wait_until(lambda: len(crowd.greeted) == 3, what="those that wait are served")
        file.change(file.head + block([dead], hold))
        lb4.wait_line(r"server web/s2 has gone|s2", start=0)
        crowd.add(3)
        wait_waiting(3)
        file.change(file.head + block([dead], hold).replace("service web", "service other"))
        crowd.wait_ended(6)
        assert crowd.n_lost == 6
    reasons = collections.Counter(end["reason"] for end in lb4.wait_n_closed("web", 9))
    assert reasons["no_server"] == 6, reasons


@pytest.mark.parametrize("ending", ["drain", "stop"])
def test_the_end_of_lb4_while_clients_wait(start, crowd, ending):
    with waiters.CountingServer(listens=False) as server:
        lb4, _ = start("drain 20s\n" + block([server], "all-down hold 30s"))
        lb4.wait_line(DOWN)
        crowd.add(5)
        wait_waiting(5)
        started = time.monotonic()
        lb4.signal(signal.SIGTERM if ending == "drain" else signal.SIGINT)
        crowd.wait_ended(5)
        assert time.monotonic() - started < drill.bar(1, 10)
        lb4.check_end()
    assert {end["reason"] for end in lb4.wait_n_closed("web", 5)} == {"drain"}


# --- places

@pytest.mark.parametrize("policy", ["leastconn", "roundrobin", "random", "source"])
def test_a_limit_is_exact(start, crowd, policy, is_full):
    """Two workers, many clients at once: no server ever has more than it may, and all are served."""
    n_clients = 500
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(waiters.CountingServer(hold_s=0.02)) for _ in range(2)]
        lb4, _ = start(block([(pool[0], "maxconn 5"), (pool[1], "maxconn 3")], "queue 1000 timeout 20s",
                             f"balance {policy}", check="check none"))
        crowd.add(n_clients)
        crowd.wait_greeted(n_clients)
        print(f"most at once: {pool[0].most} of 5, {pool[1].most} of 3; accepted "
              f"{pool[0].n_accepted} and {pool[1].n_accepted}; {figures()}")
        assert pool[0].most <= 5 and pool[1].most <= 3
        assert figures()["active"] == 0 and figures()["served"] == figures()["total"] > 0
        if policy != "source":  # all clients have one address
            assert pool[0].most == 5 and pool[1].most == 3
        else:
            assert {server.n_accepted for server in pool} == {0, n_clients}
        assert not crowd.n_lost
        crowd.wait_ended(n_clients)


def test_the_order_of_a_queue_and_nobody_starves(start, desk, crowd):
    """In order by worker, and no worker's clients wait much longer than the other's."""
    n_clients = 300
    with waiters.CountingServer() as server:
        lb4, _ = start(block([(server, "maxconn 2")], "queue 1000 timeout 30s", check="check none"))
        crowd.add(2)
        crowd.wait_greeted(2)
        crowd.add(n_clients, 400)  # so that workers take them in the order in which they come
        wait_waiting(n_clients)
        waited = arrivals(desk)
        at = len(lb4.lines)
        server.hold_s = 0.005
        crowd.leave(0, "fin")
        crowd.leave(1, "fin")
        crowd.wait_greeted(2 + n_clients)
        crowd.wait_ended(2 + n_clients)
        check_order(lb4, crowd, waited, at)
    off = [abs(i - number) for i, (number, _) in crowd.greeted.items()]
    print(f"at most {max(off)} of {n_clients} places out of turn over both workers")
    assert max(off) < n_clients / 3
    assert server.most == 2


def test_cap_and_time_of_a_queue(start, desk, crowd):
    with waiters.CountingServer() as server:
        lb4, _ = start(block([(server, "maxconn 4")], "queue 6 timeout 1s", check="check none"))
        crowd.add(20)
        crowd.wait_ended(10)
        refused = set(crowd.ended)
        took = sorted(when - crowd.began[i] for i, (_, when) in crowd.ended.items())
        assert took[len(took) // 2] <= drill.bar(RESET_BAR_S, 10)
        assert figures()["active"] == 6
        said = desk.do("why", "web", "198.51.100.1")
        assert "All servers are full. A connection is reset, as 6 of 6 wait." in said, said
        assert "full: it has 4 connections, as many as it may" in said
        assert desk.server("web/s1")["maxconn"] == 4
        crowd.wait_ended(16)
        waited = [when - crowd.began[i] for i, (_, when) in crowd.ended.items() if i not in refused]
        assert min(waited) >= 0.99 and max(waited) <= drill.bar(1.1, 5)
        ends = lb4.wait_n_closed("web", 16)
        assert {end["reason"] for end in ends} == {"limit"}
        crowd.leave(next(iter(crowd.greeted)), "fin")
        crowd.wait_ended(17)
        crowd.add(1)
        servers.wait_until(lambda: len(crowd.greeted) == 5, what="a place is free again")
        assert server.most <= 5


def test_give_up_and_leave_a_queue(start, crowd):
    with waiters.CountingServer() as server:
        start(block([(server, "maxconn 1")], "queue 2 timeout 20s", check="check none"))
        crowd.add(1)
        crowd.wait_greeted(1)
        crowd.add(2)
        wait_waiting(2)
        crowd.leave(1, "rst")
        wait_waiting(1)
        crowd.add(1)
        wait_waiting(2)
        crowd.leave(2, "fin")
        wait_waiting(1)
        crowd.leave(0, "fin")
        crowd.wait_greeted(2)
        assert sorted(crowd.greeted) == [0, 3]


def test_full_primaries_do_not_send_clients_to_a_backup(start, crowd):
    with waiters.CountingServer() as primary, waiters.CountingServer() as backup:
        lb4, _ = start(block([(primary, "maxconn 2"), (backup, "backup")], "queue 10 timeout 20s"))
        crowd.add(4)
        wait_waiting(2)
        assert backup.n_accepted == 0 or not backup.open
        primary.stop()  # its two are lost, and those that wait have a server
        lb4.wait_line(DOWN)
        crowd.wait_ended(2)
        servers.wait_until(lambda: len(crowd.greeted) == 4, what="the backup serves")


def test_a_limit_that_a_reload_changes(start, crowd):
    with waiters.CountingServer() as server:
        rest = ("queue 10 timeout 20s",)
        lb4, file = start(block([(server, "maxconn 2")], *rest, check="check none"))
        crowd.add(6)
        crowd.wait_greeted(2)
        wait_waiting(4)
        lines = file.change(file.head + block([(server, "maxconn 3")], *rest, check="check none"))
        assert any("maxconn web/s1 2 -> 3" in line for line in lines)
        crowd.wait_greeted(3)
        wait_waiting(3)
        file.change(file.head + block([(server, "maxconn 1")], *rest, check="check none"))
        crowd.leave(0, "fin")
        crowd.wait_ended(1)
        assert figures()["active"] == 3 and len(crowd.greeted) == 3
        file.change(file.head + block([server], check="check none"))
        crowd.wait_greeted(6)


def test_a_drain_serves_who_waits_for_a_place(start, crowd):
    with waiters.CountingServer(hold_s=0.2) as server:
        lb4, _ = start("drain 20s\n" + block([(server, "maxconn 1")], "queue 10 timeout 20s",
                                             check="check none"))
        crowd.add(5)
        crowd.wait_greeted(1)
        lb4.signal(signal.SIGTERM)
        crowd.wait_greeted(5)
        lb4.check_end()
    assert not crowd.n_lost


def test_a_held_crowd_and_a_limit(start, crowd):
    """A server that returns with a limit is not run over, and those that were held still wait."""
    with waiters.CountingServer(hold_s=0.02, listens=False) as server:
        lb4, _ = start(block([(server, "maxconn 4")], "all-down hold 20s max 200",
                             "queue 1 timeout 1s"))
        lb4.wait_line(DOWN)
        crowd.add(100)
        wait_waiting(100)
        server.start()
        crowd.wait_greeted(100)
        print(f"most at once {server.most} of 4 and some probes")
        assert server.most <= 4 + 4  # probes that take their leave are counted, too


PORT_RANGE = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture
def few_ports():
    """As many connections of lb4's own to one address at a time, from ports that nobody holds."""
    usual = PORT_RANGE.read_text()

    def narrow(count):
        first = namespace.take_ports(count)
        PORT_RANGE.write_text(f"{first} {first + count - 1}")
    yield narrow
    PORT_RANGE.write_text(usual)


def connect_from(first, count):
    socks = []
    for i in range(count):
        sock = socket.socket()
        sock.bind(("127.0.0.1", first + i))
        sock.connect(("127.0.0.1", int(LISTEN.rsplit(":", 1)[1])))
        socks.append(sock)
    return socks


def test_no_port_for_one_server_while_the_other_is_full(start, few_ports):
    """One that waits tries the first again when it is woken; once, not in each turn of the loop."""
    with waiters.CountingServer() as one, waiters.CountingServer() as two:
        start(block([one, (two, "maxconn 1")], "queue 10 timeout 20s", check="check none"), 1)
        few_ports(10)
        with contextlib.ExitStack() as stack:
            for sock in connect_from(namespace.take_ports(13), 13):
                stack.enter_context(sock)
            wait_waiting(2)
            servers.wait_until(lambda: (len(one.open), len(two.open)) == (10, 1),
                               what="both servers have seen their clients")
            holder = next(iter(two.open))
            two.forget(holder)
            servers.reset(holder)
            wait_waiting(1)
            servers.wait_until(lambda: len(two.open) == 1, what="the next has the place")
            time.sleep(0.2)  # an observation
            print(figures())
            assert figures()["total"] < 10


def test_the_last_resort_has_a_queue(start, crowd):
    """`all-down any`: servers that are down have places, too, and they are given in order."""
    check = CHECK.replace("fast 50ms", f"fast 50ms port {namespace.take_port()}")
    with waiters.CountingServer() as server:
        lb4, _ = start(block([(server, "maxconn 1")], "all-down any", "queue 10 timeout 1s",
                             check=check), 1)
        lb4.wait_line(DOWN)
        crowd.add(3)
        crowd.wait_greeted(1)
        wait_waiting(2)
        crowd.wait_ended(2)
        assert {end["reason"] for end in lb4.wait_n_closed("web", 2)} == {"limit"}
        assert figures()["timed_out"] == 2
