"""Runs the ending matrix: every scenario in lanes of its own, many at once, one daemon for all."""
import concurrent.futures
import dataclasses
import select
import socket
import threading
import time

import actors
import namespace

CASE_LIMIT_S = 15
N_AT_ONCE = 20


@dataclasses.dataclass
class Lane:
    """One scenario's listener and the address that its clients connect to."""
    name: str  # the service's name
    scenario: object
    repeats: range
    server_port: int
    connect_port: int
    listener: socket.socket = None


def make_lanes(chosen, n_repeats, n_lanes, is_direct):
    lanes = []
    for scenario in chosen:
        n = 1 if scenario.is_alone else min(n_lanes, n_repeats)
        for i in range(n):
            server_port = namespace.take_port()
            connect_port = server_port if is_direct else namespace.take_port()
            repeats = range(i, n_repeats, n)
            lanes.append(Lane(f"{scenario.name}.{i}", scenario, repeats, server_port, connect_port))
    return lanes


def config_of(lanes, family):
    """The configuration file: a service for each lane."""
    lines = []
    for lane in lanes:
        lines += [f"service {lane.name} {{",
                  f"    listen tcp {namespace.address(family, lane.connect_port)}",
                  f"    server s1 {namespace.address(family, lane.server_port)}"]
        lines += ["    " + directive for directive in lane.scenario.directives]
        lines += ["}"]
    return "\n".join(lines) + "\n"


def run_lanes(lanes, family, log):
    """Run all; `log` finds lb4's line for an end, or is None without a proxy. Returns the problems
    by scenario: {name: [text, ...]}."""
    problems = {lane.scenario.name: [] for lane in lanes}

    def work(lane):
        try:
            _open_listener(lane, family)
            if lane.scenario.is_held and log:
                namespace.filter_port("held", lane.server_port)
            for nth, repeat in enumerate(lane.repeats):
                found = _run_repeat(lane, family, log, nth, tag=1000 * lanes.index(lane) + repeat)
                problems[lane.scenario.name] += [f"repeat {repeat}: {text}" for text in found]
                if len(problems[lane.scenario.name]) > 5:
                    break
        except Exception as error:  # the thread's result: never lose the reason
            problems[lane.scenario.name].append(f"harness: {error!r}")
        finally:
            if lane.listener:
                lane.listener.close()

    together = [lane for lane in lanes if not lane.scenario.is_alone]
    with concurrent.futures.ThreadPoolExecutor(N_AT_ONCE) as pool:
        list(pool.map(work, together))
    for lane in lanes:
        if lane.scenario.is_alone:
            work(lane)
    return problems


def _open_listener(lane, family):
    if not lane.scenario.is_listening:
        return
    lane.listener = _socket(family)
    lane.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _set_buffers(lane.listener, lane.scenario.server_buffer)
    lane.listener.bind((namespace.LOOPBACK[family], lane.server_port))
    lane.listener.listen(64)
    lane.listener.setblocking(False)


def _run_repeat(lane, family, log, nth, tag):
    scenario = lane.scenario
    case = actors.Case(tag, CASE_LIMIT_S, lane.server_port)
    client = actors.Actor("client", case)
    server = actors.Actor("server", case)
    has_server_ended, is_client_done = threading.Event(), threading.Event()
    thread = threading.Thread(target=_serve, args=(lane, server, is_client_done, has_server_ended))
    thread.start()
    ended = None
    try:
        _connect_and_run(lane, family, client)
        if log:
            if not scenario.is_server_optional:
                has_server_ended.wait(CASE_LIMIT_S)
            ended = log.wait_closed(lane.name, nth, CASE_LIMIT_S)
    finally:
        is_client_done.set()
        thread.join()
        if case.vanished_port:
            namespace.unfilter_port("gone", case.vanished_port)
        if scenario.is_held and "release" in scenario.client:
            namespace.filter_port("held", lane.server_port)
    return _judge(scenario, client, server, ended, log)


def _connect_and_run(lane, family, client):
    client.sock = _socket(family)
    _set_buffers(client.sock, lane.scenario.client_buffer)
    try:
        client.sock.settimeout(CASE_LIMIT_S)
        client.sock.connect((namespace.LOOPBACK[family], lane.connect_port))
    except (ConnectionRefusedError, ConnectionResetError):
        client.end = "rst"
        client.close()
        return
    client.run(lane.scenario.client)


def _serve(lane, server, is_client_done, has_ended):
    if lane.listener and _accept(lane, server, is_client_done):
        server.run(lane.scenario.server)
    has_ended.set()


def _accept(lane, server, is_client_done):
    """True with server.sock set, or False once it is sure that nobody comes."""
    if lane.scenario.accept_after_ms:
        time.sleep(lane.scenario.accept_after_ms / 1000)
    may_be_last_look = False
    while True:
        if select.select([lane.listener], [], [], 0.05)[0]:
            server.sock, _ = lane.listener.accept()
            return True
        if may_be_last_look and lane.scenario.is_server_optional:
            return False
        may_be_last_look = is_client_done.is_set()
        if time.monotonic() > server.case.deadline:
            server.problems.append("server: nobody connected")
            return False


def _socket(family):
    return socket.socket(socket.AF_INET6 if family == "v6" else socket.AF_INET)


def _set_buffers(sock, size):
    if size:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _judge(scenario, client, server, ended, log):
    """What is wrong with this repeat, as texts."""
    was_there = server.n_received or server.end or server.n_sent
    problems = client.problems + server.problems
    problems += _compare("client", client, scenario.client_sees)
    if was_there or not scenario.is_server_optional:
        problems += _compare("server", server, scenario.server_sees)
    if log and ended is None:
        problems.append("lb4 logged no end")
    elif log and ended["reason"] not in scenario.reasons:
        problems.append(f"reason {ended['reason']}, not {' or '.join(scenario.reasons)}")
    return problems


def _compare(role, actor, sees):
    wanted_bytes, wanted_ends = sees
    least, most = wanted_bytes if isinstance(wanted_bytes, tuple) else (wanted_bytes, wanted_bytes)
    problems = []
    if not least <= actor.n_received <= most:
        problems.append(f"{role} received {actor.n_received} bytes, not {wanted_bytes}")
    if wanted_ends is not None and actor.end not in _as_tuple(wanted_ends):
        problems.append(f"{role} saw {actor.end}, not {' or '.join(_as_tuple(wanted_ends))}")
    return problems


def _as_tuple(words):
    return words if isinstance(words, tuple) else (words,)
