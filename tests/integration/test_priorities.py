"""priority, backup, on-up, and all-down any: who serves when some or all are down, and what becomes
of those who were with a lower one."""
import time

import pytest

import admin
import drill
import farewells
import namespace
import pools
import servers

pytestmark = pytest.mark.patient

POLICIES = ["leastconn", "roundrobin", "source", "random"]
OPTIONS = ["priority 1", "priority 2", "backup"]
N = 12
FRESH_S = 2.0  # from UP until it is taken for one that is back for good


@pytest.fixture
def pool():
    with farewells.make(3) as pool:
        yield pool


def start(start_lb4, desk, pool, *words, options=OPTIONS):
    text = desk.directive + farewells.config(pool, *words, options=options)
    return start_lb4(["-w", "2"], config=text)


def check_served_by(desk, name, n_clients=6):
    """And so it was foretold."""
    answer = desk.json("why", "web", "127.0.0.1")
    assert answer["candidates"] == [name], answer
    names = {f"s{pools.ask_name(farewells.LISTEN) + 1}" for _ in range(n_clients)}
    assert names == {name}
    return {row["server"]: row["why"] for row in answer["servers"]}


@pytest.mark.parametrize("policy", POLICIES)
def test_chain(start_lb4, desk, pool, policy):
    lb4 = start(start_lb4, desk, pool, farewells.CHECK, f"balance {policy}")
    assert [row["priority"] for row in desk.json("show", "servers", "web")] == [1, 2, 1]
    why = check_served_by(desk, "s1")
    assert why["s2"] == "priority 2: not while one before it is up"
    assert why["s3"] == "backup: not while a primary is up"
    pool.close(0)
    lb4.wait_line("server web/s1 is DOWN")
    assert check_served_by(desk, "s2")["s2"].startswith("priority 2, and nobody before it is up: ")
    pool.close(1)
    lb4.wait_line("server web/s2 is DOWN")
    assert check_served_by(desk, "s3")["s3"].startswith("backup, and no primary is up: ")
    pool.open(1)
    lb4.wait_line("server web/s2 is UP")
    check_served_by(desk, "s2")
    pool.open(0)
    lb4.wait_line("server web/s1 is UP")
    check_served_by(desk, "s1")


def test_a_reload_changes_priorities(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, "check none")
    check_served_by(desk, "s1")
    admin.put_config(lb4, desk.directive + farewells.config(
        pool, "check none", options=["priority 16", "priority 2", "backup"]))
    changes = desk.do("reload")
    assert "~ priority web/s1 1 -> 16" in changes, changes
    check_served_by(desk, "s2")


def fail_over(lb4, pool, held):
    """All of `held` go to s2, as s1 is down; s1 comes back. Returns the time when it was up."""
    pool.close(0)
    lb4.wait_line("server web/s1 is DOWN")
    held.add(N)
    assert len(held.of(1)) == N
    pool.open(0)
    return drill.log_seconds(lb4.wait_line("server web/s1 is UP"))


def ends_at(lb4, reason):
    return [drill.log_seconds(line) for line in lb4.lines if f"reason={reason} " in line + " "]


@pytest.mark.parametrize("words, wait_s", [(["on-up reset"], 0), (["on-up drain 1s"], 1)],
                         ids=["reset", "drain"])
def test_on_up(start_lb4, desk, pool, words, wait_s):
    """Once the better one has been chosen for a while; reason admin, to both ends."""
    lb4 = start(start_lb4, desk, pool, farewells.CHECK, *words)
    with farewells.Held() as held:
        up = fail_over(lb4, pool, held)
        assert held.read_ends(1) == ["rst"] * N
        servers.wait_until(lambda: pool.ends[1].count("rst") == N, what="resets at the server")
        lb4.wait_n_closed("web", N)
        after = [at - up for at in ends_at(lb4, "admin")]
        print(f"reset {min(after):.2f} to {max(after):.2f} s after UP")
        assert len(after) == N
        assert min(after) >= FRESH_S + wait_s - 0.005
        assert max(after) <= FRESH_S + wait_s + drill.bar(0.05, 10)
        held.add(2)
        assert len(held.of(0)) == 2
    lb4.wait_n_closed("web", N + 2)


