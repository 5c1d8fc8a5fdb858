"""limit per-source, rate, maxconn of a service and ban, of TCP: exact among clients that come at the
same moment and over all workers, at a reload as well; and whose address it is that counts."""
import shutil
import threading
import time

import pytest

import guarded
import log_files
import reloading
import servers
import test_log_fail2ban
import web

N = 5
CROWD = 16


@pytest.fixture
def server():
    with servers.EchoServer() as server:
        yield server


# --- live connections of a source

@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_a_source_has_so_many_at_a_time(start_lb4, server, n_workers, is_full):
    """Of 16 that come at once N are served; for each that leaves one comes in; N again when all
    have gone."""
    rounds = 500 if is_full else 25
    lb4 = start_lb4(["-w", str(n_workers)], config=guarded.config(server, f"limit per-source {N}"))
    n_refused = 0
    with guarded.Crowd(["127.0.0.1"] * CROWD) as crowd:
        for _ in range(rounds):
            with guarded.Guests(lb4) as guests:
                assert guests.keep(crowd.rush()) == N
                assert guests.enter() == 0
                guests.leave(2)
                assert guests.keep(crowd.rush()) == 2
                guests.all_talk()
            n_refused += CROWD - N + 1 + CROWD - 2
    guarded.wait_refused(lb4, "per_source", n_refused)
    # Refused ones never came to the server.
    assert server.n_accepted == rounds * (N + 2)


@pytest.mark.parametrize("n_workers", [1, 4])
def test_never_more_while_they_come_and_go(start_lb4, server, n_workers, is_full):
    lb4 = start_lb4(["-w", str(n_workers)], config=guarded.config(server, f"limit per-source {N}"))
    rounds = 1000 if is_full else 100
    churn = guarded.Churn(["127.0.0.1"] * CROWD)
    churn.run(rounds)
    assert churn.n_most <= N and churn.n_served >= N and churn.n_refused > 0
    lb4.wait_n_closed("web", CROWD * rounds)
    with guarded.Guests(lb4) as guests:
        assert guests.enter(CROWD) == N
    print(f"{churn.n_served} served, {churn.n_refused} refused, {churn.n_most} at a time")


