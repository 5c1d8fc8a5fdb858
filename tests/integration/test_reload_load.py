"""Many reloads, each with a real edit, while clients come, transfer and ask: nobody notices, and each
edit counts."""
import contextlib
import random
import time

import pytest

import daemon
import drill
import namespace
import reloading
import servers
import udp_drill

WEB, MORE, LONG, DNS = (f"127.0.0.1:{7000 + i}" for i in range(4))
CHECK = "check tcp interval 500ms timeout 500ms"

GROWN_MAX = 4 << 20  # of some hundred connections at a time, and the allocator's

pytestmark = pytest.mark.serial


class Edits:
    """A configuration under way: step() edits it in one of many ways and tells the line that lb4 is
    to write about it. u1, u2, l1, l2 and the listeners WEB, LONG and DNS always stay as they are."""

    def __init__(self, web, udp, long, seed):
        self.random = random.Random(seed)
        self.spare = dict(zip(("s4", "s5", "s6"), web[3:]))
        self.web = {f"s{i + 1}": [address, 1] for i, address in enumerate(web[:3])}
        self.all_udp = {server.name: server.address for server in udp}
        self.udp = dict(list(self.all_udp.items())[:3])
        self.long = {server.name: server.address for server in long}
        self.words = {"tries": 3, "timeout idle": "1h", "timeout connect": "3s"}
        self.policy = "roundrobin"
        self.listens = [f"tcp {WEB}"]
        self.extra = None

    def text(self):
        web = [(name, address, f"weight {weight}") for name, (address, weight) in self.web.items()]
        long = list(self.long.items())
        words = [f"{word} {value}" for word, value in self.words.items()]
        text = reloading.service("web", self.listens, web, CHECK, f"balance {self.policy}", *words)
        text += reloading.service("dns", [f"udp {DNS}"], list(self.udp.items()), "check none",
                                  "timeout udp 2s", words[0])
        text += reloading.service("long", [f"tcp {LONG}"], long, CHECK, *words[:1])
        if self.extra:
            text += reloading.service("extra", [f"tcp 127.0.0.1:{self.extra}"], web)
        return "drain 100ms\n" + text

    def step(self):
        kinds = [self.toggle_server, self.move_server, self.weigh, self.shuffle_and_try, self.idle,
                 self.balance, self.toggle_listener, self.toggle_service, self.toggle_udp]
        return self.random.choice(kinds)()

    def toggle_server(self):
        name = self.random.choice(list(self.spare))
        if name in self.web:
            address, _ = self.web.pop(name)
            return f"- server web/{name} {address}"
        self.web[name] = [self.spare[name], 1]
        return f"+ server web/{name} {self.spare[name]}"

    def move_server(self):
        """s3 takes the address of a spare, and the spare the one of s3."""
        before = self.web["s3"][0]
        other = self.random.choice([name for name in self.spare if name not in self.web] or ["s4"])
        self.web.pop(other, None)
        self.web["s3"][0], self.spare[other] = self.spare[other], before
        return f"~ address web/s3 {before} -> {self.web['s3'][0]}"

    def weigh(self):
        name = self.random.choice(list(self.web))
        before = self.web[name][1]
        self.web[name][1] = before % 4 + 1
        return f"~ weight web/{name} {before} -> {before % 4 + 1}"

    def shuffle_and_try(self):
        items = list(self.web.items())
        self.random.shuffle(items)
        self.web = dict(items)
        before = self.words["tries"]
        self.words["tries"] = before % 9 + 1
        return f"~ tries of web {before} -> {before % 9 + 1}"

    def idle(self):
        before = self.words["timeout idle"]
        after = f"{self.random.randrange(61, 90)}m"
        if after == before:
            return self.weigh()
        self.words["timeout idle"] = after
        return f"~ timeout idle of web {before} -> {after}"

    def balance(self):
        before = self.policy
        self.policy = self.random.choice(
            [p for p in ("leastconn", "roundrobin", "source", "random") if p != before])
        return f"~ balance of web {before} -> {self.policy}"

    def toggle_listener(self):
        listen = f"tcp {MORE}"
        if listen in self.listens:
            self.listens.remove(listen)
            return f"- listener {listen} of web"
        self.listens.append(listen)
        return f"+ listener {listen} of web"

    def toggle_service(self):
        if self.extra:
            self.extra = None
            return "- service extra"
        self.extra = self.random.randrange(8000, 8010)
        return "+ service extra"

    def toggle_udp(self):
        if "u4" in self.udp:
            return f"- server dns/u4 {self.udp.pop('u4')}"
        self.udp["u4"] = self.all_udp["u4"]
        return f"+ server dns/u4 {self.udp['u4']}"


def share(lb4, names, count):
    """How `count` new clients spread, by lb4's counters."""
    before = reloading.sums(lb4)
    for _ in range(count):
        with servers.connect(WEB) as sock:
            sock.sendall(bytes(64))
            assert sock.recv(64)
    after = reloading.sums(lb4)
    return [after["server", f"web/{name}"]["total"] - before["server", f"web/{name}"]["total"]
            for name in names]


