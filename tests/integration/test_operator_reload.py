"""lb4ctl reload and confirm: what is answered, and what has become of the configuration."""
import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest

import admin
import pools
import servers

LISTEN = "127.0.0.1:7000"
LISTEN_2 = "127.0.0.1:7001"


@pytest.fixture
def pool():
    with pools.make(3) as pool:
        yield pool


def text_of(desk, pool, *words, listen=LISTEN, **options):
    return desk.directive + pools.config(listen, pool.texts, *words, **options)


def start(start_lb4, desk, pool, *words):
    return start_lb4(["-w", "2"], config=text_of(desk, pool, *words))


def weights(desk):
    return [row["weight"] for row in desk.json("show", "servers")]


@contextlib.contextmanager
def being_written(path):
    """lb4 does not read a file that was written to just now, for at most 2 s. The stamps lie at the
    end of the second, so that it holds even if this thread has to wait for a processor."""
    is_over = threading.Event()

    def touch():
        stamp = int(time.time()) + 0.999
        os.utime(path, (stamp, stamp))

    def touch_on():
        while not is_over.wait(0.01):
            touch()
    touch()
    thread = threading.Thread(target=touch_on)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        os.utime(path, (0, 0))


def wait_reloading(desk, is_reloading=True):
    servers.wait_until(lambda: desk.json("show", "info")["reloading"] == is_reloading,
                       what=f"reloading: {is_reloading}")


# --- reload

