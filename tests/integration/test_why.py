"""lb4ctl why: what it foretells is what the next client gets, under every policy and in every state
of the servers, and the reasons are the true ones."""
import contextlib
import random
import re

import pytest

import namespace
import pools
import servers
import udp_drill

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 50ms timeout 500ms fall 2 rise 2"
CLIENT = "127.0.0.1"
ROUNDS = 40
DOWN, DRAINED, MAINT, BACKUP = 0, 1, 2, 3


@pytest.fixture
def pool():
    with pools.make(8) as pool:
        yield pool


def start(start_lb4, desk, pool, policy, check="check none", options=None):
    text = desk.directive + pools.config(LISTEN, pool.texts, f"balance {policy}", check,
                                         options=options)
    return start_lb4(["-w", "2"], config=text)


def foretell(desk, client=CLIENT, service="web"):
    """The whole answer, after looking at what must always be so."""
    answer = desk.json("why", service, client)
    rows = answer["servers"]
    assert answer["service"] == service and answer["client"] == client and answer["verdict"]
    assert [row["server"] for row in rows if row["odds"] > 0] == answer["candidates"]
    assert all(row["why"] for row in rows)
    for row in rows:
        assert (row["chance"] == "yes") == (row["odds"] > 0.9999)
        assert (row["chance"] == "no") == (row["odds"] == 0)
    if answer["candidates"]:
        assert sum(row["odds"] for row in rows) == pytest.approx(1, abs=0.001)
    return answer


def reasons(desk, client=CLIENT, service="web"):
    return {row["server"]: (row["state"], row["why"])
            for row in foretell(desk, client, service)["servers"]}


def disable_some(desk, pool, lb4):
    """One of each kind that gets nobody; s4 is a backup by its configuration."""
    pool.close(DOWN)
    lb4.wait_line(f"server web/s{DOWN + 1} is DOWN")
    desk.do("drain", f"web/s{DRAINED + 1}")
    desk.do("maint", f"web/s{MAINT + 1}")


OPTIONS = ["", "weight 3", "", "backup", "weight 2", "", "weight 5", ""]


def name_of(index):
    return f"s{index + 1}"


@pytest.mark.parametrize("disables", [False, True], ids=["all-up", "some-away"])
def test_source_exactly(start_lb4, desk, pool, disables):
    lb4 = start(start_lb4, desk, pool, "source", CHECK, OPTIONS)
    if disables:
        disable_some(desk, pool, lb4)
    chance = random.Random(5)
    met = set()
    for _ in range(ROUNDS):
        client = f"127.{chance.randrange(1, 255)}.{chance.randrange(256)}.{chance.randrange(1, 255)}"
        answer = foretell(desk, client)
        got = name_of(pools.ask_name(LISTEN, source=client))
        assert answer["candidates"] == [got], answer
        met.add(got)
        places = sorted(row["score"] for row in answer["servers"])
        assert places == [f"place {i + 1}" for i in range(len(pool.texts))]
    assert len(met) >= 4


@pytest.mark.parametrize("disables", [False, True], ids=["all-up", "some-away"])
def test_leastconn_exactly_without_ties(start_lb4, desk, pool, disables):
    lb4 = start(start_lb4, desk, pool, "leastconn", CHECK, OPTIONS)
    if disables:
        disable_some(desk, pool, lb4)
    n_certain = 0
    with contextlib.ExitStack() as held:
        for _ in range(ROUNDS):
            answer = foretell(desk)
            got = name_of(pools.read_name(held.enter_context(servers.connect(LISTEN))))
            assert got in answer["candidates"], answer
            n_certain += len(answer["candidates"]) == 1
    print(f"{n_certain} of {ROUNDS} without ties")
    assert n_certain >= ROUNDS / 5