def is_open(address):
    try:
        servers.connect(address).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def surroundings(n_long):
    with contextlib.ExitStack() as stack:
        answers = stack.enter_context(reloading.Answers(6, namespace.take_port))
        udp = [stack.enter_context(reloading.PortServer(f"u{i + 1}")) for i in range(4)]
        long = [stack.enter_context(servers.ServerProcess(f"l{i + 1}")) for i in range(2)]
        yield answers, udp, long


def test_reloads_under_load(start_lb4, is_full):
    n_reloads, pause_s, n_long, n_flows = (100, 0.9, 200, 500) if is_full else (12, 0.2, 50, 100)
    seconds = n_reloads * (pause_s + 0.3) + 5
    if daemon.IS_SANITIZED:
        n_flows = 100
    with surroundings(n_long) as (answers, udp, long):
        edits = Edits(answers.addresses, udp, long, seed=5)
        first = edits.text()
        lb4, file = reloading.start(start_lb4, first, debug=False)
        shares = share(lb4, ["s1", "s2", "s3"], 60)
        names = [("server", f"web/s{i}") for i in (1, 2, 3)]
        names += [("server", "long/l1"), ("server", "long/l2"), ("server", "dns/u1"),
                  ("service", "web"), ("service", "long")]
        with reloading.Transfers(LONG, n_long) as transfers, \
                udp_drill.Flows(DNS, n_flows) as flows:
            assert flows.round() == 0
            homes = [last[0] for last in flows.last]
            load = reloading.start_connections(WEB, seconds)
            try:
                before = reloading.sums(lb4)
                for number in range(n_reloads):
                    expected = edits.step()
                    file.change(edits.text(), expected)
                    assert is_open(MORE) == (f"tcp {MORE}" in edits.listens)
                    if edits.extra:
                        assert is_open(f"127.0.0.1:{edits.extra}")
                    check_flows(flows, homes)
                    if number % 10 == 0 or not is_full:
                        now = reloading.sums(lb4)
                        reloading.assert_monotone(before, now, names)
                        before = now
                    time.sleep(pause_s)
                file.change(first)
                check_flows(flows, homes)
            finally:
                figures = reloading.end_connections(load, seconds)
            assert transfers.problems == [] and transfers.n_rounds > n_reloads / 10
        print(figures, f"{figures['units'] / figures['seconds']:.0f} connections/s")
        assert figures["errors"] == 0
        assert share(lb4, ["s1", "s2", "s3"], 60) == shares == [20, 20, 20]
        reloading.assert_monotone(before, reloading.sums(lb4), names)
        usage = lb4.usage()
        print(f"{usage.cpu_s:.1f} s of CPU")


def check_flows(flows, homes):
    """Those of u1, u2 and u3 come from the same port as ever; who was on u4 may move."""
    assert flows.round() == 0
    moved = [(home, last[0]) for home, last in zip(homes, flows.last)
             if home != last[0] and not home.startswith("u4:")]
    assert not moved, moved[:5]
    homes[:] = [last[0] for last in flows.last]


def test_a_server_comes_and_goes(start_lb4, is_full):
    """As fast as reloads go, with connections on it (F45, F46)."""
    seconds = 60 if is_full else 3
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(servers.ServerProcess(f"s{i + 1}")) for i in range(3)]

        def text(*members):
            return reloading.service("web", [f"tcp {WEB}"],
                                     [(server.name, server.address) for server in members], CHECK)
        lb4, file = reloading.start(start_lb4, text(*pool[:2]), debug=False)
        for _ in range(5):
            file.change(text(*pool))
            file.change(text(*pool[:2]))
        rss = lb4.rss_bytes()
        with drill.Drill(WEB, 500 if not daemon.IS_SANITIZED else 200,
                         lambda i: drill.Script(hold_s=(0, 0, 0.05, 0.3)[i % 4])) as clients:
            until = time.monotonic() + seconds
            n = 0
            while time.monotonic() < until:
                file.change(text(*pool), f"+ server web/s3 {pool[2].address}")
                file.change(text(*pool[:2]), f"- server web/s3 {pool[2].address}")
                n += 2
        failed = drill.failures(clients.records)
        print(f"{n} reloads in {seconds} s, {len(clients.records)} clients")
        assert not failed, drill.describe(failed, lb4)
        assert n > seconds * (20 if not daemon.IS_SANITIZED else 4)
        assert any(record.server == "s3" for record in clients.records)
        servers.wait_until(
            lambda: ("server", "web/s3") not in reloading.sums(lb4), 10, "s3 has gone")
        grown = lb4.rss_bytes() - rss
        print(f"{grown // 1024} KiB more than before")
        assert daemon.IS_SANITIZED or grown < GROWN_MAX
