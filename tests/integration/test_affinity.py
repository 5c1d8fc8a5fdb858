"""affinity source: a client's next connection goes where its last one went, by its address alone,
over all workers; it moves when that server cannot have it, and stays where it went."""
import collections
import concurrent.futures
import contextlib
import select
import socket

import pytest

import namespace
import pools
import reloading
import servers
import web

pytestmark = pytest.mark.patient

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 50ms timeout 500ms fall 2 rise 2"
N_SERVERS = 4
N_CLIENTS = 60
N_EACH = 8
POLICIES = ["leastconn", "roundrobin", "source", "random"]


def addresses(count=N_CLIENTS):
    return [f"127.9.{i // 250}.{i % 250 + 1}" for i in range(count)]


@pytest.fixture
def pool():
    with pools.make(N_SERVERS) as pool:
        yield pool


def text_of(desk, pool, *words, options=None, affinity="affinity source 60s", listen=LISTEN):
    return desk.directive + pools.config(listen, pool.texts, *words, *([affinity] * bool(affinity)),
                                         options=options)


def start(start_lb4, desk, pool, *words, workers=4, **options):
    return start_lb4(["-w", str(workers)], config=text_of(desk, pool, *words, **options))


def place(client):
    return pools.ask_name(LISTEN, client)


def places(clients):
    return {client: place(client) for client in clients}


@contextlib.contextmanager
def held(client):
    """A connection from this address; its server."""
    with servers.connect(LISTEN, source=(client, 0)) as sock:
        yield pools.read_name(sock)


def figures(lb4, name):
    """{result or "": number} of the service."""
    found = {}
    for line in web.get(lb4.http, "/metrics").splitlines():
        if line.startswith(f"{name}{{"):
            labels, number = line.rsplit(" ", 1)
            result = labels.split('result="')[1].split('"')[0] if "result=" in labels else ""
            found[result] = float(number)
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_clients_land_together(start_lb4, desk, pool, policy):
    """Of each client several at once, from its first on: whichever worker accepts them."""
    lb4 = start(start_lb4, desk, pool, f"balance {policy}")
    clients = addresses()
    with concurrent.futures.ThreadPoolExecutor(32) as crowd:
        came = list(crowd.map(lambda client: (client, place(client)), clients * N_EACH))
    for client in clients:
        assert len({index for name, index in came if name == client}) == 1, client
    spread = collections.Counter(index for _, index in came)
    print(dict(spread))
    assert len(spread) == N_SERVERS
    counts = figures(lb4, "lb4_affinity_total")
    assert counts == {"new": N_CLIENTS, "kept": N_CLIENTS * (N_EACH - 1), "moved": 0}
    assert figures(lb4, "lb4_affinity_entries") == {"": N_CLIENTS}


def test_without_it_they_do_not(start_lb4, desk, pool):
    start(start_lb4, desk, pool, "balance roundrobin", affinity=None)
    assert {place("127.9.0.1") for _ in range(N_SERVERS)} == set(range(N_SERVERS))
    assert "Affinity" not in desk.do("why", "web", "127.9.0.1")


def test_it_ends(start_lb4, desk, pool):
    """Some time after the last begin; while there is a connection it does not."""
    start(start_lb4, desk, pool, "balance roundrobin", affinity="affinity source 200ms")
    with held("127.9.0.1") as first:
        servers.wait_until(lambda: "for 0 s more, and while" in desk.do("why", "web", "127.9.0.1"))
        assert place("127.9.0.1") == first
    servers.wait_until(lambda: "nothing is known" in desk.do("why", "web", "127.9.0.1"))
    assert place("127.9.0.1") == (first + 1) % N_SERVERS


def test_a_server_goes_down(start_lb4, desk, pool):
    """Its clients move, once; those of others do not, and nobody comes back."""
    lb4 = start(start_lb4, desk, pool, "balance roundrobin", CHECK)
    before = places(addresses())
    pool.close(0)
    during = places(addresses())  # some by a connect that fails
    lb4.wait_line("server web/s1 is DOWN")
    assert 0 not in during.values()
    assert all(during[client] == index for client, index in before.items() if index)
    assert places(addresses()) == during
    pool.open(0)
    lb4.wait_line("server web/s1 is UP")
    assert places(addresses()) == during
    assert figures(lb4, "lb4_affinity_total")["moved"] >= sum(i == 0 for i in before.values())


