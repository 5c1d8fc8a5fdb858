"""lb4ctl and the admin socket: every command, who may ask, and how the socket comes and goes."""
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess

import pytest

import admin
import daemon
import namespace
import pools
import servers

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 50ms timeout 500ms fall 2 rise 2"
MOVING = {"since", "checks_ok", "checks_failed", "checks_unknown", "uptime", "descriptors"}


@pytest.fixture
def pool():
    with pools.make(3) as pool:
        yield pool


def start(start_lb4, desk, pool, *words, check=CHECK, **options):
    text = desk.directive + pools.config(LISTEN, pool.texts, check, *words)
    return start_lb4(["-w", "2"], config=text, **options)


def names_of(count):
    return [pools.ask_name(LISTEN) for _ in range(count)]


# --- show

@pytest.mark.parametrize("what", ["services", "servers"])
def test_json_says_what_the_text_says(start_lb4, desk, pool, what):
    lb4 = start(start_lb4, desk, pool)
    names_of(5)
    lb4.wait_n_closed("web", 5)
    texts = admin.table(desk.ask(f"show {what}\n"))
    values = json.loads(desk.ask(f"show {what} --json\n").removesuffix("ok\n"))
    assert len(texts) == len(values) == (3 if what == "servers" else 1)
    for text, value in zip(texts, values):
        assert {name: plain for name, plain in text.items() if name not in MOVING} == {
            name: admin.plain(value[name]) for name in text if name not in MOVING}