@pytest.mark.parametrize("disables", [False, True], ids=["all-up", "some-away"])
def test_roundrobin_exactly(start_lb4, desk, pool, disables):
    lb4 = start(start_lb4, desk, pool, "roundrobin", CHECK, OPTIONS)
    if disables:
        disable_some(desk, pool, lb4)
    for _ in range(ROUNDS):
        assert foretell(desk)["candidates"] == foretell(desk)["candidates"], "it draws a ticket"
        answer = foretell(desk)
        assert answer["candidates"] == [name_of(pools.ask_name(LISTEN))], answer


@pytest.mark.parametrize("disables", [False, True], ids=["all-up", "some-away"])
def test_random_is_one_of_the_likely(start_lb4, desk, pool, disables):
    lb4 = start(start_lb4, desk, pool, "random", CHECK, OPTIONS)
    if disables:
        disable_some(desk, pool, lb4)
    with contextlib.ExitStack() as held:
        for _ in range(ROUNDS):
            answer = foretell(desk)
            got = name_of(pools.read_name(held.enter_context(servers.connect(LISTEN))))
            assert got in answer["candidates"], answer
            if disables:
                assert not {"s1", "s2", "s3", "s4"} & set(answer["candidates"])


def test_it_takes_no_place(start_lb4, desk, pool):
    start(start_lb4, desk, pool, "leastconn")
    for _ in range(10):
        foretell(desk)
    assert all(row["active"] == 0 for row in foretell(desk)["servers"])


def test_reasons_of_those_that_are_away(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, "leastconn", CHECK, OPTIONS)
    disable_some(desk, pool, lb4)
    told = reasons(desk)
    assert told["s1"][0] == "down" and re.match("down: connection refused", told["s1"][1])
    assert told["s2"][0] == "drain" and re.match(r"draining: drain, by uid \d+$", told["s2"][1])
    assert told["s3"][0] == "maint"
    assert re.match(r"in maintenance: maint, by uid \d+$", told["s3"][1])
    assert told["s4"] == ("up", "backup: not while a primary is up")
    assert told["s7"] == ("up", "the least loaded")
    assert told["s5"] == ("up", "more loaded than s7")


def test_backups_when_no_primary_is_up(start_lb4, desk, pool):
    start(start_lb4, desk, pool, "leastconn", options=["", *["backup"] * 7])
    desk.do("drain", "web/s1")
    answer = foretell(desk)
    assert len(answer["candidates"]) == 7
    assert answer["servers"][1]["why"].startswith("backup, and no primary is up: as little loaded")
    assert name_of(pools.ask_name(LISTEN)) in answer["candidates"]


def test_suspects_come_last(start_lb4, desk, pool):
    """Without probes: the one that refused a client is kept back, and used when all others go."""
    start(start_lb4, desk, pool, "source")
    pool.close(0)
    chance = random.Random(6)
    client = next(client for client in (f"127.8.1.{chance.randrange(1, 255)}" for _ in range(500))
                  if foretell(desk, client)["candidates"] == ["s1"])
    got = name_of(pools.ask_name(LISTEN, source=client))
    answer = foretell(desk, client)
    assert answer["candidates"] == [got] != ["s1"]
    assert answer["servers"][0]["state"] == "suspect"
    assert answer["servers"][0]["why"].startswith("suspect, only if there is nobody above")
    for index in range(1, 8):
        desk.do("drain", f"web/{name_of(index)}")
    answer = foretell(desk, client)
    assert answer["candidates"] == ["s1"]
    assert answer["servers"][0]["why"].startswith("suspect, but there is nobody else: ")


def test_nobody_is_left(start_lb4, desk, pool):
    start(start_lb4, desk, pool, "roundrobin")
    for index in range(8):
        desk.do("maint", f"web/{name_of(index)}")
    answer = foretell(desk)
    assert answer["candidates"] == []
    assert answer["verdict"] == [
        "Nobody would be taken: none of 8 servers takes clients. A connection is reset."]
    with pytest.raises(ConnectionError):
        pools.ask_name(LISTEN)


