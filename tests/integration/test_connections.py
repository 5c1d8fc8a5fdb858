"""lb4ctl show connections and kill: what lb4 tells of its connections is what the clients know."""
import contextlib
import socket
import statistics
import threading
import time

import pytest

import admin
import drill
import pools
import servers
import udp_drill

LISTEN = "127.0.0.1:7000"
N_MANY = 2000
PER_S = 100


@pytest.fixture
def pool():
    with pools.make(3) as pool:
        yield pool


def start(start_lb4, desk, pool, *words, **options):
    text = desk.directive + pools.config(LISTEN, pool.texts, *words)
    return start_lb4(["-w", "2"], config=text, **options)


def hold(stack, count, address=LISTEN):
    """So many connections: (socket, the index of its server) by the client's address."""
    held = {}
    for _ in range(count):
        sock = stack.enter_context(servers.connect(address))
        held["%s:%d" % sock.getsockname()] = (sock, pools.read_name(sock))
    return held


def listed(desk, *words):
    """By the client's address; each of them once."""
    rows = desk.json("show", "connections", *words)
    found = {row["client"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def reason_count(desk, reason):
    return desk.json("show", "services")[0]["closed_by_reason"].get(reason, 0)


# --- show connections

def test_none(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    assert desk.json("show", "connections") == []
    assert desk.do("show", "connections").split() == (
        "CLIENT SERVICE SERVER TRANSPORT STATE AGE IDLE BYTES_IN BYTES_OUT").split()


def test_tcp_as_the_clients_know_it(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        held = hold(stack, 9)
        for number, (sock, _) in enumerate(held.values()):
            sock.sendall(bytes(100 + number))
        def is_all_there():
            return sorted(row["bytes_in"] for row in listed(desk).values()) == [*range(100, 109)]
        servers.wait_until(is_all_there, what="all bytes counted")
        rows = listed(desk)
        assert rows.keys() == held.keys()
        for number, (address, (_, index)) in enumerate(held.items()):
            row = rows[address]
            assert (row["service"], row["server"]) == ("web", f"s{index + 1}")
            assert (row["transport"], row["state"]) == ("tcp", "open")
            assert (row["bytes_in"], row["bytes_out"]) == (100 + number, pools.NAME_BYTES)
        first = next(iter(held))
        held[first][0].shutdown(socket.SHUT_WR)
        servers.wait_until(lambda: first not in listed(desk), what="its end")
        assert len(listed(desk, "web")) == 8
        for index in range(3):
            own = {address for address, (_, at) in held.items() if at == index} - {first}
            assert listed(desk, f"web/s{index + 1}").keys() == own


def test_text_says_what_json_says(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        hold(stack, 3)
        texts = {row["client"]: row for row in admin.table(desk.ask("show connections\n"))}
        for client, row in listed(desk).items():
            for moving in ("age", "idle"):
                row.pop(moving)
                texts[client].pop(moving)
            assert texts[client] == {name: admin.plain(value) for name, value in row.items()}


def test_age_and_idle(start_lb4, desk, pool):
    """Both grow; a byte sets idle back."""
    start(start_lb4, desk, pool)
    with servers.connect(LISTEN) as sock:
        pools.read_name(sock)
        row, = desk.json("show", "connections")
        assert row["age"] <= 1 and row["idle"] <= row["age"]

        def idle_s():
            row, = desk.json("show", "connections")
            assert row["idle"] <= row["age"]
            return row["idle"]
        servers.wait_until(lambda: idle_s() >= 2, what="2 s idle")
        sock.sendall(b"x")
        servers.wait_until(lambda: idle_s() == 0, what="not idle")
        assert desk.json("show", "connections")[0]["age"] >= 2


def test_idle_is_right_after_a_reload(start_lb4, desk, pool):
    """Of one that has not moved since the timeout became longer, or shorter."""
    lb4 = start(start_lb4, desk, pool)
    with servers.connect(LISTEN) as sock:
        pools.read_name(sock)
        servers.wait_until(lambda: desk.json("show", "connections")[0]["age"] >= 2, what="age")
        sock.sendall(b"x")
        servers.wait_until(lambda: desk.json("show", "connections")[0]["bytes_in"], what="byte")
        for timeout in ("8h", "5m"):
            admin.put_config(lb4, desk.directive + pools.config(
                LISTEN, pool.texts, f"timeout idle {timeout}"))
            desk.do("reload")
            row, = desk.json("show", "connections")
            assert row["idle"] <= 1 < row["age"]
        servers.wait_until(lambda: desk.json("show", "connections")[0]["idle"] >= 2, what="idle")


def test_one_that_connects_and_one_that_half_closed(start_lb4, desk):
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        start_lb4(["-w", "2"], config=desk.directive + pools.config(
            LISTEN, ["127.0.0.1:%d" % silent.getsockname()[1]]))
        client = stack.enter_context(servers.connect(LISTEN))
        server = stack.enter_context(silent.accept()[0])
        client.shutdown(socket.SHUT_WR)
        servers.wait_until(
            lambda: [row["state"] for row in listed(desk).values()] == ["half_closed"],
            what="half_closed")
        fillers = [stack.enter_context(servers.connect(LISTEN)) for _ in range(4)]
        servers.wait_until(
            lambda: "connecting" in {row["state"] for row in listed(desk).values()},
            what="one that waits for its server, whose queue is full")
        assert len(listed(desk)) == 1 + len(fillers)
        server.close()


def test_udp_as_the_clients_know_it(start_lb4, desk):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(udp_drill.UdpServer(
            answer=lambda payload: b"four" if payload != b"quiet" else None))
        start_lb4(["-w", "2"], config=desk.directive + f"service dns {{\nlisten udp {LISTEN}\n"
                  f"timeout udp 30s\nserver n1 {server.address}\n}}\n")
        clients = []
        for number in range(8):
            client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            client.connect(udp_drill.split(LISTEN))
            client.settimeout(10)
            client.send(b"quiet" if number == 0 else bytes(10 + number))
            if number:
                client.recv(100)
            clients.append(client)
        servers.wait_until(lambda: len(listed(desk)) == 8, what="8 sessions")
        rows = listed(desk, "dns/n1")
        for number, client in enumerate(clients):
            row = rows["%s:%d" % client.getsockname()]
            assert (row["service"], row["server"], row["transport"]) == ("dns", "n1", "udp")
            assert row["state"] == ("answered" if number else "unanswered")
            assert (row["bytes_in"], row["bytes_out"]) == (
                (10 + number, 4) if number else (5, 0))
            assert row["idle"] <= row["age"] <= 10
        desk.do("kill", "dns/n1")


def test_many_under_traffic(start_lb4, desk):
    """2,000 that live on, listed again and again while others come and go: each is there."""
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(pools.make(2))
        busy = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b")]
        text = desk.directive + pools.config("127.0.0.1:7001", pool.texts).replace("web", "many")
        text += pools.config(LISTEN, [server.address for server in busy], names=["a", "b"])
        lb4 = start_lb4(["-w", "2"], config=text, debug=False)
        held = hold(stack, N_MANY, "127.0.0.1:7001")
        with drill.Drill(LISTEN, PER_S) as clients:
            for _ in range(10):
                clients.wait_records(len(clients.records) + PER_S // 10)
                rows = listed(desk, "many")
                assert rows.keys() == held.keys()
                assert all(row["server"] == f"s{held[client][1] + 1}"
                           for client, row in rows.items())
                # The kernel may give one port to connections to either listener.
                assert sorted(row["client"] for row in desk.json("show", "connections")
                              if row["service"] == "many") == sorted(held)
        bad = drill.failures(clients.records)
        assert not bad, drill.describe(bad, lb4)


def test_two_at_once_wait_for_each_other(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        held = hold(stack, 3)
        for _ in range(10):
            waiting = [desk.start("show", "connections") for _ in range(6)]
            for process in waiting:
                out, err = process.communicate(timeout=10)
                assert process.returncode == 0 and out.count("\n") == 1 + len(held), err


@pytest.mark.parametrize("word, said", [
    ("wub", "no service 'wub'"), ("web/s9", "no server 's9' in service web"),
    ("wub/s1", "no service 'wub'")])
def test_names_that_are_not_there(start_lb4, desk, pool, word, said):
    start(start_lb4, desk, pool)
    done = desk.run("show", "connections", word)
    assert done.returncode == 1 and said in done.stderr
    if "/" in word:
        done = desk.run("kill", word)
        assert done.returncode == 1 and said in done.stderr


# --- the busiest

PACE_S = 0.01
SLACK = 3  # times that a rate may differ, of machines that are loaded


class Sender:
    """Sends so many bytes each 10 ms on each of these, to a server that only reads. A context."""

    def __init__(self, socks, sizes):
        self.n_sent = [0] * len(socks)
        self.is_ending = False
        self.began = time.monotonic()
        self.thread = threading.Thread(target=self.run, args=(socks, sizes), daemon=True)
        self.thread.start()

    def run(self, socks, sizes):
        while not self.is_ending:
            for index, (sock, size) in enumerate(zip(socks, sizes)):
                sock.sendall(bytes(size))
                self.n_sent[index] += size
            time.sleep(PACE_S)

    def rate(self, index):
        return self.n_sent[index] / (time.monotonic() - self.began)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()


def busiest(desk, count, *words):
    return desk.json("show", "connections", "--busiest", str(count), *words)


def is_near(rate, expected):
    return expected / SLACK < rate < expected * SLACK


def test_busiest(start_lb4, desk, pool):
    start(start_lb4, desk, pool, debug=False)
    with contextlib.ExitStack() as stack:
        held = hold(stack, 60)
        names = list(held)
        socks = [held[name][0] for name in names[10:15]]
        sizes = [100, 500, 8000, 2000, 30]
        with Sender(socks, sizes) as sender:
            def are_right():
                """The first has to look twice, others follow it. Whoever sends may stand still for a
                while on a loaded machine, the order stays."""
                rows = busiest(desk, 4)
                assert [row["client"] for row in rows] == [names[i] for i in (12, 13, 11, 10)]
                for row in rows:
                    for side in "client", "server":
                        assert 0 < row[f"{side}_rtt_us"] < 5e6
                        # The kernel's timers send again on a loaded machine, but not much.
                        assert 0 <= row[f"{side}_retransmits"] < 5
                return all(is_near(row["in_per_s"], sender.rate(index))
                           for row, index in zip(rows, (2, 3, 1, 0)))
            for _ in range(2):
                servers.wait_until(are_right, what="rates of the busiest")
            server = held[names[13]][1]
            rows = busiest(desk, 200, f"web/s{server + 1}")
            assert {row["server"] for row in rows} == {f"s{server + 1}"} and len(rows) == 20
            assert len(busiest(desk, 200)) == 60
        # What counts is what moves now, not what has moved.
        with Sender(socks[4:], [1000]) as sender:
            def is_first():
                first = busiest(desk, 1)[0]
                return first["client"] == names[14] and is_near(first["in_per_s"], sender.rate(0))
            servers.wait_until(is_first, what="the one that moves now")


def test_busiest_for_several_who_look(start_lb4, desk, pool):
    """Each as often as it likes: all are told the same rates."""
    start(start_lb4, desk, pool, debug=False)
    with contextlib.ExitStack() as stack:
        held = hold(stack, 9)
        first = next(iter(held))
        sender = stack.enter_context(Sender([held[first][0]], [4000]))
        busiest(desk, 1)
        shares = {}  # of the true rate that they were told, by how often they look

        def look(period_s):
            shares[period_s] = []
            for _ in range(int(4 / period_s)):
                row, = busiest(desk, 1)
                assert row["client"] == first
                shares[period_s].append(row["in_per_s"] / sender.rate(0))
                time.sleep(period_s)
        threads = [threading.Thread(target=look, args=(period_s,)) for period_s in (0.05, 0.3, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(1 / SLACK < statistics.median(found) < SLACK and len(found) == int(4 / period_s)
                   for period_s, found in shares.items()), shares


def test_busiest_udp(start_lb4, desk):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(udp_drill.UdpServer())
        start_lb4(["-w", "2"], config=desk.directive + f"service dns {{\nlisten udp {LISTEN}\n"
                  f"timeout udp 30s\nserver n1 {server.address}\n}}\n")
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.connect(udp_drill.split(LISTEN))
        client.settimeout(10)
        client.send(bytes(500))
        client.recv(1000)
        row, = busiest(desk, 5)
        assert row["transport"] == "udp"
        for side in "client", "server":
            assert row[f"{side}_rtt_us"] is None and row[f"{side}_retransmits"] is None
        desk.do("kill", "dns/n1")


@pytest.mark.parametrize("words", [["0"], ["201"], ["many"], []])
def test_busiest_how_many(start_lb4, desk, pool, words):
    start(start_lb4, desk, pool)
    done = desk.run("show", "connections", "--busiest", *words)
    assert done.returncode == 1 and "1..200" in done.stderr


# --- kill

def test_kill_resets_both_sides(start_lb4, desk):
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        lb4 = start_lb4(["-w", "2"], config=desk.directive + pools.config(
            LISTEN, ["127.0.0.1:%d" % listener.getsockname()[1]]))
        pairs = []
        for _ in range(5):
            client = stack.enter_context(servers.connect(LISTEN))
            pairs.append((client, stack.enter_context(listener.accept()[0])))
        row, = desk.json("kill", "web/s1")
        assert row == {"service": "web", "server": "s1", "ended": 5}
        for client, server in pairs:
            assert servers.read_end(client) == "rst" and servers.read_end(server) == "rst"
        assert all(entry["reason"] == "admin" for entry in lb4.wait_n_closed("web", 5))
        assert reason_count(desk, "admin") == 5
        lb4.wait_line(r"admin: uid \d+: server web/s1: kill, 5 connections were ended")
        assert desk.json("kill", "web/s1")[0]["ended"] == 0
        again = stack.enter_context(servers.connect(LISTEN))
        stack.enter_context(listener.accept()[0]).sendall(b"it stays in service")
        assert again.recv(100)


def test_kill_leaves_other_servers_alone(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        held = hold(stack, 12)
        assert desk.json("kill", "web/s2")[0]["ended"] == 4
        for sock, index in held.values():
            if index == 1:
                assert servers.read_end(sock) == "rst"
        others = {address for address, (_, index) in held.items() if index != 1}
        assert listed(desk).keys() == others and len(others) == 8
        for address in others:
            held[address][0].sendall(b"alive")
        servers.wait_until(lambda: all(row["bytes_in"] == 5 for row in listed(desk).values()),
                           what="bytes of the others")


def test_kill_ends_udp_sessions(start_lb4, desk):
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(udp_drill.UdpServer())
        lb4 = start_lb4(["-w", "2"], config=desk.directive + f"service dns {{\nlisten udp {LISTEN}"
                        f"\ntimeout udp 30s\nserver n1 {server.address}\n}}\n")
        client = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client.connect(udp_drill.split(LISTEN))
        client.settimeout(10)
        client.send(b"one")
        assert client.recv(100) == b"one"
        assert desk.json("kill", "dns/n1")[0]["ended"] == 1
        assert "reason=admin" in lb4.wait_line("udp session closed")
        assert desk.json("show", "connections") == []
        client.send(b"two")
        assert client.recv(100) == b"two", "a new session"
        desk.do("kill", "dns/n1")


def test_kill_of_a_removed_server(start_lb4, desk, pool):
    """Gone from the configuration, by its name or by its address, and still with connections."""
    lb4 = start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        held = hold(stack, 9)
        spare = stack.enter_context(pools.make(1))
        admin.put_config(lb4, desk.directive + pools.config(
            LISTEN, [spare.texts[0], pool.texts[2]], names=["s1", "s3"]))
        desk.do("reload")
        stack.enter_context(servers.connect(LISTEN))
        assert desk.json("kill", "web/s2")[0]["ended"] == 3
        own = {address for address, (_, index) in held.items() if index == 0}
        assert own <= listed(desk, "web/s1").keys()
        assert desk.json("kill", "web/s1")[0]["ended"] in (3, 4), "of both addresses"
        for sock, index in held.values():
            if index != 2:
                assert servers.read_end(sock) == "rst"
            else:
                sock.sendall(b"alive")
        lb4.wait_line("server web/s2 has gone")
        assert desk.run("kill", "web/s2").returncode == 1
        servers.wait_until(lambda: sum(row["bytes_in"] for row in listed(desk).values()) == 15,
                           what="those of s3 live")


def test_kill_under_load(start_lb4, desk):
    """Clients of the other server notice nothing, and those of this one only resets."""
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(name)) for name in ("a", "b")]
        lb4 = start_lb4(["-w", "2"], config=desk.directive + pools.config(
            LISTEN, [server.address for server in pool], names=["a", "b"]))
        with drill.Drill(LISTEN, PER_S, lambda index: drill.Script(hold_s=0.3)) as clients:
            ended = 0
            for _ in range(10):
                clients.wait_records(len(clients.records) + PER_S // 5)
                ended += desk.json("kill", "web/a")[0]["ended"]
        bad = drill.failures(clients.records)
        lb4.wait_n_closed("web", len(clients.records))
        killed = {entry["client"] for entry in lb4.closed["web"] if entry["reason"] == "admin"}
        assert ended == reason_count(desk, "admin") > 0
        assert {record.source for record in bad} <= killed, drill.describe(bad, lb4)
        assert "b" not in {record.server for record in bad}
