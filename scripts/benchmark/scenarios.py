"""The table of what is measured."""

import dataclasses
import fnmatch

import benchmark.figures as figures

FEW_PORTS = 9100  # where listeners begin, when they are few: below the ephemeral ports
MANY_PORTS = 20000
SERVER_PORT = 9001


@dataclasses.dataclass(frozen=True)
class Scenario:
    """`driver` names a function of `drivers`, `backend` a class of `backends`."""

    name: str
    title: str
    group: str
    driver: str  # tcp | udp | idle | crowd | redis | pgbench
    backend: str  # load | none | redis | postgres
    columns: tuple = figures.TRANSACTIONS
    load: str = ""  # scenario of the load tool
    mode: str = ""  # of its server
    connections: int = 64  # of the clients
    held: int = 0  # connections beside them
    size: int = 64  # bytes of a request
    rate: int = 0  # datagrams/s; 0: as many as there are answers
    words: tuple = ()  # for the real clients
    n_servers: int = 1
    n_ports: int = 1
    balance: str = "leastconn"
    is_checked: bool = False  # proxies that can probe their servers
    n_files: int = 0  # limit of descriptors, or what the machine gives; 0: the latter
    is_pinned: bool = False  # the proxy on one CPU
    is_extra: bool = False  # only when asked for
    together: str = ""  # those of one word share their rounds

    @property
    def transport(self):
        return "udp" if self.driver == "udp" else "tcp"

    @property
    def is_stream(self):
        return self.columns is figures.STREAMS

    @property
    def ports(self):
        first = FEW_PORTS if self.n_ports == 1 else MANY_PORTS
        return range(first, first + self.n_ports)

    @property
    def first_ephemeral(self):
        return 10240 if self.n_ports == 1 else MANY_PORTS + self.n_ports

    @property
    def capacity(self):
        """Connections that a contestant must be able to hold; a little more than there are."""
        return max(4000, self.connections + self.held + 200)

    @property
    def servers(self):
        if self.n_servers == 1:
            return (f"127.0.0.1:{SERVER_PORT}",)
        return tuple(f"127.2.{i // 250}.{i % 250 + 1}:{SERVER_PORT}"
                     for i in range(self.n_servers))


def ping_pong():
    return [Scenario(f"pingpong-{prefix}{n}",
                     f"ping-pong of {size} B, {n} connection{'s' * (n > 1)}", "pingpong", "tcp",
                     "load", load="pingpong", mode="echo", connections=n, size=size)
            for prefix, size in (("", 64), ("1k-", 1024)) for n in (1, 64, 512)]


def short():
    return [Scenario("crr", "connect, request, close; 64 clients", "crr", "tcp", "load", load="crr",
                     mode="answer")]


def bulk():
    return [Scenario(f"bulk-{way}-{n}", f"bulk {way}, {n} stream{'s' * (n > 1)}", "bulk", "tcp",
                     "load", figures.STREAMS, f"bulk-{way}", mode, n)
            for way, mode in (("down", "source"), ("up", "sink")) for n in (1, 2, 16)]


def held():
    crowd = [Scenario(f"crowd-{n}", f"ping-pong of 64 B, 64 connections beside {n:,} others, "
                      "20,000 descriptors", "crowd", "crowd", "load", load="pingpong", mode="echo",
                      held=n, n_files=20000, together="crowd") for n in (0, 9000)]
    return [Scenario("idle", "8,000 idle connections", "idle", "idle", "load", figures.HELD, "idle",
                     "echo", 8000, n_files=40000), *crowd]


