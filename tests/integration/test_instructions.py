"""What a transaction costs in instructions of lb4's own, held against a budget: a regression that
no measurement of times on a busy machine would show. What it makes the kernel do does not count.

The traffic is in lock-step: nobody sends before the worker has come to rest, so that it takes the
same turns each time, as many as there can be. Otherwise a short connection has one of two counts, a
quarter apart, by which of its events the worker finds together. Each half of a ping-pong has a
turn of its own, which is more than half of what it costs; with 64 at once they share it."""
import contextlib
import shutil
import socket

import pytest

import callgrind
import daemon
import namespace
import servers

pytestmark = pytest.mark.skipif(daemon.IS_SANITIZED, reason="sanitizers' instructions count, too")

# Of gcc 12's release build, in which runs differ by 0.3 % at most. When a change is worth its
# price, or saves some: write here what the test says, and in the commit why. A datagram goes there
# and back, as a ping-pong does.
BUDGETS = {"ping-pong": 3332, "64 ping-pongs": 87294, "connection": 12312, "datagram": 5060}
MOST, LEAST = 1.10, 0.80  # of the budget
# The difference of two runs is without what a run costs by itself.
RUNS = {"ping-pong": (200, 1200), "64 ping-pongs": (5, 25), "connection": (50, 250),
        "datagram": (100, 600)}
N_WARM_UP = 5
N_CROWD = 64

REQUEST, ANSWER = b"?" * 64, b"!" * 64


class Traffic:
    """A client and a server that take turns, with a counted lb4 between them. As a context."""

    def __init__(self, start_lb4, folder):
        self.stack = contextlib.ExitStack()
        self.address = (namespace.LOOPBACK["v4"], namespace.take_port())
        self.listener = self.keep(socket.create_server((namespace.LOOPBACK["v4"], 0)))
        port = self.listener.getsockname()[1]
        self.counted = callgrind.Counted(start_lb4, folder, f"""
service web {{
    listen both {self.address[0]}:{self.address[1]}
    server s1 {namespace.LOOPBACK["v4"]}:{port}
}}
""")
        self.crowd = [[self.keep(sock) for sock in self.connect()] for _ in range(N_CROWD)]
        self.datagrams = [self.keep(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)]
        self.datagrams[0].connect(self.address)
        self.datagrams[1].bind(self.listener.getsockname())
        for sock in (self.listener, *self.datagrams):
            sock.settimeout(callgrind.LIMIT_S)
        self.units = {"ping-pong": lambda: self.ask(*self.crowd[0]),
                      "64 ping-pongs": self.ask_all, "connection": self.meet,
                      "datagram": self.ask_by_datagram}

    def keep(self, sock):
        return self.stack.enter_context(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()
        self.counted.finish()

    def connect(self):
        client = servers.connect("%s:%d" % self.address, callgrind.LIMIT_S)
        server = self.listener.accept()[0]
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.settimeout(callgrind.LIMIT_S)
        self.counted.settle()
        return client, server

    def ask(self, client, server):
        for sender, receiver, payload in ((client, server, REQUEST), (server, client, ANSWER)):
            sender.sendall(payload)
            assert receiver.recv(len(payload), socket.MSG_WAITALL) == payload
            self.counted.settle()

    def ask_all(self):
        there = [(client, server, REQUEST) for client, server in self.crowd]
        back = [(server, client, ANSWER) for client, server in self.crowd]
        for way in (there, back):
            with self.counted.stopped():
                for sender, _, payload in way:
                    sender.sendall(payload)
            for _, receiver, payload in way:
                assert receiver.recv(len(payload), socket.MSG_WAITALL) == payload
            self.counted.settle()

    def meet(self):
        client, server = self.connect()
        with client, server:
            self.ask(client, server)
            client.close()
            assert server.recv(1) == b""
            self.counted.settle()
        self.counted.settle()

    def ask_by_datagram(self):
        client, server = self.datagrams
        client.send(REQUEST)
        payload, source = server.recvfrom(2 * len(REQUEST))
        assert payload == REQUEST
        self.counted.settle()
        server.sendto(ANSWER, source)
        assert client.recv(2 * len(ANSWER)) == ANSWER
        self.counted.settle()

    def run(self, kind, n_units):
        """The Count of so many units."""
        for _ in range(n_units):
            self.units[kind]()
        return self.counted.take()


@pytest.fixture(scope="module")
def traffic(start_lb4_module, tmp_path_factory):
    with Traffic(start_lb4_module, tmp_path_factory.mktemp("callgrind")) as traffic:
        yield traffic


@pytest.fixture(scope="module", autouse=True)
def only_release(binary):
    """The budgets are of one compiler; another one, or a build that is not optimized, has others."""
    for tool in callgrind.TOOLS:
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    for producer in callgrind.producers(binary) or {"without debug information"}:
        if not ("GNU C17 12." in producer and "-march=x86-64" in producer and "-O2" in producer):
            pytest.skip(f"the budgets are of gcc 12 with -O2 for x86-64; this is {producer}")


@pytest.mark.parametrize("kind", BUDGETS)
def test_instructions_are_within_the_budget(traffic, kind):
    traffic.run(kind, N_WARM_UP)
    few, many = (traffic.run(kind, n_units) for n_units in RUNS[kind])
    n_few, n_many = RUNS[kind]
    each = (many.instructions - few.instructions) / (n_many - n_few)
    told = f"{kind}: {each:.0f} instructions, the budget is {BUDGETS[kind]}"
    print(told)  # pytest -rP shows it
    assert each <= MOST * BUDGETS[kind], f"{told}; these are of {n_many} such:\n{many.functions()}"
    assert each >= LEAST * BUDGETS[kind], f"{told}: lower it to {each:.0f}"