def test_for_people(start_lb4, desk, pool):
    """Sentences, then an aligned table."""
    start(start_lb4, desk, pool, "roundrobin")
    first, second, names, *rows = desk.do("why", "web", "127.0.0.1:1234").splitlines()
    assert first == "Service web, roundrobin, client 127.0.0.1:1234:"
    assert second.startswith("The next connection would go to s")
    assert names.split() == ["SERVER", "ADDRESS", "STATE", "SINCE", "WEIGHT", "ACTIVE", "SCORE",
                             "CHANCE", "WHY"]
    assert len(rows) == 8 and all("\t" not in row for row in rows)
    assert len({row.index("127.0.0.1:") for row in rows}) == 1


def test_mistakes(start_lb4, desk, pool):
    start(start_lb4, desk, pool, "roundrobin")
    assert "no service 'nobody'" in desk.run("why", "nobody", CLIENT).stderr
    assert "is not the address of a client: 10.0.0.9," in desk.run("why", "web", "here").stderr
    assert "usage: why SERVICE CLIENT-ADDRESS" in desk.run("why", "web").stderr


# --- UDP

PROBE = 'check send "ping" expect "|ping" interval 100ms timeout 500ms fall 2 rise 1 fast 100ms'


def test_sessions_stay_until_their_server_is_down(start_lb4, desk):
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(udp_drill.UdpProcess(name, namespace.take_port()))
                     for name in ("s1", "s2", "s3")]
        lines = ["service u {", f"    listen udp {LISTEN}", "balance roundrobin", PROBE,
                 *(f"server {p.name} {p.address}" for p in processes)]
        lb4 = start_lb4(["-w", "2"], config=desk.directive + "\n    ".join(lines) + "\n}\n")
        with udp_drill.Flows(LISTEN, 3) as flows:
            assert flows.round() == 0
            for flow, sock in enumerate(flows.socks):
                client = udp_drill.join(*sock.getsockname()[:2])
                server = flows.last[flow][0]
                answer = foretell(desk, client, "u")
                said = f"The UDP session of {client} is on {server} (up) and stays there."
                assert answer["verdict"][1:] == [said], answer
                assert flows.round() == 0 and flows.last[flow][0] == server
            # Any port of the host.
            assert len(foretell(desk, CLIENT, "u")["verdict"]) == 4
            other = foretell(desk, "127.0.0.77", "u")
            assert other["verdict"][1].startswith("The client has no UDP session")

            client = udp_drill.join(*flows.socks[0].getsockname()[:2])
            server = flows.last[0][0]
            processes[int(server[1]) - 1].kill()
            lb4.wait_line(f"server u/{server} is DOWN")
            answer = foretell(desk, client, "u")
            said = (f"The UDP session of {client} is on {server}, which is down: its next datagram"
                    " is a new choice.")
            assert answer["verdict"][1:] == [said], answer
            flows.send(0)
            while not flows.is_answered(0):
                assert flows.collect(5)
            assert [flows.last[0][0]] == answer["candidates"]
        lb4.finish(checks_descriptors=False)


def test_more_sessions_than_a_piece_of_the_list(start_lb4, desk):
    """The list of sessions comes piece by piece."""
    with udp_drill.UdpProcess("s1", namespace.take_port()) as server:
        lb4 = start_lb4(["-w", "1"], config=(
            f"{desk.directive}service u {{\n    listen udp {LISTEN}\n    timeout udp 2s\n"
            f"    server s1 {server.address}\n}}\n"))
        with udp_drill.Flows(LISTEN, 2100) as flows:
            for flow in range(len(flows)):
                flows.send(flow)
                if flow % 50 == 0:
                    flows.collect(0)
            udp_drill.wait_totals(lb4, "u", lambda t: t["active"] > 2048, what="many sessions")
            client = udp_drill.join(*flows.socks[-1].getsockname()[:2])
            assert len(foretell(desk, client, "u")["verdict"]) == 2
        lb4.finish(checks_descriptors=False)
