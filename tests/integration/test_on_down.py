"""on-down: what becomes of the connections of a server that goes down by its checks."""
import re
import time

import pytest

import admin
import drill
import farewells
import servers

N = 40
DRAIN_S = 1.5
RESET_BAR_S = 0.010  # from the verdict to the last reset


@pytest.fixture
def pool():
    with farewells.make(2) as pool:
        yield pool


def start(start_lb4, pool, *words, **options):
    return start_lb4(["-w", "2"], config=farewells.config(pool, farewells.CHECK, *words), **options)


def down_at(lb4, server="s1"):
    return drill.log_seconds(lb4.wait_line(f"server web/{server} is DOWN"))


def ends_of(lb4, reason):
    return [line for line in lb4.lines if f"reason={reason} " in line + " "]


@pytest.mark.parametrize("words", [[], ["on-down keep"]], ids=["default", "keep"])
def test_keep(start_lb4, pool, words):
    lb4 = start(start_lb4, pool, *words)
    with farewells.Held() as held:
        held.add(N)
        pool.close(0)
        down_at(lb4)
        assert held.count_open(0) == len(held.of(0)) > 0
        for sock in held.of(0):
            sock.send(b"still here")
        assert pool.n_active[0] == len(held.of(0))
    lb4.wait_n_closed("web", N)
    assert not ends_of(lb4, "server_down")


def test_reset(start_lb4, pool):
    """Idle and busy ones, both ends, within milliseconds of the verdict; nobody else."""
    lb4 = start(start_lb4, pool, "on-down reset")
    with farewells.Held() as held:
        held.add(N)
        n_victims = len(held.of(0))
        pool.close(0)
        down = down_at(lb4)
        assert held.read_ends(0) == ["rst"] * n_victims
        # Beside them there are the ends of probes.
        servers.wait_until(lambda: pool.ends[0].count("rst") == n_victims,
                           what="resets at the server")
        told = lb4.wait_line(r"s1: it is down \(on-down\): \d+ connections were reset")
        assert f": {n_victims} connections" in told
        lb4.wait_n_closed("web", n_victims)
        last = max(map(drill.log_seconds, ends_of(lb4, "server_down")))
        took_ms = float(re.search(r"the last ([\d.]+) ms", told)[1])
        print(f"{n_victims} resets, the last {took_ms} ms after the verdict, by the log's stamps "
              f"{(last - down) * 1000:.0f} ms")
        assert took_ms / 1000 <= drill.bar(RESET_BAR_S, 10)
        assert held.count_open(1) == len(held.of(1)) > 0
        held.add(2)
        assert len(held.of(0)) == n_victims
    lb4.wait_n_closed("web", N + 2)
    lb4.finish()
    assert lb4.summary()["service", "web"]["server_down"] == n_victims


def test_drain(start_lb4, pool, desk):
    """Those that end in time end by themselves; the rest is reset after it."""
    text = desk.directive + farewells.config(pool, farewells.CHECK,
                                             f"on-down drain {DRAIN_S * 1000:.0f}ms")
    lb4 = start_lb4(["-w", "2"], config=text)
    with farewells.Held() as held:
        held.add(N)
        pool.close(0)
        down = down_at(lb4)
        assert "reset in" in desk.server("web/s1")["why"]
        held.idle[0].pop().close()
        late = held.of(0)
        assert held.read_ends(0) == ["rst"] * len(late)
        lb4.wait_n_closed("web", len(late) + 1)
        resets = [drill.log_seconds(line) - down for line in ends_of(lb4, "server_down")]
        print(f"reset {min(resets):.3f} to {max(resets):.3f} s after the verdict")
        assert len(resets) == len(late)
        assert DRAIN_S - 0.002 <= min(resets) and max(resets) <= DRAIN_S + drill.bar(0.05, 10)
        assert held.count_open(1) == len(held.of(1)) > 0


def test_drain_of_one_that_returns(start_lb4, pool):
    """What is left by then stays."""
    lb4 = start(start_lb4, pool, "on-down drain 2s")
    with farewells.Held() as held:
        held.add(N)
        pool.close(0)
        down_at(lb4)
        pool.open(0)
        lb4.wait_line("server web/s1 is UP")
        back = time.monotonic()
        servers.wait_until(lambda: time.monotonic() > back + 2.2, what="the drain's end")
        assert held.count_open(0) == len(held.of(0)) > 0
    lb4.wait_n_closed("web", N)
    assert not ends_of(lb4, "server_down")


@pytest.mark.parametrize("words", [[farewells.CHECK], ["check none", "on-down drain 1500ms"]],
                         ids=["without the word", "without a check"])
def test_a_reload_takes_it_back(start_lb4, pool, desk, words):
    """The drain's time runs; then nothing says any more that they are to leave."""
    lb4 = start_lb4(["-w", "2"], config=desk.directive + farewells.config(
        pool, farewells.CHECK, f"on-down drain {DRAIN_S * 1000:.0f}ms"))
    with farewells.Held() as held:
        held.add(N)
        pool.close(0)
        down_at(lb4)
        admin.put_config(lb4, desk.directive + farewells.config(pool, *words))
        desk.do("reload")
        after = time.monotonic() + DRAIN_S + 0.2
        servers.wait_until(lambda: time.monotonic() > after, what="the drain's end")
        assert held.count_open(0) == len(held.of(0)) > 0
    lb4.wait_n_closed("web", N)
    assert not ends_of(lb4, "server_down")


def test_many_go_in_pieces(start_lb4, pool):
    """While they are reset others are served."""
    n = 6000 if drill.IS_FULL else 1500
    lb4 = start(start_lb4, pool, "on-down reset", "balance roundrobin")
    with farewells.Held() as held:
        held.add(n)
        waits = []
        with servers.connect(farewells.LISTEN) as first, servers.connect(farewells.LISTEN) as second:
            names = {farewells.pools.read_name(sock) for sock in (first, second)}
            assert names == {0, 1}
            pool.close(0)
            down_at(lb4)
            told = lb4.wait_line("connections were reset")
        waits.append(told)
        print(told)
        assert f": {len(held.of(0)) + 1} connections" in told
        assert held.count_open(0) == 0
        assert held.count_open(1) == len(held.of(1)) == n // 2