def test_on_up_keeps_by_default(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, farewells.CHECK)
    with farewells.Held() as held:
        fail_over(lb4, pool, held)
        until = time.monotonic() + FRESH_S + 0.5
        servers.wait_until(lambda: time.monotonic() > until, what="the time of a reset")
        assert held.count_open(1) == N


def test_on_up_waits_for_one_that_stays(start_lb4, desk, pool):
    """The better one fails again before its time: nobody is sent away."""
    lb4 = start(start_lb4, desk, pool, farewells.CHECK, "on-up drain 1s")
    with farewells.Held() as held:
        fail_over(lb4, pool, held)
        servers.wait_until(lambda: "reset in" in desk.server("web/s2")["why"], what="the drain")
        n_lines = len(lb4.lines)
        pool.close(0)
        lb4.wait_line("server web/s1 (is DOWN|is flapping)", start=n_lines)
        assert "reset in" not in desk.server("web/s2")["why"]
        until = time.monotonic() + 1.2
        servers.wait_until(lambda: time.monotonic() > until, what="the time of a reset")
        assert held.count_open(1) == N


def test_on_up_after_maintenance_without_probes(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool, "check none", "on-up reset")
    desk.do("maint", "web/s1")
    with farewells.Held() as held:
        held.add(N)
        assert len(held.of(1)) == N
        desk.do("ready", "web/s1")
        assert held.read_ends(1) == ["rst"] * N
    lb4.wait_line(r"s2: better ones are back \(on-up\): 12 connections were reset")


# --- all-down any


def start_all_down(start_lb4, desk, pool, *words):
    """Nothing answers the probes, but all servers serve."""
    check = farewells.CHECK + f" port {namespace.take_port()}"
    lb4 = start(start_lb4, desk, pool, check, *words)
    for row in desk.json("show", "servers", "web"):
        assert row["state"] == "down"
    return lb4


@pytest.mark.parametrize("policy", POLICIES)
def test_all_down_any(start_lb4, desk, pool, policy):
    """In the order of their ranks; nobody whom the operator took out."""
    lb4 = start_all_down(start_lb4, desk, pool, "all-down any", f"balance {policy}")
    lb4.wait_line(r"no server is up, clients are sent to those that are down, as a last resort")
    answer = desk.json("why", "web", "127.0.0.1")
    assert "as a last resort (all-down any)" in answer["verdict"][0]
    assert check_served_by(desk, "s1")["s1"].startswith("down, but nobody is usable: ")
    desk.do("maint", "web/s1")
    check_served_by(desk, "s2")
    desk.do("drain", "web/s2")
    check_served_by(desk, "s3")
    desk.do("drain", "web/s3")
    answer = desk.json("why", "web", "127.0.0.1")
    assert answer["candidates"] == []
    assert servers.connect_end(farewells.LISTEN)[0] == "rst"


def test_all_down_any_asks_one_after_the_other(start_lb4, desk, pool):
    lb4 = start_all_down(start_lb4, desk, pool, "all-down any")
    pool.close(0)
    assert pools.ask_name(farewells.LISTEN) == 1
    pool.close(1)
    assert pools.ask_name(farewells.LISTEN) == 2
    pool.close(2)
    assert servers.connect_end(farewells.LISTEN)[0] == "rst"
    reasons = [end["reason"] for end in lb4.wait_n_closed("web", 3)]  # of two workers, in any order
    assert reasons.count("connect_failed") == 1


def test_all_down_refuse_is_the_default(start_lb4, desk, pool):
    lb4 = start_all_down(start_lb4, desk, pool)
    assert servers.connect_end(farewells.LISTEN)[0] == "rst"
    assert lb4.wait_n_closed("web", 1)[0]["reason"] == "no_server"