def test_tells_the_difference(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    admin.put_config(lb4, text_of(desk, pool, "timeout idle 5m", options=["weight 7", "", ""]))
    assert desk.do("reload").splitlines() == [
        "~ timeout idle of web 1h -> 5m", "~ weight web/s1 1 -> 7"]
    assert weights(desk) == [7, 1, 1] and "timeout idle 5m" in desk.do("show", "config")
    lb4.wait_line(r"admin: uid \d+: reload$")
    lb4.wait_line("reload: ~ weight web/s1 1 -> 7")
    lb4.wait_line("reload: done, 2 changes")
    info = desk.json("show", "info")
    assert (info["last_reload"], info["reloads_ok"], info["reloads_failed"]) == ("ok", 1, 0)


def test_json(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    assert desk.json("reload") == {"dry_run": False, "to_confirm": False, "changes": []}
    admin.put_config(lb4, text_of(desk, pool, options=["weight 7", "", ""]))
    assert desk.json("reload", "--dry-run") == {
        "dry_run": True, "to_confirm": False, "changes": ["~ weight web/s1 1 -> 7"]}
    assert desk.json("reload", "--confirm", "1h") == {
        "dry_run": False, "to_confirm": True, "changes": ["~ weight web/s1 1 -> 7"]}


def test_no_difference(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    assert desk.do("reload") == "no difference\n"


@pytest.mark.parametrize("words", [[], ["--json"], ["--dry-run"]])
def test_errors_with_their_places(start_lb4, desk, pool, words):
    lb4 = start(start_lb4, desk, pool)
    before = desk.do("show", "config")
    bad = text_of(desk, pool, "tries 0", options=["weight 999", "", ""])
    path = admin.put_config(lb4, bad)
    done = desk.run("reload", *words)
    assert done.returncode == 1 and not done.stdout
    for number, line in enumerate(bad.splitlines(), 1):
        if "tries" in line or "999" in line:
            assert f"{path}:{number}:" in done.stderr, done.stderr
    assert "1..100" in done.stderr and "1..256" in done.stderr
    assert done.stderr.splitlines()[-1] == "lb4ctl: reload: it failed; nothing has changed"
    assert desk.do("show", "config") == before
    assert desk.json("show", "info")["reloads_failed"] == (0 if "--dry-run" in words else 1)
    admin.put_config(lb4, text_of(desk, pool))
    assert desk.do("reload") == "no difference\n"


def test_an_address_in_use(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    with contextlib.closing(socket.create_server(("127.0.0.1", 7001))):
        admin.put_config(lb4, text_of(desk, pool, f"listen tcp {LISTEN_2}"))
        done = desk.run("reload")
        assert done.returncode == 1 and LISTEN_2 in done.stderr and "in use" in done.stderr
    assert desk.do("reload") == f"+ listener tcp {LISTEN_2} of web\n"
    pools.ask_name(LISTEN_2)
    lb4.wait_n_closed("web", 1)
    admin.put_config(lb4, text_of(desk, pool))
    assert desk.do("reload") == f"- listener tcp {LISTEN_2} of web\n"


@pytest.mark.parametrize("words, said", [
    (["--confirm"], "usage: reload"), (["--frob"], "usage: reload"),
    (["--confirm", "60"], "'60' is no time to confirm: 1s..365d"),
    (["--confirm", "10ms"], "'10ms' is no time to confirm: 1s..365d")])
def test_wrong_words(start_lb4, desk, pool, words, said):
    start(start_lb4, desk, pool)
    done = desk.run("reload", *words)
    assert done.returncode == 1 and said in done.stderr
    assert desk.json("show", "info")["last_reload"] == "never"


def test_dry_run_changes_nothing(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    before = desk.do("show", "config"), desk.do("show", "info").split("last_reload")[0]
    admin.put_config(lb4, text_of(desk, pool, options=["weight 7", "", "backup"],
                                  listen=LISTEN_2))
    assert set(desk.do("reload", "--dry-run").splitlines()) == {
        f"- listener tcp {LISTEN} of web", f"+ listener tcp {LISTEN_2} of web",
        "~ weight web/s1 1 -> 7", "~ backup web/s3 no -> yes"}
    assert desk.do("show", "config") == before[0] and weights(desk) == [1, 1, 1]
    assert pools.ask_name(LISTEN) in range(3) and servers.is_refused(LISTEN_2)
    info = desk.json("show", "info")
    assert info["reloads_ok"] == info["reloads_failed"] == 0
    lb4.wait_n_closed("web", 1)


def test_while_another_runs_it_comes_next(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    path = admin.put_config(lb4, text_of(desk, pool, options=["weight 7", "", ""]))
    with being_written(path):
        first = desk.start("reload")
        wait_reloading(desk)
        second = desk.start("reload", "--dry-run")
        third = desk.start("reload", "--json")
        servers.wait_until(lambda: lb4.lines[-1].endswith(": reload"), what="the third asks")
    assert first.communicate(timeout=10)[0] == "~ weight web/s1 1 -> 7\n"
    assert "no difference" in second.communicate(timeout=10)[0]
    assert json.loads(third.communicate(timeout=10)[0])["changes"] == []
    assert first.returncode == second.returncode == third.returncode == 0
    assert desk.json("show", "info")["reloads_ok"] == 2


def test_not_while_draining(start_lb4, desk, pool):
    """Neither one that comes then, nor one that is being read."""
    lb4 = start(start_lb4, desk, pool)
    path = admin.put_config(lb4, text_of(desk, pool, options=["weight 7", "", ""]))
    with servers.connect(LISTEN) as held:
        pools.read_name(held)
        with being_written(path):
            early = desk.start("reload")
            wait_reloading(desk)
            lb4.signal(signal.SIGTERM)
            lb4.wait_line("draining")
            for words in (["reload"], ["reload", "--dry-run"], ["rebalance", "web"]):
                done = desk.run(*words)
                assert done.returncode == 1 and "not while lb4 is draining" in done.stderr
            assert "lb4 is draining; nothing has changed" in early.communicate(timeout=10)[1]
            assert early.returncode == 1 and weights(desk) == [1, 1, 1]
        held.sendall(b"still alive")
    lb4.is_finished = True
    lb4.check_end()


# --- confirm

def test_undone_unless_confirmed(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    before = desk.do("show", "config")
    admin.put_config(lb4, text_of(desk, pool, f"listen tcp {LISTEN_2}",
                                  options=["weight 7", "", ""]))
    text = desk.do("reload", "--confirm", "2s")
    assert text.endswith("undone in 2 s unless confirmed: lb4ctl confirm\n"), text
    assert weights(desk) == [7, 1, 1] and desk.json("show", "info")["undone_in"] <= 2
    with servers.connect(LISTEN_2) as held:
        pools.read_name(held)
        lb4.wait_line("it was not confirmed in time, the configuration before comes back")
        servers.wait_until(lambda: weights(desk) == [1, 1, 1], what="the weights before")
        servers.wait_until(lambda: servers.is_refused(LISTEN_2), what="the listener gone")
        held.sendall(b"it lives on")
        assert desk.json("show", "connections")[0]["state"] == "open"
    assert desk.do("show", "config") == before
    assert "undone_in" not in desk.json("show", "info")
    assert desk.run("confirm").returncode == 1


def test_undone_with_the_wishes_of_an_operator(start_lb4, desk, pool):
    """A server that is left out for a while comes back as it was, and gets no client meanwhile."""
    lb4 = start(start_lb4, desk, pool)
    desk.do("maint", "web/s2")
    desk.do("weight", "web/s2", "7")
    admin.put_config(lb4, text_of(desk, pool).replace(f"server s2 {pool.texts[1]}", ""))
    desk.do("reload", "--confirm", "1s")
    lb4.wait_line("it was not confirmed in time, the configuration before comes back")
    wait_reloading(desk, False)
    rows = {row["server"]: row for row in desk.json("show", "servers") if row["state"] != "removed"}
    assert (rows["s2"]["state"], rows["s2"]["weight"]) == ("maint", 7), rows


def test_confirmed(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    admin.put_config(lb4, text_of(desk, pool, options=["weight 7", "", ""]))
    desk.do("reload", "--confirm", "1s")
    started = time.monotonic()
    desk.do("confirm")
    lb4.wait_line(r"uid \d+: the reload is confirmed")
    servers.wait_until(lambda: time.monotonic() > started + 1.5, what="the time is over")
    assert weights(desk) == [7, 1, 1]
    assert not any("not confirmed" in line for line in lb4.lines)
    assert desk.run("confirm").returncode == 1


def test_confirm_without_a_reload(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    done = desk.run("confirm")
    assert done.returncode == 1 and "no reload waits to be confirmed" in done.stderr


def test_nothing_to_confirm_after_a_bad_one(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    admin.put_config(lb4, "frob\n")
    assert desk.run("reload", "--confirm", "1s").returncode == 1
    assert desk.run("confirm").returncode == 1


def test_who_asks_while_one_is_undone_has_an_answer_of_its_own(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    admin.put_config(lb4, text_of(desk, pool, options=["weight 7", "", ""]))
    desk.do("reload", "--confirm", "1s")
    with being_written(admin.put_config(lb4, text_of(desk, pool, options=["weight 9", "", ""]))):
        first = desk.start("reload")
        wait_reloading(desk)
        second = desk.start("reload", "--dry-run", "--json")
        servers.wait_until(lambda: desk.json("show", "info")["undone_in"] == 0, what="its time")
        time.sleep(0.1)  # the time is rounded
    first.communicate(timeout=10)
    answer = json.loads(second.communicate(timeout=10)[0])
    assert answer == {"dry_run": True, "to_confirm": False, "changes": ["~ weight web/s1 1 -> 9"]}
    assert weights(desk) == [1, 1, 1]
