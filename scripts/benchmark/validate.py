"""Is the load generator right? Its figures beside those of tools that many know, with the same
server, the same number of connections and the same bytes: iperf3 for streams, redis-benchmark for
ping-pong (its PING comes back as an answer that it understands, even from an echo server), wrk for
requests of HTTP. Without a proxy and through lb4; interleaved, medians of the rounds. Tools differ
in what they spend for themselves: one that has used up its CPU tells its own limit.
"""

import contextlib
import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import statistics
import sys
import time

import benchmark.drivers as drivers
import benchmark.processes as processes
import benchmark.runner as runner
import benchmark.space as space
import benchmark.terminal as terminal
from benchmark.scenarios import FEW_PORTS, SERVER_PORT

PING = "*1\r\n$4\r\nPING\r\n"
GET = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
N_CONNECTIONS = 64
NGINX = """daemon off; master_process off; pid {folder}/http.pid; error_log stderr;
events {{ worker_connections 4000; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200 "fine"; }} }}
}}
"""


@dataclasses.dataclass(frozen=True)
class Trial:
    """@known and @own run(bench, port) give figures of the same kind; @server a context."""

    title: str
    unit: str
    tool: str
    server: object
    known: object
    own: object


def run_client(bench, words, **options):
    return processes.run(words, bench.ledger.accounts["load"], bench.seconds + 60,
                         env=runner.environment(), **options)


def run_own(bench, port, scenario, *words):
    out = run_client(bench, [bench.load, "run", scenario, f"127.0.0.1:{port}", "-t", bench.seconds,
                             *words], check=False)
    result = json.loads(out)
    if result["errors"]:
        raise processes.Failure(f"the load generator had {result['errors']} errors")
    return result["units_per_second"] * (8 / drivers.GB if scenario.startswith("bulk") else 1)


# --- servers --------------------------------------------------------------------------------------


@contextlib.contextmanager
def serve(bench, *words):
    process = processes.start(words, bench.ledger.accounts["server"], unprivileged=True,
                              cwd=bench.folder, stdout=processes.subprocess.DEVNULL,
                              stderr=processes.subprocess.DEVNULL, env=runner.environment())
    try:
        processes.wait_until(process, lambda: processes.accepts(SERVER_PORT), "it serves")
        yield
    finally:
        processes.stop(process, signal.SIGTERM)


@contextlib.contextmanager
def streams(bench):
    """iperf3's, and beside it the load tool's two, one port up each."""
    with serve(bench, "iperf3", "-s", "-p", str(SERVER_PORT)):
        process = processes.start(
            [bench.load, "serve", f"127.0.0.1:{SERVER_PORT + 1}", "source",
             f"127.0.0.1:{SERVER_PORT + 2}", "sink"], bench.ledger.accounts["server"],
            stdout=processes.subprocess.DEVNULL)
        try:
            processes.wait_until(process, lambda: processes.accepts(SERVER_PORT + 2), "it serves")
            yield
        finally:
            processes.stop(process, signal.SIGTERM)


def echo(bench):
    return serve(bench, bench.load, "serve", f"127.0.0.1:{SERVER_PORT}", "echo")


