"""PROXY headers for tests: the table of tests/vectors, and what receivers make of them. A receiver
is an address; it answers a request behind a header with the client that it believes to have."""
import contextlib
import ipaddress
import pathlib
import re
import socket
import threading

import namespace
import real_servers
import servers

VECTORS = pathlib.Path(__file__).parents[1] / "vectors" / "proxy.txt"
REQUEST = b"GET / HTTP/1.0\r\n\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ESCAPE = re.compile(r"\\(?:([rn\\])|x(..)|\{(..)\*(\d+)\})")
CLIENT = re.compile(rb"client=(\S*):(\d*)\n")


class Vector:
    """A line of the table. `client` is (host, port), or None: the real one."""

    def __init__(self, line):
        self.name, self.verdict, client, _, text = line.split(" ", 4)
        self.bytes = ESCAPE.sub(unescape, text).encode("latin1")
        self.client = None
        if self.verdict == "good" and client != "real":
            host, port = client.rsplit(":", 1)
            self.client = (host.strip("[]"), int(port))


def unescape(found):
    short, byte, repeated, count = found.groups()
    if short:
        return {"r": "\r", "n": "\n", "\\": "\\"}[short]
    return chr(int(byte or repeated, 16)) * int(count or 1)


def vectors():
    lines = VECTORS.read_text(encoding="latin1").split("\n")
    return [Vector(line) for line in lines if line and not line.startswith("#")]


def canonical(host):
    """One spelling for an address, IPv4 for a mapped one; what is no address stays."""
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        return str(getattr(address, "ipv4_mapped", None) or address)
    return host


def verdict(address, header, ends=True):
    """What becomes of a header with a request behind it: "bad", "real" for one from the address
    that it comes from, or the (host, port) that it is believed to come from."""
    try:
        sock = servers.connect(address)
    except ConnectionResetError:  # it was faster than we
        return "bad"
    with sock:
        own = sock.getsockname()[:2]
        answer = b""
        with contextlib.suppress(OSError):
            sock.sendall(header + REQUEST)
            if ends:
                sock.shutdown(socket.SHUT_WR)
            while data := sock.recv(65536):
                answer += data
    found = CLIENT.search(answer)
    if not found:
        return "bad"
    client = (canonical(found[1].decode().strip("[]")), int(found[2] or 0))
    return "real" if client in (own, ("", 0)) else client


class Recorder:
    """A server that keeps what it gets. To a request, behind a PROXY header of version 1 or none,
    it answers as above, and hangs up."""

    def __init__(self, host="127.0.0.1"):
        self.listener = socket.create_server(
            (host, namespace.take_port()), backlog=4096,
            family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.address = f"[{host}]:%d" % self.listener.getsockname()[1] if ":" in host \
            else f"{host}:%d" % self.listener.getsockname()[1]
        self.taken = []  # what each connection has brought
        self.threads = []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.taken.append(b"")
                thread = threading.Thread(target=self.take, args=(sock, len(self.taken) - 1),
                                          daemon=True)
                thread.start()

    def take(self, sock, nth):
        with sock, contextlib.suppress(OSError):
            while not self.taken[nth].endswith(REQUEST):
                data = sock.recv(65536)
                if not data:
                    return
                self.taken[nth] += data
            words = self.taken[nth].split(b"\r\n")[0].split(b" ")
            if words[0] == b"PROXY":
                sock.sendall(b"client=%s:%s\n" % (words[2], words[4]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Nginx(real_servers.Nginx):
    """Takes PROXY headers, and logs clients."""

    def prepare(self):
        super().prepare()
        at = f"[{self.host}]" if ":" in self.host else self.host
        text = (self.directory / "conf").read_text()
        text = text[:text.index(" server {")] + (
            " set_real_ip_from 127.0.0.1;\n set_real_ip_from ::1;\n real_ip_header proxy_protocol;\n"
            " log_format clients '$remote_addr $remote_port';\n\n"
            f" server {{\n  listen {at}:{self.port} proxy_protocol;\n  access_log clients clients;\n"
            "  location / { return 200 \"client=$proxy_protocol_addr:$proxy_protocol_port\\n\"; }\n"
            " }\n}\n")
        (self.directory / "conf").write_text(text)

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def clients(self):
        """(host, port) of every request that was logged."""
        lines = (self.directory / "clients").read_text().split("\n")
        return [(host, int(port)) for host, port in (line.split() for line in lines if line)]


class HaProxy(real_servers.Server):
    """Takes PROXY headers."""

    def prepare(self):
        at = f"[{self.host}]" if ":" in self.host else self.host
        (self.directory / "conf").write_text(
            "defaults\n mode http\n timeout client 3s\n timeout http-request 3s\n"
            f"frontend web\n bind {at}:{self.port} accept-proxy\n"
            " http-request return status 200 content-type text/plain"
            " lf-string \"client=%[src]:%[src_port]\\n\"\n")

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def command(self):
        return ["haproxy", "-db", "-f", "conf"]
