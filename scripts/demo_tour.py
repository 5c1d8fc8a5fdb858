"""The tour: shows in words what lb4 promises, and checks each promise. Exit 0 if all held.

Clients come at a steady rate all the time. Figures are printed, not judged: how fast all this is
depends on the machine, too."""

import collections
import hashlib
import math
import os
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import demo
import demo_datagrams
import demo_traffic

PER_SECOND = 300
N_DATAGRAM_CLIENTS = 20
WATCH_S = 1.5
BAR_WIDTH = 50
HOLD_S = 5.5  # two falls of one server within 5 s are called flapping, with these checks
N_FAILED_SHOWN = 5
MOST_SHARE = 0.6  # of the first second, for a server that came back to two others
TRANSFER_BYTES = 64 * 1024 * 1024
BAD_CONFIG = """service postgres {
    listen  tcp 127.0.0.1:7000
    server  web1 127.0.0.1:7001 weight 1000
}
"""


class Stage:
    """What the scenes share."""

    def __init__(self, processes):
        self.processes = processes
        self.servers = processes.start_servers()
        self.lb4, self.log = processes.start_lb4()
        self.traffic = demo_traffic.Traffic(PER_SECOND)
        self.datagrams = demo_datagrams.Clients(N_DATAGRAM_CLIENTS)
        self.cut = set()  # clients whose server died while it served them
        self.reset = set()  # clients who came while no server was up
        self.fell = 0.0  # when web2 was logged to be down
        self.gone = 0.0  # when all servers were

    def wait_log(self, pattern, since):
        came = self.log.wait(pattern, since, demo.DEADLINE_S)
        if came is None:
            raise demo.DemoError(f"waited {demo.DEADLINE_S} s in vain for lb4 to log: {pattern}")
        return came

    def watch(self, seconds=WATCH_S):
        """Let clients come. Returns those who started meanwhile; they are over, as are all before.
        """
        since = time.monotonic()
        time.sleep(seconds)
        self.traffic.settle()
        return self.list_clients(since, since + seconds)

    def list_clients(self, since=0.0, until=math.inf):
        """Those who started then, and are over."""
        return [client for client in list(self.traffic.clients) if since <= client.started < until]

    def list_under_way(self, since, until):
        """Those who started before `until`, and were over after `since`."""
        return [client for client in self.list_clients(0, until) if client.ended >= since]

    def find_first(self, name, since):
        """The first client that this server answered."""
        clients = [each for each in self.list_clients(since) if each.name == name]
        return min(clients, key=lambda client: client.ended, default=None)

    def wait_first(self, name, since):
        demo.wait_until(lambda: self.find_first(name, since), f"{name} answers clients")
        self.traffic.settle()
        return self.find_first(name, since)

    def kill(self, *names):
        """SIGKILL. Returns when it was sent, and when all of the servers were gone."""
        sent = time.monotonic()
        for name in names:
            self.servers[name].kill()
        for name in names:
            self.servers[name].wait()
        return sent, time.monotonic()

    def had_server(self, client, name):
        """By lb4's log: did the client's connection reach this server?"""
        return self.log.wait_server_of(client, demo.DEADLINE_S) == name


def title(text):
    print(f"\n== {text}")


def say(text):
    print(f"   {text}")


def check(is_true, text):
    if not is_true:
        raise demo.DemoError(f"not so: {text}")
    say(f"ok: {text}")


def check_served(clients, text):
    failed = [client for client in clients if not client.name]
    show_ends("FAILED", failed[:N_FAILED_SHOWN])
    check(clients and not failed, text)


def show_ends(what, clients):
    for client in clients:
        say(f"{what}: port {client.port}, {client.ms():.1f} ms, {client.name or client.problem}")


def show_shares(clients, names=demo.SERVERS):
    answers = collections.Counter(client.name for client in clients)
    for name in names:
        share = answers[name] / max(1, len(clients))
        say(f"{name}  {'#' * round(share * BAR_WIDTH):{BAR_WIDTH}}{share:5.0%}  {answers[name]}")
    return answers


def show_times(what, clients):
    times = [client.ms() for client in clients] or [0]
    say(f"{len(clients)} clients {what}: median {statistics.median(times):.1f} ms, "
        f"at most {max(times):.1f} ms")


def show_balance(stage):
    title(f"Balance: {PER_SECOND} new clients a second, until the end of the tour")
    stage.wait_log("first probes are done: 3 of 3", 0)
    clients = stage.watch()
    answers = show_shares(clients)
    show_times("were answered", clients)
    check_served(clients, "no client failed")
    check(set(answers) == set(demo.SERVERS), "every server got its share")