@contextlib.contextmanager
def http(bench):
    path = os.path.join(bench.folder, "http.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(NGINX.format(folder=bench.folder, port=SERVER_PORT))
    with serve(bench, "nginx", "-e", "stderr", "-p", bench.folder, "-c", path):
        yield


# --- clients --------------------------------------------------------------------------------------


def iperf(way, n):
    def run(bench, port):
        out = run_client(bench, ["iperf3", "-J", "-c", "127.0.0.1", "-p", port, "-P", n, "-t",
                                 max(1, round(bench.seconds)), *(["-R"] if way == "down" else [])])
        return json.loads(out)["end"]["sum_received"]["bits_per_second"] / drivers.GB
    return run


def redis_ping(bench, port):
    count = 50000 * bench.seconds
    out = run_client(bench, ["redis-benchmark", "-h", "127.0.0.1", "-p", port, "-c", N_CONNECTIONS,
                             "-n", int(count), "-t", "ping_mbulk", "--csv"])
    rows = csv.DictReader(line for line in out.splitlines() if line.startswith('"'))
    return float(list(rows)[-1]["rps"])


def wrk(bench, port):
    out = run_client(bench, ["wrk", "-t", 1, "-c", N_CONNECTIONS, "-d",
                             f"{max(1, round(bench.seconds))}s", f"http://127.0.0.1:{port}/"])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def answer_bytes(port):
    """Of one answer to GET."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        client.sendall(GET.encode())
        got = b""
        while not got.endswith(b"\r\n\r\nfine"):
            more = client.recv(4096)
            if not more:
                raise processes.Failure(f"the HTTP server said {got!r}")
            got += more
        return len(got)


def make_trials():
    def bulk(way, n):
        offset = 1 if way == "down" else 2
        return Trial(f"bulk {way}, {n} stream{'s' * (n > 1)}", "Gbit/s", "iperf3", streams,
                     iperf(way, n), lambda bench, port: run_own(
                         bench, port + offset, f"bulk-{way}", "-n", n))
    return [*(bulk(way, n) for way in ("down", "up") for n in (1, 16)),
            Trial(f"ping-pong of {len(PING)} B, {N_CONNECTIONS} connections", "/s",
                  "redis-benchmark", echo, redis_ping, lambda bench, port: run_own(
                      bench, port, "pingpong", "-n", N_CONNECTIONS, "-q", PING)),
            Trial(f"HTTP, {N_CONNECTIONS} connections", "/s", "wrk", http, wrk,
                  lambda bench, port: run_own(bench, port, "pingpong", "-n", N_CONNECTIONS, "-q",
                                              GET, "-a", answer_bytes(port)))]


# --- all of them ----------------------------------------------------------------------------------


@contextlib.contextmanager
def through_lb4(bench):
    """Three ports from FEW_PORTS on, to as many from SERVER_PORT on."""
    peer = bench.known["lb4"]
    path = os.path.join(bench.folder, "validate.conf")
    with open(path, "w", encoding="ascii") as file:
        for i in range(3):
            file.write(f"service s{i} {{\n    listen tcp 127.0.0.1:{FEW_PORTS + i}\n"
                       f"    server s 127.0.0.1:{SERVER_PORT + i}\n}}\n")
    process = processes.start([peer.program, "-q", "-c", path], bench.ledger.accounts["proxy"],
                              unprivileged=True, cwd=bench.folder,
                              stderr=processes.subprocess.DEVNULL)
    try:
        processes.wait_until(process, lambda: processes.accepts(FEW_PORTS), "it listened")
        yield
    finally:
        processes.stop(process)


def run_clients(bench, clients, port):
    """(their figure, CPUs that they have used)"""
    account = bench.ledger.accounts["load"]
    spent, began = account.spent_s(), time.monotonic()
    figure = clients(bench, port)
    return figure, (account.spent_s() - spent) / (time.monotonic() - began)


def run_trial(bench, trial, port):
    """(known figure, its CPUs, own figure, its CPUs): medians."""
    found = [(*run_clients(bench, trial.known, port), *run_clients(bench, trial.own, port))
             for _ in range(bench.rounds)]
    return [statistics.median(column) for column in zip(*found)]


def make_row(trial, title, found):
    known, known_cpus, own, own_cpus = found
    digits = 2 if trial.unit == "Gbit/s" else 0
    return [f"{trial.title}; {title}", trial.tool, f"{known:,.{digits}f} {trial.unit}",
            f"{known_cpus:.2f}", f"{own:,.{digits}f} {trial.unit}", f"{own_cpus:.2f}",
            f"{own / known:.2f}"]


def run(bench):
    rows = [["", "known tool", "its figure", "its CPUs", "load generator", "its CPUs", "ratio"]]
    for trial in make_trials():
        if not shutil.which(trial.tool):
            print(f"left out: {trial.tool} is not installed")
            continue
        with space.enter(10240), trial.server(bench), through_lb4(bench):
            for title, port in (("no proxy", SERVER_PORT), ("through lb4", FEW_PORTS)):
                rows.append(make_row(trial, title, run_trial(bench, trial, port)))
                print("  ".join(rows[-1]), file=sys.stderr, flush=True)
    print("\n" + terminal.align(rows))