@pytest.mark.parametrize("wish", ["drain", "maint"])
def test_an_operator_takes_a_server_out(start_lb4, desk, pool, wish):
    start(start_lb4, desk, pool, "balance roundrobin")
    client = "127.9.0.1"
    with held(client) as first:
        desk.do(wish, f"web/s{first + 1}")
        said = desk.do("why", "web", client)
        assert f"s{first + 1}, where the client's last one went, takes no new clients" in said
        second = place(client)
        assert second != first
        desk.do("ready", f"web/s{first + 1}")
        assert place(client) == second


def test_drain_waits_for_nobody_new(start_lb4, desk, pool):
    """A client that comes again and again does not keep a server from running empty."""
    start(start_lb4, desk, pool, "balance roundrobin")
    with held("127.9.0.1") as first:
        waiter = desk.start("drain", f"web/s{first + 1}", "--wait", "20s")
        servers.wait_until(lambda: desk.server(f"web/s{first + 1}")["state"] == "drain")
        for _ in range(10):
            assert place("127.9.0.1") != first
    assert waiter.wait(30) == 0, waiter.communicate()


def test_a_backup_and_a_suspect_hold_nobody(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, "balance leastconn", CHECK,
                options=["", "backup", "backup", "backup"])
    assert place("127.9.0.1") == 0
    pool.close(0)
    second = place("127.9.0.1")
    lb4.wait_line("server web/s1 is DOWN")
    assert second != 0 and place("127.9.0.1") == second
    pool.open(0)
    lb4.wait_line("server web/s1 is UP")
    assert place("127.9.0.1") == 0


def test_kill_forgets(start_lb4, desk, pool):
    """Else clients of a rebalance would come back to where they were."""
    lb4 = start(start_lb4, desk, pool, "balance roundrobin")
    with held("127.9.0.1") as first:
        desk.do("kill", f"web/s{first + 1}")
        lb4.wait_n_closed("web", 1)
        assert "was left by an operator's wish" in desk.do("why", "web", "127.9.0.1")
        assert place("127.9.0.1") == (first + 1) % N_SERVERS


def test_rebalance(start_lb4, desk, pool):
    """Who is sent away goes where there is room, and stays there; the others stay."""
    lb4 = start(start_lb4, desk, pool, "balance leastconn", CHECK)
    for index in range(1, N_SERVERS):
        pool.close(index)
        lb4.wait_line(f"server web/s{index + 1} is DOWN")
    clients = addresses(40)
    with contextlib.ExitStack() as stack:
        def come(client):
            sock = stack.enter_context(servers.connect(LISTEN, source=(client, 0)))
            assert pools.read_name(sock) is not None
            return sock

        socks = {come(client): client for client in clients}
        for index in range(1, N_SERVERS):
            pool.open(index)
            lb4.wait_line(f"server web/s{index + 1} is UP")
        desk.do("rebalance", "web", "--over", "1s")
        n_back = 0
        while not any("connections were ended" in line for line in lb4.lines):
            ended, _, _ = select.select(list(socks), [], [], 0.05)
            for sock in ended:
                n_back += 1
                client = socks.pop(sock)
                socks[come(client)] = client
        spread = [desk.server(f"web/s{i + 1}")["active"] for i in range(N_SERVERS)]
        print(f"{n_back} came again; now {spread}")
        assert sum(spread) == 40 and max(spread) <= 12


def test_a_full_server(start_lb4, desk, pool):
    """A client goes elsewhere rather than to wait, and stays there."""
    start(start_lb4, desk, pool, "balance leastconn", options=["maxconn 1"] * N_SERVERS)
    with held("127.9.0.1") as first:
        with held("127.9.0.1") as second:
            assert second != first
            said = desk.do("why", "web", "127.9.0.1")
            assert f"s{second + 1}, where the client's last one went, is full" in said
        servers.wait_until(lambda: desk.server(f"web/s{second + 1}")["active"] == 0)
        assert place("127.9.0.1") == second


def test_prefixes_share(start_lb4, desk, pool):
    """Neighbours of one network are one client."""
    start(start_lb4, desk, pool, "balance roundrobin",
          affinity="affinity source 60s prefix4 24 prefix6 64")
    assert len({place(f"127.9.1.{i}") for i in range(1, 40)}) == 1
    assert len({place(f"127.9.{i}.1") for i in range(2, 2 + N_SERVERS)}) == N_SERVERS