def show_datagrams(stage):
    title(f"UDP, on the same port: {N_DATAGRAM_CLIENTS} clients ask by a datagram each")
    clients = stage.datagrams.ask()
    answers = show_shares(clients)
    check_answered(clients)
    check(set(answers) == set(demo.SERVERS), "every server got its share")


def check_answered(clients):
    n_answered = sum(bool(client.name) for client in clients)
    check(n_answered == len(clients), f"{n_answered} of {len(clients)} clients were answered")


def show_kill(stage):
    title("A server dies: kill -9 of web2, with clients on it")
    sent, gone = stage.kill("web2")
    stage.fell = stage.wait_log("server demo/web2 is DOWN", sent)
    say(f"that was {(stage.fell - sent) * 1000:.0f} ms after the kill; from then on:")
    later = stage.watch()
    show_shares(later)
    under_way = [client for client in stage.list_under_way(sent, gone) if not client.name]
    stage.cut = {client for client in under_way if stage.had_server(client, "web2")}
    clients = [client for client in stage.list_under_way(sent, math.inf) if client not in stage.cut]
    show_times("answered since the kill", clients)
    say(f"lost, as their connection to web2 existed when it died, by lb4's log: {len(stage.cut)}")
    check_served(clients, "no other client failed: who was sent to web2 got another server")
    check("web2" not in {client.name for client in later}, "the other two serve alone")


def show_datagrams_move(stage):
    title("UDP: the same clients ask again, and web2 is still dead")
    n_had = sum(client.name == "web2" for client in stage.datagrams.all)
    clients = stage.datagrams.ask()
    show_shares(clients)
    n_again = sum(client.n_asked > 1 for client in clients)
    say(f"{n_had} clients had web2, which now refuses their datagrams (ICMP): that moves them;")
    say(f"{n_again} asked again, as clients do whose datagram is lost")
    check_answered(clients)
    check("web2" not in {client.name for client in clients}, "the other two serve all of them")


def show_return(stage):
    title("It comes back: web2 is started again")
    started = time.monotonic()
    stage.servers.update(stage.processes.start_servers("web2"))
    listens = time.monotonic()
    stage.wait_log("server demo/web2 is UP", started)
    first = stage.wait_first("web2", started)
    stage.watch(1)
    say(f"its first client came {max(0, first.started - listens):.2f} s after it listened; "
        "in the next second:")
    clients = stage.list_clients(first.started, first.started + 1)
    answers = show_shares(clients)
    check_served(stage.list_clients(started), "no client failed")
    check(0 < answers["web2"] <= MOST_SHARE * len(clients), "it got its share, and was not flooded")


def show_transfer():
    title(f"Integrity: {TRANSFER_BYTES >> 20} MiB there and back at the same time")
    data = os.urandom(1 << 20) * (TRANSFER_BYTES >> 20)
    started = time.monotonic()
    with demo.connect() as client:
        client.sendall(b"echo\n")
        sender = threading.Thread(target=send_and_end, args=(client, data))
        sender.start()
        echoed = demo.read_all(client)
        sender.join()
    seconds = time.monotonic() - started
    digest = hashlib.sha256(data).hexdigest()
    say(f"{len(echoed) >> 20} MiB came back in {seconds:.2f} s; SHA-256 {digest[:16]}...")
    check(hashlib.sha256(echoed).hexdigest() == digest, "the checksums of both are equal")


def send_and_end(client, data):
    """Runs beside the reader, which sees by what is missing that this failed."""
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    except OSError as error:
        say(f"sending failed: {error}")


def show_half_close():
    title("Half-close: a client that ends its side (FIN) still gets the answer")
    with demo.connect() as client:
        client.sendall(b"sum\nall that I have to say")
        client.shutdown(socket.SHUT_WR)
        answer = demo.read_all(client).decode().strip()
    say(f"answer after the FIN: {answer[:40]}...")
    check(" 22 " in answer, "the server saw the end after 22 bytes, and its reply came through")


def show_config_error():
    title("A mistake in the configuration: found before anything starts, with its place")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(BAD_CONFIG)
        file.flush()
        result = subprocess.run(
            [demo.LB4, "-t", "-c", file.name],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=demo.DEADLINE_S,
        )
        message = (result.stderr + result.stdout).strip()
        say(message)
        place = re.escape(file.name) + r":3:\d+: .*256"
    check(result.returncode == 1, "exit code 1")
    check(re.search(place, message), "file, line, column and the accepted range are named")


def reload(stage, text):
    stage.processes.write_config(text)
    for line in stage.processes.ctl("reload").splitlines():
        say(line)


