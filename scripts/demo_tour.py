"""The tour: shows in words what lb4 promises, and checks each promise. Exit 0 if all held."""

import collections
import hashlib
import os
import re
import socket
import subprocess
import tempfile
import threading
import time

import demo

N_REQUESTS = 60
TRANSFER_BYTES = 64 * 1024 * 1024
BAD_CONFIG = """service postgres {
    listen  tcp 127.0.0.1:7000
    server  web1 127.0.0.1:7001 weight 1000
}
"""


def title(text):
    print(f"\n== {text}")


def check(is_true, text):
    if not is_true:
        raise demo.DemoError(f"not so: {text}")
    print(f"   ok: {text}")


def count_answers():
    return collections.Counter(demo.ask() for _ in range(N_REQUESTS))


def show_counts(answers):
    for name in sorted(answers):
        print(f"   {name}  {'#' * answers[name]} {answers[name]}")


def show_balance():
    title(f"Balance: {N_REQUESTS} connections, one after the other, over three servers")
    answers = count_answers()
    show_counts(answers)
    check(set(answers) == set(demo.SERVERS), "every server got its share, and no client failed")


def show_dead_server(processes, servers):
    title("A server that refuses connections: web2 is stopped")
    demo.stop(servers["web2"])
    answers = count_answers()
    show_counts(answers)
    check(
        set(answers) == {"web1", "web3"} and answers.total() == N_REQUESTS,
        f"all {N_REQUESTS} clients were served: who was sent to web2 got another server",
    )
    print("   web2 is started again")
    servers["web2"] = processes.start_server("web2")


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
    print(f"   {len(echoed) >> 20} MiB came back in {seconds:.2f} s; SHA-256 {digest[:16]}...")
    check(hashlib.sha256(echoed).hexdigest() == digest, "the checksums of both are equal")


def send_and_end(client, data):
    """Runs beside the reader, which sees by what is missing that this failed."""
    try:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
    except OSError as error:
        print(f"   sending failed: {error}")


def show_half_close():
    title("Half-close: a client that ends its side (FIN) still gets the answer")
    with demo.connect() as client:
        client.sendall(b"sum\nall that I have to say")
        client.shutdown(socket.SHUT_WR)
        answer = demo.read_all(client).decode().strip()
    print(f"   answer after the FIN: {answer[:40]}...")
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
        print(f"   {message}")
        place = re.escape(file.name) + r":3:\d+: .*256"
    check(result.returncode == 1, "exit code 1")
    check(re.search(place, message), "file, line, column and the accepted range are named")


def show_drain(lb4):
    title("Drain: SIGTERM while a client is being served")
    with demo.connect() as client:
        client.sendall(b"slow\n")
        check(client.recv(100), "a client is connected")
        lb4.terminate()
        demo.wait_until(lambda: not demo.is_listening(demo.LISTEN_PORT), "lb4 stops listening")
        print("   ok: new connections are refused")
        check(lb4.poll() is None, "lb4 still serves the live one")
        client.sendall(b"go on\n")
        check(demo.read_all(client) == b"done\n", "the live connection finished in peace")
    check(lb4.wait(demo.DEADLINE_S) == 0, "lb4 then ended, with exit code 0")


def main():
    started = time.monotonic()
    with demo.Demo() as processes:
        servers = processes.start_servers()
        lb4 = processes.start_lb4()
        show_balance()
        show_dead_server(processes, servers)
        show_transfer()
        show_half_close()
        show_config_error()
        show_drain(lb4)
    print(f"\nThe tour is over: all was so, in {time.monotonic() - started:.1f} s.")


demo.run(main)