def datagrams():
    def make(name, title, load, flows, size, rate=0):
        columns = figures.DATAGRAMS if load == "pingpong" else figures.ONE_WAY
        return Scenario(f"udp-{name}", f"UDP, {title}", "udp", "udp", "none", columns, load,
                        connections=flows, size=size, rate=rate)
    return [make("pingpong", "64 B request and answer, 64 flows", "pingpong", 64, 64),
            make("oneway-1", "1,200 B one-way at 150,000/s, 1 flow", "oneway", 1, 1200, 150000),
            make("oneway-16", "1,200 B one-way at 150,000/s, 16 flows", "oneway", 16, 1200, 150000),
            make("overload", "64 B echo, 64 flows, four times what nginx serves", "flood", 64, 64)]


def real():
    def redis(name, pipeline):
        words = ("-t", "get", "-c", "50", "-P", str(pipeline))
        return Scenario(name, "redis-benchmark " + " ".join(words), "redis", "redis", "redis",
                        connections=50, words=words)

    def pgbench(name, *words):
        return Scenario(name, "pgbench " + " ".join(words), "postgres", "pgbench", "postgres",
                        connections=16, words=words)
    return [redis("redis-p1", 1), redis("redis-p16", 16),
            pgbench("pgbench", "-S", "-c", "16", "-j", "2"),
            pgbench("pgbench-connect", "-S", "-C", "-c", "16", "-j", "2")]


def many():
    def make(name, title, group, **words):
        return Scenario(name, f"connect, request, close; 64 clients; {title}", group, "tcp", "load",
                        load="crr", mode="answer", together=group, **words)

    def servers(name, n, title="", **words):
        title = title or f"{n:,} server{'s' * (n > 1)}, {words.get('balance', 'leastconn')}"
        return make(f"servers-{name}", title, "servers", n_servers=n, **words)
    return [
        *(servers(str(n), n) for n in (1, 10, 100, 1000)),
        servers("1000-checked", 1000, "1,000 servers, leastconn, probed", is_checked=True),
        *(servers(f"1000-{policy}", 1000, balance=policy, is_extra=True)
          for policy in ("roundrobin", "random", "source")),
        *(make(f"ports-{n}", f"{n:,} listening port{'s' * (n > 1)}", "ports", n_ports=n,
               n_files=100000) for n in (1, 100, 10000)),
    ]


def pinned(scenario):
    """Its twin, with the proxy on one CPU."""
    return dataclasses.replace(scenario, name=f"{scenario.name}@1", group="pinned", is_pinned=True,
                               title=f"{scenario.title}; proxy on one CPU", together="")


PINNED_BY_DEFAULT = ("pingpong-64", "crr", "bulk-down-16")


def make_all():
    found = [*ping_pong(), *short(), *bulk(), *held(), *datagrams(), *real(), *many()]
    twins = [pinned(one) for one in found if one.group in ("pingpong", "crr", "bulk")]
    return {one.name: one if one.name.partition("@")[0] in PINNED_BY_DEFAULT or not one.is_pinned
            else dataclasses.replace(one, is_extra=True) for one in found + twins}


SCENARIOS = make_all()


def choose(patterns):
    """Scenarios by name, group or pattern, in the order of the table; without any, all that are not
    extras. ValueError names a pattern that fits nothing."""
    if not patterns:
        return [one for one in SCENARIOS.values() if not one.is_extra]
    chosen = set()
    for pattern in patterns:
        fitting = {name for name, one in SCENARIOS.items() if fnmatch.fnmatchcase(name, pattern) or
                   (one.group == pattern and not (one.is_extra and pattern != "pinned"))}
        if not fitting:
            raise ValueError(f"no scenario {pattern!r}; --list shows them")
        chosen |= fitting
    return [one for name, one in SCENARIOS.items() if name in chosen]


def with_twins(chosen):
    names = [one.name for one in chosen]
    return [*chosen, *(SCENARIOS[f"{name}@1"] for name in names
                       if f"{name}@1" in SCENARIOS and f"{name}@1" not in names)]


def batches(chosen):
    """Lists of scenarios that share their rounds, and a namespace."""
    found = {}
    for one in chosen:
        found.setdefault(one.together or one.name, []).append(one)
    return list(found.values())
