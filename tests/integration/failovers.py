"""What happens to a pair of databases in a drill: a primary dies, hangs, or hands over, and the
other one takes its place at once, as an operator with quick fingers would have it."""
import collections
import contextlib
import os
import tempfile
import time

import databases
import proxies
import servers
import writers

WARM_UP_S = 2.5  # until every server has been judged, of whoever says that it is up at first
AFTER_WRITES = 200

# Seconds without a write, of writers and of pgbench; counts of what failed.
Figures = collections.namedtuple("Figures", "gap_s bench_gap_s connects cut")


class PostgresPair:
    """pg1 and pg2 of the example, each with its responder: `primary` and `replica` change places at
    each failover. As a context they run."""

    example = "postgresql"
    make_client = writers.PostgresClient

    def __init__(self, directory):
        self.directory = directory
        self.stack = contextlib.ExitStack()
        self.primary = self.replica = None
        self.is_broken = False

    def __enter__(self):
        with self.stack:
            first = databases.make_postgres(1, self.directory).create()
            second = databases.make_postgres(2, self.directory)
            self.stack.enter_context(first)
            first.ask("create table writes (writer int, n int, sent double precision)")
            databases.run(f"{databases.PG_BIN}/pgbench", "-i", "-q", "-d", first.conninfo)
            self.stack.enter_context(second.copy(first))
            for server, peer in ((first, second), (second, first)):
                self.stack.enter_context(databases.Responder(server, peer))
            self.stack = self.stack.pop_all()
        self.primary, self.replica = first, second
        self.wait_streaming()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def wait_streaming(self):
        servers.wait_until(self.primary.has_replica, databases.RUN_LIMIT_S, "a replica")

    # --- failovers; each returns when the other one takes writes

    def switch(self, event):
        """`event` of "kill", "hang", "stop" befalls the primary, and the replica is promoted."""
        self.is_broken = True
        started = time.monotonic()
        getattr(self.primary, event)()
        self.replica.promote()
        self.primary, self.replica = self.replica, self.primary
        return started

    def repair(self):
        """The old primary becomes a replica of the new one."""
        if self.replica.process.poll() is None:
            self.replica.kill()
        self.replica.copy(self.primary).start()
        self.wait_streaming()
        self.is_broken = False

    def rows_sent_after(self, server, at):
        """How many rows does this server have that were sent then or later?"""
        return int(server.ask(f"select count(*) from writes where sent >= {at}"))


class RedisPair:
    """redis1 and redis2 of the example."""

    example = "redis"
    make_client = writers.RedisClient

    def __init__(self, directory):
        self.directory = directory
        self.stack = contextlib.ExitStack()
        self.primary = self.replica = None

    def __enter__(self):
        with self.stack:
            first, second = (self.stack.enter_context(databases.make_redis(i, self.directory))
                             for i in (1, 2))
            second.follow(first)
            self.stack = self.stack.pop_all()
        self.primary, self.replica = first, second
        return self

    def __exit__(self, *_):
        self.stack.close()

    def switch(self, event):
        """`event` of "kill", "hang" befalls the master, and the replica is made one."""
        started = time.monotonic()
        getattr(self.primary, event)()
        self.replica.promote()
        self.primary, self.replica = self.replica, self.primary
        return started

    def repair(self):
        """The old master comes back as a replica of the new one, by its configuration: it is at no
        time a master."""
        if self.replica.process.poll() is None:
            self.replica.kill()
        self.replica.master = self.primary
        self.replica.start().follow(self.primary)


# --- one failover behind one balancer

def measure(pair, kind, binary, event, folder, phase_s=0.0):
    """One failover behind a fresh balancer, `phase_s` later than at once: where in the intervals of
    its checks it happens makes a difference."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        os.chmod(place, 0o777)
        with proxies.running(kind, binary, pair.example, place) as address:
            return fail_over(pair, address, event, place, phase_s)


def fail_over(pair, address, event, place, phase_s):
    with writers.Writers(pair.make_client, address) as clients, contextlib.ExitStack() as stack:
        bench = None
        clients.wait_quiet(pair.primary.host, WARM_UP_S + phase_s)
        if pair.example == "postgresql":
            bench = stack.enter_context(writers.PgBench(address, place))
            bench.wait_run()
        wall, started = time.time(), pair.switch(event)
        clients.wait_writes(AFTER_WRITES, started, pair.primary.host)
    return Figures(clients.longest_gap(started), bench.longest_gap(wall) if bench else None,
                   clients.count_failures("connect", started),
                   clients.count_failures("write", started))