def test_both_families(start_lb4, desk, pool):
    """One listener for both; an IPv4 client is the same by either socket."""
    port = namespace.take_port()
    for i in range(1, 9):
        namespace.add_address(f"fd00:9::{i}")
    start(start_lb4, desk, pool, "balance roundrobin", listen=f":{port}")
    for i in range(1, 9):
        got = {pools.ask_name(f"[::1]:{port}", f"fd00:9::{i}") for _ in range(4)}
        assert len(got) == 1
    assert len({pools.ask_name(f"[::1]:{port}", f"fd00:9::{i}") for i in range(1, 9)}) > 1
    assert len({pools.ask_name(f"127.0.0.1:{port}", "127.9.0.7") for _ in range(4)}) == 1


def test_reload(start_lb4, desk, pool):
    """It may be turned on and off and changed; a server that is gone, or comes back, is another."""
    def text(affinity="affinity source 60s", without=None):
        whole = text_of(desk, pool, "balance roundrobin", "check none", affinity=affinity)
        return "".join(line for line in whole.splitlines(keepends=True)
                       if without is None or f"server s{without + 1} " not in line)

    _, file = reloading.start(start_lb4, text(None))
    client = "127.9.0.1"
    shown = "affinity source 1m prefix4 32 prefix6 128 of web"
    file.change(text(), f"+ {shown}")
    first = place(client)
    assert [place(client) for _ in range(5)] == [first] * 5
    file.change(text("affinity source 50s"))
    assert place(client) == first
    file.change(text(without=first))
    second = place(client)
    assert second != first
    file.change(text())
    assert [place(client) for _ in range(5)] == [second] * 5
    with held(client):
        file.change(text(None), f"- {shown}")
        assert {place(client) for _ in range(N_SERVERS)} == set(range(N_SERVERS))
        file.change(text())
    third = place(client)
    assert [place(client) for _ in range(5)] == [third] * 5


def test_defaults(start_lb4, desk, pool):
    """Of all services that say nothing else."""
    other = pools.config("127.0.0.1:7001", pool.texts, "balance roundrobin", "affinity off")
    text = ("defaults {\n    affinity source 60s\n}\n" +
            text_of(desk, pool, "balance roundrobin", affinity=None) +
            other.replace("service web", "service other"))
    start_lb4(config=text)
    assert len({place("127.9.0.1") for _ in range(N_SERVERS)}) == 1
    assert len({pools.ask_name("127.0.0.1:7001", "127.9.0.1") for _ in range(N_SERVERS)}) > 1


def test_why_foretells(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, "balance roundrobin")
    assert "nothing is known" in desk.do("why", "web", "127.9.0.1")
    with held("127.9.0.1") as first:
        place("127.9.0.2")
        for _ in range(3):  # it does not disturb
            answer = desk.json("why", "web", "127.9.0.1")
            assert answer["candidates"] == [f"s{first + 1}"]
            assert f"stays with s{first + 1}, for " in answer["verdict"][0]
            assert answer["verdict"][0].endswith("and while it has any of its 1.")
            whys = {row["server"]: row["why"] for row in answer["servers"]}
            assert whys.pop(f"s{first + 1}") == "affinity: the client's last one went there"
            assert set(whys.values()) == {f"affinity: the client goes to s{first + 1}"}
        assert place("127.9.0.1") == first
    service, = web.status(lb4.http)["services"]
    assert service["affinity"] == {"lasts_ms": 60000, "clients": 2, "kept": 1, "moved": 0, "new": 2}


def test_udp_sessions(start_lb4, desk):
    """Sessions of one address, from ports of their own, are held like connections."""
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(N_SERVERS):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            socks.append(sock)
        lines = "".join(f"    server s{i + 1} 127.0.0.1:{sock.getsockname()[1]}\n"
                        for i, sock in enumerate(socks))
        start_lb4(["-w", "4"], config=f"""{desk.directive}service web {{
    listen udp {LISTEN}
    balance roundrobin
    affinity source 60s
    timeout udp 3s
{lines}}}
""")

        def ask(client):
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.bind((client, 0))
            host, port = LISTEN.split(":")
            sender.sendto(b"x", (host, int(port)))
            found, _, _ = select.select(socks, [], [], servers.ECHO_LIMIT_S)
            assert len(found) == 1
            found[0].recvfrom(16)
            return socks.index(found[0])

        got = {client: [ask(client) for _ in range(4)] for client in addresses(6)}
        assert all(len(set(indices)) == 1 for indices in got.values()), got
        assert len({indices[0] for indices in got.values()}) == N_SERVERS
        assert "while it has any of its 4" in desk.do("why", "web", "127.9.0.1")