def show_reload(stage):
    title("Reload: web4 is added and web1 removed in the file, then lb4ctl reload")
    stage.processes.start_servers(*demo.SPARE)
    text = stage.processes.read_example()
    since = time.monotonic()
    reload(stage, text.replace("server web1 127.0.0.1:7001", "server web4 127.0.0.1:7004"))
    stage.wait_first("web4", since)
    clients = stage.watch(1)
    answers = show_shares(clients, [*demo.SERVERS, *demo.SPARE])
    say("and back:")
    reload(stage, text)
    stage.wait_first("web1", time.monotonic())
    check_served(stage.list_clients(since), "no client failed")
    check("web1" not in answers and answers["web4"], "web4 served instead of web1")


def show_operator(stage):
    title("An operator updates web3: lb4ctl maint --wait, stop, start, lb4ctl ready --wait")
    since = time.monotonic()
    say(stage.processes.ctl("maint", "demo/web3", "--wait", "10s").splitlines()[-1])
    demo.stop(stage.servers["web3"])
    clients = stage.watch(0.5)
    stage.servers.update(stage.processes.start_servers("web3"))
    say(stage.processes.ctl("ready", "demo/web3", "--wait", "10s").splitlines()[-1])
    stage.wait_first("web3", time.monotonic())
    check_served(stage.list_clients(since), "no client failed")
    check("web3" not in {client.name for client in clients}, "web3 had no client while it was away")


def show_all_die(stage):
    title("All servers die: kill -9 of web1, web2 and web3")
    # Else lb4 would log, once, that web2 flaps, and nothing of its next changes.
    time.sleep(max(0, stage.fell + HOLD_S - time.monotonic()))
    sent, gone = stage.kill(*demo.SERVERS)
    stage.gone = gone
    stage.wait_log("service demo: no server is up", sent)
    stage.watch()
    under_way = {client for client in stage.list_under_way(sent, gone) if not client.name}
    clients = stage.list_clients(gone)
    stage.cut |= under_way
    stage.reset = set(clients)
    say(f"clients who were under way at that moment, and are lost: {len(under_way)}")
    show_times("came later and were turned away", clients)
    show_ends("NOT RESET", [each for each in clients if each.problem != "reset"][:N_FAILED_SHOWN])
    check({client.problem for client in clients} == {"reset"}, "each of them by a reset, at once")


def show_all_return(stage):
    title("They come back: all three are started again")
    started = time.monotonic()
    stage.servers = stage.processes.start_servers()
    listen = time.monotonic()
    stage.wait_log("service demo: served again", started)
    firsts = [stage.wait_first(name, started) for name in demo.SERVERS]
    first, last = (pick(client.ended for client in firsts) for pick in (min, max))
    stage.reset |= {client for client in stage.list_clients(0, first)
                    if client.started >= stage.gone and client.problem == "reset"}
    say(f"clients were answered again {max(0, first - listen):.2f} s after all of them listened,")
    say(f"and by all three after {max(0, last - listen):.2f} s; in the next second:")
    show_shares(stage.watch(1))
    check_served(stage.list_clients(first), "no client failed from the first answer on")


def show_drain(lb4):
    title("Drain: SIGTERM while a client is being served")
    with demo.connect() as client:
        client.sendall(b"slow\n")
        check(client.recv(100), "a client is connected")
        lb4.terminate()
        demo.wait_until(lambda: not demo.is_listening(demo.LISTEN_PORT), "lb4 stops listening")
        say("ok: new connections are refused")
        check(lb4.poll() is None, "lb4 still serves the live one")
        client.sendall(b"go on\n")
        check(demo.read_all(client) == b"done\n", "the live connection finished in peace")
    check(lb4.wait(demo.DEADLINE_S) == 0, "lb4 then ended, with exit code 0")


def show_sum(stage):
    title("All clients of the tour")
    clients = stage.list_clients()
    failed = [client for client in clients if not client.name]
    say(f"answered             {len(clients) - len(failed):6}")
    say(f"lost with a server   {len(stage.cut):6}   who were under way as it died")
    say(f"reset                {len(stage.reset):6}   as no server was up")
    check(set(failed) == stage.cut | stage.reset, "no other client failed")


def main():
    started = time.monotonic()
    with demo.Demo() as processes:
        stage = Stage(processes)
        with stage.traffic:
            show_balance(stage)
            show_datagrams(stage)
            show_kill(stage)
            show_datagrams_move(stage)
            show_return(stage)
            show_transfer()
            show_half_close()
            show_config_error()
            show_reload(stage)
            show_operator(stage)
            show_all_die(stage)
            show_all_return(stage)
        show_sum(stage)
        show_drain(stage.lb4)
    print(f"\nThe tour is over: all was so, in {time.monotonic() - started:.1f} s.")


demo.run(main)