NETWORKS = {  # words, of the same source, of another one
    "an address of IPv4": ("", "127.0.1.1", "127.0.1.1", "127.0.1.2"),
    "prefix4": (" prefix4 24", "127.0.1.1", "127.0.1.200", "127.0.2.1"),
    "a /64 of IPv6": ("", "fd77:0:0:1::1", "fd77::1:ffff:ffff:0:2", "fd77:0:0:2::1"),
    "prefix6, wide": (" prefix6 48", "fd77:0:1:1::1", "fd77:0:1:ffff::", "fd77:0:2:1::1"),
    "prefix6, an address": (" prefix6 128", "fd77::1", "fd77::1", "fd77::2"),
    "prefix6, odd": (" prefix6 65", "fd77::1", "fd77::7fff:0:0:1", "fd77::8000:0:0:1"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_what_a_source_is(start_lb4, server, name):
    words, first, same, other = NETWORKS[name]
    guarded.own_networks()
    lb4 = start_lb4(["-w", "2"], config=guarded.config(server, f"limit per-source 2{words}"))
    with guarded.Guests(lb4) as guests:
        assert guests.enter(1, first) == guests.enter(1, same) == 1
        assert guests.enter(1, first) == guests.enter(1, same) == 0
        assert guests.enter(3, other) == 2
        guests.leave(1)
        assert guests.enter(2, same) == 1


# --- rates

# As long as a client comes again before the burst is due anew, nothing of its due is lost to it: a
# second, however busy the machine is.
RATE = BURST = 40


def test_rate_of_a_source(start_lb4, server):
    """What is due is let in, no more and no less; after a pause, too; others have their own."""
    lb4 = start_lb4(["-w", "2"], config=guarded.config(
        server, f"rate per-source {RATE}/s burst {BURST}"))
    n_in, took_s = guarded.press(["127.0.0.1"], 1.2)
    guarded.assert_due(n_in, BURST + RATE * took_s)
    # Half a burst's time of silence, and half a burst.
    began = time.monotonic()
    time.sleep(BURST / RATE / 2)
    n_in, _ = guarded.press(["127.0.0.1"], 0.2)
    guarded.assert_due(n_in, RATE * (time.monotonic() - began))
    # After a longer one no more than a whole one.
    time.sleep(1.2 * BURST / RATE)
    n_in, took_s = guarded.press(["127.0.0.1"], 0.2)
    guarded.assert_due(n_in, BURST + RATE * took_s)
    assert all(guarded.is_let_in("127.0.0.2") for _ in range(BURST))
    assert guarded.refused(lb4, "rate_source") > 0


def test_rate_of_a_service(start_lb4, server):
    """Whoever they are, and over all workers."""
    lb4 = start_lb4(["-w", "4"], config=guarded.config(server, f"rate {RATE}/s burst {BURST}"))
    n_in, took_s = guarded.press([f"127.0.0.{i + 1}" for i in range(8)], 1.5)
    guarded.assert_due(n_in, BURST + RATE * took_s)
    assert guarded.refused(lb4, "rate") > 0


# --- maxconn of a service

@pytest.mark.parametrize("n_workers", [1, 2, 4])
def test_maxconn_is_exact(start_lb4, server, n_workers, is_full):
    """The others are reset at once, whoever they are, and no server hears of them."""
    rounds = 300 if is_full else 20
    lb4 = start_lb4(["-w", str(n_workers)], config=guarded.config(server, f"maxconn {N}"))
    with guarded.Crowd([f"127.0.0.{i + 1}" for i in range(CROWD)]) as crowd:
        for _ in range(rounds):
            with guarded.Guests(lb4) as guests:
                assert guests.keep(crowd.rush()) == N
                guests.leave(1)
                assert guests.keep(crowd.rush()) == 1
                guests.all_talk()
    guarded.wait_refused(lb4, "maxconn", rounds * (2 * CROWD - N - 1))
    assert server.n_accepted == rounds * (N + 1)


def test_maxconn_of_one_service_is_not_that_of_another(start_lb4, server):
    text = guarded.config(server, "maxconn 1") + reloading.service(
        "other", ["tcp :7001"], [("s1", server.address)])
    lb4 = start_lb4(["-w", "2"], config=text)
    with guarded.Guests(lb4) as guests:
        assert guests.enter(2) == 1
        assert guarded.is_let_in(port=7001)


# --- bans

BAN_S = 1.5
BANNED = (r"WARN worker \d: banned client \S+ of web: source %s for %s, refused 3 times, "
          r"the last time: %s; ")


def ban(lb4):
    """127.0.0.1, of a service with limit per-source 1 and a ban after three; the time just before
    the refusal that did it."""
    for n_refused in (2, 0, 1):  # two are not three
        with guarded.Guests(lb4) as guests:
            assert guests.enter() == 1
            began = time.monotonic()
            assert guests.enter(n_refused) == 0
    return began


def test_banned_after_so_many(start_lb4, server):
    """Exactly then, nobody else, and for that time; then it may begin anew."""
    lb4 = start_lb4(["-w", "2"], config=guarded.config(
        server, "limit per-source 1", "ban after 3 refused in 1m for 1500ms"))
    for nth in range(2):
        start = len(lb4.lines)
        began = ban(lb4)
        n_banned = 0
        assert guarded.is_let_in("127.0.0.2")
        while not guarded.is_let_in():
            n_banned += 1
            assert time.monotonic() - began < BAN_S + guarded.LIMIT_S
            time.sleep(0.02)
        # A worker's clock is that of its turn.
        assert time.monotonic() - began > BAN_S - 0.05 and n_banned > 0
        lb4.wait_line(BANNED % ("127.0.0.1", "1500ms", "per_source"), start=start)
        if nth == 0:
            guarded.wait_refused(lb4, "banned", n_banned)
            guarded.wait_refused(lb4, "per_source", 3)


def test_refusals_count_within_their_time(start_lb4, server):
    """From the first on, whatever comes later."""
    lb4 = start_lb4(["-w", "2"], config=guarded.config(
        server, "limit per-source 1", "ban after 3 refused in 500ms for 1h"))
    n_refused = 0
    with guarded.Guests(lb4) as guests:
        assert guests.enter() == 1
        for _ in range(2):
            assert guests.enter(2) == 0
            n_refused += 2
            time.sleep(0.55)
        assert guarded.refused(lb4, "banned") == 0
        while guarded.refused(lb4, "banned") == 0:
            assert guests.enter() == 0
            n_refused += 1
            assert n_refused < 100
        lb4.wait_line(BANNED % (r"127\.0\.0\.1", "1h", "per_source"))
        assert guarded.refused(lb4, "per_source") == n_refused - 1


def test_who_is_denied_is_banned_as_well(start_lb4, server):
    """What he is refused for remains the rule; without it the ban is what is left."""
    words = "ban after 3 refused in 1m for 1h"
    lb4, file = reloading.start(start_lb4, guarded.config(server, "deny 127.0.0.2", words))
    assert not any(guarded.is_let_in("127.0.0.2") for _ in range(4))
    guarded.wait_refused(lb4, "denied", 4)
    lb4.wait_line(BANNED % (r"127\.0\.0\.2", "1h", "denied"))
    file.change(guarded.config(server, words))
    assert not guarded.is_let_in("127.0.0.2") and guarded.is_let_in("127.0.0.1")
    guarded.wait_refused(lb4, "banned", 1)


def test_a_ban_and_reloads(start_lb4, server):
    """It stays while its word does, though that says otherwise now, and ends with it."""
    def text(limit, *words):
        return guarded.config(server, f"limit per-source {limit}", *words)
    word = "ban after 3 refused in 1m for 1h"
    lb4, file = reloading.start(start_lb4, text(1, word))
    ban(lb4)
    assert not guarded.is_let_in()
    for limit, words in ((9, word), (9, "ban after 30 refused in 1m for 1s")):
        file.change(text(limit, words))
        assert not guarded.is_let_in() and guarded.is_let_in("127.0.0.2")
    file.change(text(9))
    assert guarded.is_let_in()
    file.change(text(9, word))
    assert guarded.is_let_in()


# --- reloads

def test_a_limit_follows_reloads(start_lb4, server):
    """Lowered, raised, gone, back: nobody who is in is thrown out, and all are counted."""
    def text(*words):
        return guarded.config(server, "rate per-source 1000000/s", *words)
    lb4, file = reloading.start(start_lb4, text("limit per-source 4"))
    with guarded.Guests(lb4) as guests:
        assert guests.enter(6) == 4
        file.change(text("limit per-source 2"), "~ limit per-source of web 4 -> 2")
        assert guests.enter() == 0
        guests.all_talk()
        guests.leave(2)
        assert guests.enter() == 0
        guests.leave(1)
        assert guests.enter(3) == 1
        file.change(text("limit per-source 7"))
        assert guests.enter(9) == 5
        file.change(text())
        assert guests.enter(9) == 9
        # They were counted meanwhile, as another word needs to know of the sources.
        file.change(text("limit per-source 8"))
        assert guests.enter() == 0
        guests.leave(8)
        assert guests.enter() == 0
        guests.leave(1)
        assert guests.enter(2) == 1
        guests.all_talk()
        guests.leave()
        assert guests.enter(20) == 8


@pytest.mark.parametrize("words", ["limit per-source", "maxconn"])
def test_a_first_limit_counts_from_then_on(start_lb4, server, words):
    """Those that were in before there was any have no place, and give none back."""
    def text(n):
        return guarded.config(server, *([f"{words} {n}"] if n else []))
    lb4, file = reloading.start(start_lb4, text(0))
    with guarded.Guests(lb4) as guests:
        assert guests.enter(6) == 6
        for n, n_more in ((3, 3), (5, 2)):  # and 3 of before
            file.change(text(n))
            guests.leave(3)
            assert guests.enter(2 * n) == n_more
            guests.all_talk()
            file.change(text(0))
            assert guests.enter(6) == 6
        file.change(text(2))
        guests.leave()
        assert guests.enter(4) == 2
        guests.leave()
        assert guests.enter(4) == 2


@pytest.mark.parametrize("words", ["rate per-source", "rate"])
def test_a_faster_rate_counts_at_once(start_lb4, server, words):
    """What is owed to the slow one would take hours."""
    lb4, file = reloading.start(start_lb4, guarded.config(server, f"{words} 1/h burst 2"))
    assert [guarded.is_let_in() for _ in range(3)] == [True, True, False]
    file.change(guarded.config(server, f"{words} 100/s burst 100"))
    assert guarded.is_let_in()
    servers.wait_until(guarded.is_let_in, guarded.LIMIT_S, "the next one's time")
    assert guarded.refused(lb4, "rate_source" if "source" in words else "rate") >= 1


def test_maxconn_follows_reloads(start_lb4, server):
    lb4, file = reloading.start(start_lb4, guarded.config(server, "maxconn 6"))
    with guarded.Guests(lb4) as guests:
        assert guests.enter(8) == 6
        file.change(guarded.config(server, "maxconn 2"))
        guests.all_talk()
        guests.leave(4)
        assert guests.enter() == 0
        guests.leave(1)
        assert guests.enter(3) == 1
        file.change(guarded.config(server, "maxconn 9"))
        assert guests.enter(12) == 7
        guests.leave()
        assert guests.enter(12) == 9


def test_reloads_while_many_come_and_go(start_lb4, server, is_full):
    """The count is true at the end, whatever the limit was when each of them came."""
    texts = [guarded.config(server, *words) for words in (
        ["limit per-source 3", "maxconn 7"], ["limit per-source 9 prefix4 24", "maxconn 4"], [],
        ["limit per-source 1"], ["maxconn 2"], ["limit per-source 3", "maxconn 4"])]
    lb4, file = reloading.start(start_lb4, texts[0])
    churn = guarded.Churn([f"127.0.0.{1 + i % 3}" for i in range(CROWD)])
    thread = threading.Thread(target=churn.run, args=(3000 if is_full else 300,), daemon=True)
    thread.start()
    n_reloads = 0
    while thread.is_alive():
        n_reloads += 1
        file.change(texts[n_reloads % len(texts)])
    thread.join()
    assert not churn.problems and n_reloads > 3
    servers.wait_until(lambda: web.Scrape(lb4.http).sum("lb4_connections_active") == 0,
                       guarded.LIMIT_S, "all gone")
    file.reload(texts[-1])
    with guarded.Guests(lb4) as guests:
        assert guests.enter(CROWD) == 3
        assert guests.enter(CROWD, "127.0.0.2") == 1
    print(f"{n_reloads} reloads, {churn.n_served} served, {churn.n_refused} refused")


# --- behind a balancer

def behind(host):
    return b"PROXY TCP4 %s 10.0.0.1 1234 80\r\n" % host.encode()


@pytest.mark.skipif(not shutil.which("fail2ban-regex"), reason="no fail2ban-regex")
def test_the_address_in_the_header_is_the_source(binary, server):
    """For limits, rates, rules, bans, the log and fail2ban: never the balancer's."""
    with log_files.folder() as folder:
        log = folder / "lb4.log"
        text = guarded.config(
            server, "access-log on", "deny 192.0.2.9", "limit per-source 1",
            "ban after 3 refused in 1m for 1h", "rate per-source 4/h",
            listen=f"tcp :{guarded.PORT} accept-proxy from 127.0.0.0/8", top=f"log file {log}\n")
        lb4 = log_files.LoggedDaemon(binary, ["-w", "2"], config=text, log_path=log)
        try:
            lb4.wait_ready()
            with guarded.Guests(lb4) as guests:
                for i in range(1, 4):
                    assert guests.enter(2, header=behind(f"192.0.2.{i}")) == 1
                # The same client from another balancer.
                assert guests.enter(2, "127.0.0.2", header=behind("192.0.2.1")) == 0
                assert guests.enter(4, header=behind("192.0.2.9")) == 0
                assert guests.enter(2, header=behind("192.0.2.4")) == 1
            assert not guarded.is_let_in(header=behind("192.0.2.1")), "banned"
            for _ in range(3):
                with guarded.Guests(lb4) as guests:
                    assert guests.enter(header=behind("192.0.2.2")) == 1
            assert not guarded.is_let_in(header=behind("192.0.2.2")), "its rate"
            for reason, count in (("per_source", 6), ("denied", 4), ("banned", 1),
                                  ("rate_source", 1)):
                guarded.wait_refused(lb4, reason, count)
            lb4.wait_line(BANNED % (r"192\.0\.2\.1", "1h", "per_source"))
            lb4.wait_line(r"refused client 192\.0\.2\.1:1234 of web: per_source")
            lb4.finish()
        finally:
            lb4.kill()
        # Rules and bans; who is at a limit has done nothing wrong yet.
        assert test_log_fail2ban.found(log) == {"192.0.2.9": 4, "192.0.2.1": 1}
        clients = {entry["client"].rpartition(":")[0] for entry in lb4.access}
        assert clients == {f"192.0.2.{i}" for i in (1, 2, 3, 4, 9)}