def test_services(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    with servers.connect(LISTEN) as held:
        pools.read_name(held)
        names_of(4)
        lb4.wait_n_closed("web", 4)
        service, = desk.json("show", "services")
        assert service["service"] == "web" and service["listeners"] == f"tcp/{LISTEN}"
        assert service["servers"] == service["servers_up"] == 3
        assert (service["active"], service["total"], service["closed"]) == (1, 5, 4)
        assert service["closed_by_reason"]["client_fin"] == 4
        assert sum(service["closed_by_reason"].values()) == 4
        assert service["bytes_out"] == 5 * pools.NAME_BYTES


def test_servers_tell_why(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    assert desk.server("web/s1")["state"] == "up"
    pool.close(0)
    lb4.wait_line("web/s1 is DOWN")
    server = desk.server("web/s1")
    assert server["state"] == "down" and server["checks_failed"] >= 2
    assert server["why"].startswith("connection refused")
    pool.open(0)
    lb4.wait_line("web/s1 is UP")
    server = desk.server("web/s1")
    assert server["state"] == "up" and "probes are answered again" in server["why"]


def test_info(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    info = desk.json("show", "info")
    assert info["pid"] == lb4.pid and info["state"] == "running" and info["ready"] is True
    assert info["workers"] == 2 and info["config"].endswith("lb4.conf")
    assert 0 < info["descriptors"] < info["descriptors_limit"]
    with servers.connect(LISTEN) as held:
        pools.read_name(held)
        assert desk.json("show", "info")["connections"] == 1
        lb4.signal(signal.SIGTERM)
        lb4.wait_line("draining")
        info = desk.json("show", "info")
        assert info["state"] == "draining" and info["ready"] is False
    lb4.is_finished = True
    lb4.check_end()


def test_config_is_the_effective_one(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    words = lb4.command[lb4.command.index(lb4.binary):]
    printed = subprocess.run([*words, "-T"], capture_output=True, text=True, check=True).stdout
    assert desk.do("show", "config") == printed
    assert desk.json("show", "config") == printed


def test_many_commands_at_once(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    text = desk.ask("show info\r\n" * 50 + "help\nfoo\nshow servers")
    assert text.count("\nok\n") == 52
    assert "error unknown command 'foo'" in text
    assert text.endswith("\nok\n")


# --- drain, ready, maint, weight

def test_drain_lets_live_connections_finish(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(servers.connect(LISTEN)) for _ in range(3)]
        by_name = {pools.read_name(sock): sock for sock in held}
        waiting = desk.start("drain", "web/s1", "--wait", "30s")
        servers.wait_until(lambda: desk.server("web/s1")["state"] == "drain", what="drain")
        assert set(names_of(20)) == {1, 2}
        assert waiting.poll() is None and desk.server("web/s1")["active"] == 1
        assert f"drain, by uid {os.geteuid()}" == desk.server("web/s1")["why"]
        by_name[0].close()
        assert waiting.wait(10) == 0
        assert "drain" in waiting.communicate()[0]
        desk.do("ready", "web/s1", "--wait", "5s")
        servers.wait_until(lambda: 0 in names_of(3), what="traffic at s1")


def test_wait_is_bounded(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            pools.read_name(stack.enter_context(servers.connect(LISTEN)))
        done = desk.run("drain", "web/s2", "--wait", "100ms")
        assert done.returncode == 1
        assert "still holds 1 connections after 100ms; it stays in drain" in done.stderr


def test_maint_keeps_probes_away(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    desk.do("maint", "web/s1")
    quiet = len(pool.accepted_at[0])
    others = len(pool.accepted_at[1])
    servers.wait_until(lambda: len(pool.accepted_at[1]) > others + 10, what="probes of s2")
    assert len(pool.accepted_at[0]) <= quiet + 1, "but one whose connect was under way"
    assert set(names_of(10)) == {1, 2}
    desk.do("ready", "web/s1", "--wait", "5s")
    assert len(pool.accepted_at[0]) > quiet
    assert desk.server("web/s1")["state"] == "up"


def test_ready_after_maint_is_probed_first(start_lb4, desk, pool):
    """One that died in maintenance gets no client, and is told to be down."""
    lb4 = start(start_lb4, desk, pool, "tries 1")
    desk.do("maint", "web/s1")
    pool.close(0)
    done = desk.run("ready", "web/s1", "--wait", "300ms")
    assert done.returncode == 1 and "web/s1 takes no clients after 300ms" in done.stderr
    assert set(names_of(20)) == {1, 2}
    assert desk.server("web/s1")["state"] == "down"
    assert desk.server("web/s1")["connect_failures"] == 0
    lb4.wait_line("web/s1 is DOWN")
    pool.open(0)
    servers.wait_until(lambda: desk.server("web/s1")["state"] == "up", what="s1 up")


def test_last_server_of_a_service_may_drain(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    for name in ("s1", "s2", "s3"):
        desk.do("drain", f"web/{name}")
    lb4.wait_line("service web: no server takes new clients now")
    assert servers.connect_end(LISTEN)[0] == "rst"
    assert desk.json("show", "services")[0]["servers_up"] == 0
    desk.do("ready", "web/s2")
    assert set(names_of(5)) == {1}


def test_weight_counts_at_once(start_lb4, desk, pool):
    start(start_lb4, desk, pool)
    desk.do("weight", "web/s1", "6")
    with contextlib.ExitStack() as stack:
        found = [pools.read_name(stack.enter_context(servers.connect(LISTEN))) for _ in range(40)]
    assert [found.count(index) for index in range(3)] == [30, 5, 5]
    assert desk.server("web/s1")["weight"] == 6


def test_commands_are_logged_with_who(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    desk.do("drain", "web/s1")
    desk.do("weight", "web/s2", "3")
    lb4.wait_line(rf"INFO control: admin: uid {os.geteuid()}: server web/s1: drain \(it was ready\)")
    lb4.wait_line(rf"INFO control: admin: uid {os.geteuid()}: server web/s2: weight 1 -> 3")


# --- lb4ctl

@pytest.mark.parametrize("words, code, said", [
    (["frob"], 1, "unknown command 'frob'"),
    (["show"], 1, "usage: show services|servers|connections|names|sources|bans|affinity|info|"
     "config"),
    (["drain", "web/nobody"], 1, "no server 'nobody' in service web"),
    (["weight", "web/s1", "0"], 1, "weight: '0' is not accepted: 1..256"),
    ([], 2, "no command"),
    (["--frob"], 2, "Try 'lb4ctl -h'"),
    (["show", "a b"], 2, "'a b' is not one word"),
    (["drain", "x" * 5000], 2, "longer than 4096 bytes"),
])
def test_exit_codes(start_lb4_module, shared_desk, words, code, said):
    done = shared_desk.run(*words)
    assert done.returncode == code and said in done.stderr and not done.stdout


@pytest.fixture(scope="module")
def shared_desk(binary, start_lb4_module):
    import pathlib
    with admin.Desk(pathlib.Path(binary).with_name("lb4ctl")) as desk, pools.make(1) as pool:
        start_lb4_module(["-w", "1"], config=desk.directive + pools.config(
            namespace.address("v4", 7100), pool.texts))
        yield desk


def test_table_is_aligned(shared_desk):
    lines = shared_desk.do("show", "servers").splitlines()
    assert len(lines) == 2 and lines[0].startswith("SERVICE  SERVER  ADDRESS")
    at = lines[0].index("STATE")
    assert lines[1][at:].startswith("up ") and lines[1][at - 1] == " "
    end = lines[0].index("WEIGHT") + len("WEIGHT")
    assert lines[1][:end].endswith("     1")
    assert "\033" not in "".join(lines), "colours are for terminals"


def test_help_and_version(shared_desk):
    assert shared_desk.do("-V").startswith("lb4ctl ")
    assert "Usage: lb4ctl" in shared_desk.do("--help")
    assert "SERVICE/SERVER" in shared_desk.do("help")


def test_a_reader_that_has_seen_enough_is_no_error(shared_desk):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([shared_desk.program, "-s", str(shared_desk.path), "show", "info"],
                          stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode == 0 and not done.stderr


def test_a_full_disk_is_one(shared_desk):
    with open("/dev/full", "w") as full:
        done = subprocess.run([shared_desk.program, "-s", str(shared_desk.path), "show", "info"],
                              stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "No space left" in done.stderr


def test_completion_offers_servers(shared_desk):
    script = pathlib_root() / "scripts/lb4ctl.bash-completion"
    done = subprocess.run(
        ["bash", "-c", f"PATH={os.path.dirname(shared_desk.program)}:$PATH; . {script}; "
         f"COMP_WORDS=(lb4ctl -s {shared_desk.path} drain ''); COMP_CWORD=4; _lb4ctl; "
         'echo "${COMPREPLY[@]}"; '
         "for words in 'sh' 'show c' 'reload -' 'reload --confirm ' 'rebalance web -' "
         "'kill web/s1 ' '-'; do "
         "IFS=' ' read -ra COMP_WORDS <<<\"lb4ctl $words\"; "
         "[[ $words != *' ' ]] || COMP_WORDS+=(''); "
         "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _lb4ctl; echo \"${COMPREPLY[@]}\"; done"],
        capture_output=True, text=True, check=True)
    assert not done.stderr
    assert done.stdout.splitlines() == [
        "web/s1", "show", "connections config", "--dry-run --confirm", "10s 60s 5m", "--over", "",
        "--socket --json --help --version"], done


def pathlib_root():
    import pathlib
    return pathlib.Path(__file__).resolve().parents[2]


def test_without_a_daemon(desk):
    done = desk.run("show", "info")
    assert done.returncode == 3 and "does lb4 run, with `admin unix:" in done.stderr


# --- the socket

@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")
def test_another_uid_is_refused(start_lb4, desk, pool):
    lb4 = start(start_lb4, desk, pool)
    other = {"user": 1, "group": 1, "extra_groups": []}
    done = desk.run("show", "info", **other)
    assert done.returncode == 3 and "no permission" in done.stderr
    os.chmod(desk.path, 0o666)
    done = desk.run("drain", "web/s1", **other)
    assert done.returncode == 3 and "permission denied: uid 1 is neither root" in done.stderr
    assert desk.server("web/s1")["state"] == "up"
    lb4.wait_line("uid 1 .* was refused")
    own = {"user": daemon.LB4_UID, "group": daemon.LB4_UID, "extra_groups": []}
    assert desk.run("show", "info", **own).returncode == 0


@pytest.mark.skipif(not daemon.can_change_uid(), reason="needs root")
def test_socket_belongs_to_the_user_that_lb4_becomes(start_lb4, desk, pool):
    os.chmod(desk.folder.name, 0o755)
    text = desk.directive + "user nobody\n" + pools.config(LISTEN, pool.texts)
    start_lb4([], config=text, uid=None)
    status = os.stat(desk.path)
    assert stat.S_IMODE(status.st_mode) == 0o600 and status.st_uid == daemon.NOBODY
    desk.do("show", "info")


def test_stale_socket_is_replaced_and_removed_at_the_end(start_lb4, desk, pool):
    first = start(start_lb4, desk, pool)
    first.kill()
    assert desk.path.exists() and desk.run("show", "info").returncode == 3
    second = start(start_lb4, desk, pool)
    assert desk.json("show", "info")["pid"] == second.pid
    second.finish()
    assert not desk.path.exists()


def test_live_socket_is_an_error(start_lb4, desk, pool):
    first = start(start_lb4, desk, pool)
    text = desk.directive + pools.config("127.0.0.1:7001", pool.texts)
    second = start_lb4([], config=text, waits=False)
    assert second.wait_exit() == 1
    second.is_finished = True
    assert f"admin socket {desk.path}: in use" in second.tail()
    assert desk.json("show", "info")["pid"] == first.pid


def test_without_the_directive_there_is_none(start_lb4, desk, pool):
    start_lb4([], config=pools.config(LISTEN, pool.texts))
    assert not desk.path.exists()


# --- several at once

def test_sweeps_wait_for_each_other(start_lb4, desk, pool):
    """Lists and kills that come in one moment are all carried out."""
    lb4 = start(start_lb4, desk, pool)
    clients = [servers.connect(LISTEN) for _ in range(6)]
    servers.wait_until(lambda: desk.json("show", "info")["connections"] == 6, what="6 connections")
    lb4.signal(signal.SIGSTOP)
    lines = ["show connections\n", "kill web/s1\n", "kill web/s2\n", "show connections\n"]
    socks = [desk.connect() for _ in lines]
    for sock, line in zip(socks, lines, strict=True):
        sock.sendall(line.encode())
        sock.shutdown(socket.SHUT_WR)
    lb4.signal(signal.SIGCONT)
    for sock in socks:
        assert admin.read_all(sock).endswith("\nok\n")
        sock.close()
    for sock in clients:
        sock.close()
