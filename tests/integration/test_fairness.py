"""One bulk connection does not starve small ones on the same worker (F18)."""
import contextlib
import multiprocessing
import socket
import statistics

import servers

LISTEN, BULK = "127.0.0.1:7000", "127.0.0.1:7001"
P99_BAR_S = 0.005
SLACK = 10  # bulk, lb4, clients and servers share two processors
N_SMALL = 50


def send_for_ever(address):
    with contextlib.suppress(OSError):
        with servers.connect(address) as sock:
            while True:
                sock.sendall(bytes(1 << 20))


def sink(listener):
    sock, _ = listener.accept()
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass


@contextlib.contextmanager
def bulk():
    """A stream that two processes of their own keep going; yields its server's address."""
    listener = socket.create_server(("127.0.0.1", 0))
    fork = multiprocessing.get_context("fork")
    reader = fork.Process(target=sink, args=(listener,), daemon=True)
    writer = fork.Process(target=send_for_ever, args=(BULK,), daemon=True)
    reader.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", writer
    finally:
        for process in (reader, writer):
            if process.pid:
                process.kill()
                process.join()
        listener.close()


def test_small_messages_beside_a_bulk_stream(start_lb4, splice):
    with servers.EchoServer() as server, contextlib.ExitStack() as stack, \
            bulk() as (bulk_address, writer):
        lb4 = start_lb4(["-w", "1", "-l", LISTEN, "-s", server.address,
                         "-l", BULK, "-s", bulk_address], splice=splice)
        clients = [stack.enter_context(servers.connect(LISTEN)) for _ in range(N_SMALL)]
        writer.start()
        rounds = sorted(servers.ask(client, bytes(64)) for _ in range(60) for client in clients)
        p99 = rounds[len(rounds) * 99 // 100]
        print(f"median {statistics.median(rounds) * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms")
        assert p99 < P99_BAR_S * SLACK
        for client in clients:
            client.close()
        writer.kill()
        end = lb4.wait_n_closed("rule2", 1)[0]
        print(f"bulk: {int(end['in']) / 1e6:.0f} MB in {end['ms']} ms")
        assert int(end["in"]) > 1e6
