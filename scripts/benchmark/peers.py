"""Who takes part: how each contestant is configured and started, and what it cannot do.

All use as many threads or processes as they may use CPUs, none writes a log line per connection,
and time-outs are long enough never to fire. `haproxy` and `nginx` are as Debian's users have them,
but for what would stop them: limits, and that nginx does not pass a half-close on, so that who has
sent everything would get no answer. `-tuned` is what can be had from them for bulk.
"""

import dataclasses
import os
import re
import shutil
import subprocess

DEFAULT_NGINX_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so"
PATH = os.pathsep.join(["/usr/sbin", "/sbin", os.environ.get("PATH", "/usr/bin:/bin")])


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a contestant runs: a folder for its files, and the number of CPUs for its workers."""

    folder: str
    n_cpus: int


class Peer:
    """A contestant. `text` is its configuration for a scenario, `command` how it is started with
    the file CONFIG; `lacks` the reason why it is left out, if there is one."""

    name = program = ""
    note = ""
    kind = "peer"  # lb4 | peer | limit
    version_words = ("-v",)
    is_apart = False  # needs a namespace of its own, as it would change the others'

    def lacks(self, scenario):
        return ""

    def why_not(self, scenario):
        if self.program and not shutil.which(self.program, path=PATH):
            return "not installed"
        return self.lacks(scenario)

    def text(self, scenario, place):
        return ""

    def command(self, scenario, place):
        return ()

    def port(self, scenario):
        """Where clients connect: of many ports the last."""
        return scenario.ports[-1]

    def n_sockets(self, place):
        """UDP sockets at a port once it is ready."""
        return place.n_cpus

    def version(self):
        """First line of what it says of itself that has a number in it."""
        path = self.program and shutil.which(self.program, path=PATH)
        if not path:
            return ""
        done = subprocess.run([path, *self.version_words], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        return next((line.partition(" - http")[0].strip() for line in done.stdout.splitlines()
                     if re.search(r"\d+\.\d+", line)), "")

    def shown(self, scenario, place):
        """Command and configuration, for people."""
        words = " ".join(self.command(scenario, place))
        return f"$ {words}\n{self.text(scenario, place)}" if words else ""

    def write_and_command(self, scenario, place):
        path = os.path.join(place.folder, f"{self.name}.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(self.text(scenario, place))
        return [word.replace("CONFIG", path) for word in self.command(scenario, place)]


def port_range(ports):
    return f"{ports[0]}" if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"


class Lb4(Peer):
    kind = "lb4"
    version_words = ("-V",)

    def __init__(self, name, binary):
        self.name, self.program = name, binary

    def text(self, scenario, place):
        lines = [f"listen {scenario.transport} 127.0.0.1:{port_range(scenario.ports)}"]
        if scenario.transport == "udp":
            lines += ["timeout udp 10m"]
        if scenario.n_servers > 1:
            lines += [f"balance {scenario.balance}",
                      f"check {'tcp' if scenario.is_checked else 'none'}"]
        lines += [f"server s{i} {server}" for i, server in enumerate(scenario.servers)]
        return "service bench {\n" + "".join(f"    {line}\n" for line in lines) + "}\n"

    def command(self, scenario, place):
        return (self.program, "-c", "CONFIG")


class HAProxy(Peer):
    name, program = "haproxy", "haproxy"
    tuning = options = ""
    policies = {"leastconn": "leastconn", "roundrobin": "roundrobin", "random": "random(2)",
                "source": "source"}

    def lacks(self, scenario):
        return "no UDP" if scenario.transport == "udp" else ""

    def text(self, scenario, place):
        check = " check inter 2s" if scenario.is_checked else ""
        balance = (f"    balance {self.policies[scenario.balance]}\n" if scenario.n_servers > 1
                   else "")
        servers = "".join(f"    server s{i} {server}{check}\n"
                          for i, server in enumerate(scenario.servers))
        return (f"global\n    maxconn {scenario.capacity}\n{self.tuning}"
                "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n"
                f"    timeout server 1h\n{self.options}"
                f"listen bench\n    bind 127.0.0.1:{port_range(scenario.ports)}\n"
                f"{balance}{servers}")

    def command(self, scenario, place):
        return ("haproxy", "-db", "-f", "CONFIG")


class HAProxyTuned(HAProxy):
    name = "haproxy-tuned"
    note = "splices always, pipes of 1 MiB"
    tuning = "    tune.pipesize 1048576\n"
    options = "    option splice-request\n    option splice-response\n"

    def lacks(self, scenario):
        same = scenario.group in ("servers", "ports", "idle", "crowd")
        return super().lacks(scenario) or ("as haproxy, but for bulk" if same else "")


class HAProxyAuto(HAProxyTuned):
    name = "haproxy-auto"
    note = "splices when it finds that worthwhile, pipes of 1 MiB"
    options = "    option splice-auto\n"


class Nginx(Peer):
    name, program = "nginx", "nginx"
    tuning = ""
    policies = {"leastconn": "least_conn;", "roundrobin": "", "random": "random two least_conn;",
                "source": "hash $remote_addr consistent;"}

    def lacks(self, scenario):
        if not os.path.exists(DEFAULT_NGINX_MODULE):
            return "its stream module is not installed"
        return "probes no servers" if scenario.is_checked else ""

    def listen(self, scenario):
        """Buffers of UDP as lb4 asks for. A socket for each worker and port, unless that is too
        many."""
        words = [f"127.0.0.1:{port_range(scenario.ports)}"]
        if scenario.transport == "udp":
            words += ["udp", "rcvbuf=2m", "sndbuf=2m"]
        else:
            words += ["backlog=4096"]
        return " ".join(words + ["reuseport"] * (scenario.n_ports <= 1000))

    def text(self, scenario, place):
        slots = 2 * scenario.capacity + 2 * scenario.n_ports
        return (f"load_module {DEFAULT_NGINX_MODULE};\ndaemon off;\npid {place.folder}/nginx.pid;\n"
                f"worker_processes {place.n_cpus};\n"
                f"events {{\n    worker_connections {slots};\n}}\n"
                "stream {\n    proxy_connect_timeout 5s;\n    proxy_timeout 1h;\n"
                "    proxy_half_close on;\n"
                f"{self.tuning}{self.upstream(scenario)}"
                f"    server {{\n        listen {self.listen(scenario)};\n        proxy_pass "
                f"{scenario.servers[0] if scenario.n_servers == 1 else 'bench'};\n    }}\n}}\n")

    def upstream(self, scenario):
        if scenario.n_servers == 1:
            return ""
        lines = ["zone bench 4m;", self.policies[scenario.balance],
                 *(f"server {server};" for server in scenario.servers)]
        return ("    upstream bench {\n" + "".join(f"        {line}\n" for line in lines if line) +
                "    }\n")

    def command(self, scenario, place):
        return ("nginx", "-e", "stderr", "-p", place.folder, "-c", "CONFIG")


class NginxTuned(Nginx):
    name = "nginx-tuned"
    note = "buffers of 256 KiB"
    tuning = "    proxy_buffer_size 256k;\n"

    def lacks(self, scenario):
        return super().lacks(scenario) or ("" if scenario.is_stream else "tuned for bulk alone")


class Pen(Peer):
    """Round robin without a table of clients: one source would have one server for ever."""

    name, program = "pen", "pen"

    def lacks(self, scenario):
        if scenario.transport == "udp":
            return "no answer was seen to come back through it (0.34.1)"
        if scenario.n_ports > 1:
            return "one port for a process"
        if scenario.group == "servers" and (scenario.balance != "roundrobin" or
                                            scenario.is_checked):
            return "round robin alone, no probes"
        return ""

    def command(self, scenario, place):
        return ("pen", "-f", "-r", "-x", str(scenario.capacity), "-c", str(scenario.capacity),
                f"127.0.0.1:{scenario.ports[0]}", *scenario.servers)


class Rinetd(Peer):
    name, program = "rinetd", "rinetd"

    def lacks(self, scenario):
        if scenario.transport == "udp":
            return "no answer was seen to come back through it (0.73)"
        if scenario.connections + scenario.held > 2000:
            return "looks at every connection at every event: thousands take minutes to open"
        return "does not balance" if scenario.group == "servers" else ""

    def text(self, scenario, place):
        host, _, port = scenario.servers[0].rpartition(":")
        return "".join(f"127.0.0.1 {own} {host} {port}\n" for own in scenario.ports)

    def command(self, scenario, place):
        return ("rinetd", "-f", "-c", "CONFIG")


class Socat(Peer):
    name, program = "socat", "socat"
    version_words = ("-V",)

    def lacks(self, scenario):
        if scenario.n_ports > 1 or scenario.group == "servers":
            return "one port and one server for a process"
        if scenario.connections + scenario.held > 1000:
            return "a process for each connection"
        return ""

    def command(self, scenario, place):
        kind, words = (("UDP", "reuseaddr") if scenario.transport == "udp"
                       else ("TCP", "reuseaddr,backlog=4096,nodelay"))
        nodelay = ",nodelay" if kind == "TCP" else ""
        return ("socat", f"{kind}-LISTEN:{scenario.ports[0]},bind=127.0.0.1,fork,{words}",
                f"{kind}:{scenario.servers[0]}{nodelay}")

    def n_sockets(self, place):
        return 1


class Limit(Peer):
    """Nothing runs. `command`, where there is one, makes what stands for a proxy, and `undo` ends
    it."""

    kind = "limit"

    def lacks(self, scenario):
        if scenario.driver == "idle":
            return "no process that could hold them"
        return "does not balance" if scenario.n_servers > 1 else ""


class Dnat(Limit):
    name, program = "nft-dnat", "nft"
    note = "the kernel's address translation"
    is_apart = True  # connection tracking reorders what follows: p99 of `crr` trebled without proxy
    undo = ("nft", "delete", "table", "ip", "lb4_bench")

    def text(self, scenario, place):
        return ("table ip lb4_bench {\n    chain output {\n"
                "        type nat hook output priority -100\n"
                f"        ip daddr 127.0.0.1 {scenario.transport} dport "
                f"{port_range(scenario.ports)} dnat to {scenario.servers[0]}\n    }}\n}}\n")

    def command(self, scenario, place):
        return ("nft", "-f", "CONFIG")


class Direct(Limit):
    name = "direct"
    note = "clients connect to the server"

    def lacks(self, scenario):
        return super().lacks(scenario) or ("same as with one" if scenario.n_ports > 1 else "")

    def port(self, scenario):
        return int(scenario.servers[0].rpartition(":")[2])


EXTRAS = ("haproxy-auto",)


def make_all(lb4, against=None):
    """In the order of tables: {name: Peer}."""
    ours = [Lb4("lb4", lb4), *([Lb4("lb4-against", against)] if against else [])]
    others = [HAProxy(), HAProxyTuned(), HAProxyAuto(), Nginx(), NginxTuned(), Pen(), Rinetd(),
              Socat(), Dnat(), Direct()]
    return {peer.name: peer for peer in ours + others}


def choose(known, names):
    """By name, in the order of the tables; without any, all but the extras. ValueError names one
    that is not there."""
    for name in names:
        if name not in known:
            raise ValueError(f"no contestant {name!r}; there are: {', '.join(known)}")
    return [peer for name, peer in known.items()
            if (name in names if names else name not in EXTRAS)]
