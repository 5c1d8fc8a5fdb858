"""PROXY headers over UDP and programs of others: Knot DNS tells its client who that is, dnsdist reads
headers and writes them. nginx and HAProxy have no such datagrams: what they say is pinned here."""
import contextlib
import http.client
import socket
import subprocess

import namespace
import proxied
import real_servers
import servers
import udp_drill

NAME = "whoami.example"
CLIENTS = [f"127.0.0.{i}" for i in (1, 7, 77)]


def question(number):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in NAME.split("."))
    return number.to_bytes(2, "big") + b"\0\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def who_am_i(address, host="127.0.0.1", limit_s=udp_drill.ANSWER_LIMIT_S, number=7):
    """The A record that `address` has for a client at `host`; None = no answer, or another one."""
    with udp_drill.udp_socket(host) as sock:
        sock.connect(udp_drill.split(address))
        asked = question(number)
        try:
            answer = udp_drill.ask(sock, asked, limit_s)
        except ConnectionRefusedError:
            return None
    if not answer or answer[:2] != asked[:2] or answer[3] & 15 or answer[6:8] == b"\0\0":
        return None
    return socket.inet_ntoa(answer[len(asked) + 12:len(asked) + 16])


class Knot(real_servers.Server):
    """Answers with the address that it takes for its client's."""

    def prepare(self):
        (self.directory / "zone").write_text(
            f"$ORIGIN {NAME}.\n$TTL 60\n@ SOA ns root 1 3600 600 86400 60\n@ NS ns\n")
        (self.directory / "conf").write_text(
            f"server:\n  listen: {self.host}@{self.port}\n  rundir: {self.directory}\n"
            f"  proxy-allowlist: [127.0.0.0/8]\n"
            f"  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n"
            f"database:\n  storage: {self.directory}/db\n  journal-db-max-size: 16M\n"
            f"zone:\n  - domain: {NAME}\n    file: {self.directory}/zone\n"
            f"    zonefile-sync: -1\n    module: mod-whoami\n")

    def command(self):
        return ["knotd", "-m", "16", "-c", self.directory / "conf"]

    def is_ready(self):
        return who_am_i(self.address, limit_s=0.1) is not None


class Dnsdist(real_servers.Server):
    """As `words` in its language say."""

    def __init__(self, directory, *words):
        self.words = words
        super().__init__(directory)

    def prepare(self):
        (self.directory / "conf").write_text("\n".join(
            [f'setLocal("{self.address}")', 'setACL("127.0.0.0/8")', *self.words]) + "\n")

    def command(self):
        return ["dnsdist", "--supervised", "--disable-syslog", "-C", self.directory / "conf"]

    def is_ready(self):
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
            try:
                sock.bind(udp_drill.split(self.address))
            except OSError:
                return True
        return False


def config(listen, server):
    return f"service u {{\n    listen udp {listen}\n    timeout udp 1s\n    server s {server}\n}}\n"


def take_listen():
    return f"127.0.0.1:{namespace.take_port()}"


@real_servers.needs("knotd")
def test_knot_knows_the_client(start_lb4, servers_directory):
    listen, plain = take_listen(), take_listen()
    with Knot(servers_directory) as knot:
        start_lb4(["-w", "2"], config=config(listen, f"{knot.address} send-proxy v2"))
        start_lb4(["-w", "2"], config=config(plain, knot.address))
        for host in CLIENTS * 3:
            assert who_am_i(listen, host) == host
        # In every datagram of a session: the answer would be ours for one without a header.
        with udp_drill.udp_socket("127.0.0.9") as sock:
            sock.connect(udp_drill.split(listen))
            for number in range(50):
                answer = udp_drill.ask(sock, question(number))
                assert answer.endswith(socket.inet_aton("127.0.0.9"))
        assert who_am_i(plain, "127.0.0.7") == "127.0.0.1"


@real_servers.needs("dnsdist")
def test_dnsdist_knows_the_client(start_lb4, servers_directory):
    rules = [f'n{i} = newNMG() n{i}:addMask("{host}/32") '
             f'addAction(NetmaskGroupRule(n{i}), SpoofAction("10.9.9.{i}"))'
             for i, host in enumerate(CLIENTS)]
    listen = take_listen()
    with Dnsdist(servers_directory, 'setProxyProtocolACL({"127.0.0.1/32"})', *rules) as dnsdist:
        start_lb4(["-w", "2"], config=config(listen, f"{dnsdist.address} send-proxy v2"))
        for _ in range(10):
            for i, host in enumerate(CLIENTS):
                assert who_am_i(listen, host) == f"10.9.9.{i}"


@real_servers.needs("dnsdist", "knotd")
def test_clients_of_dnsdist_are_known_behind_us(start_lb4, servers_directory):
    """dnsdist, lb4, Knot: two headers, and the last server names the first client."""
    listen = take_listen()
    with Knot(servers_directory) as knot:
        lb4 = start_lb4(["-w", "2"], config=config(f"{listen} accept-proxy from 127.0.0.0/8",
                                                   f"{knot.address} send-proxy v2"))
        with Dnsdist(servers_directory,
                     f'newServer({{address="{listen}", useProxyProtocol=true,'
                     f' healthCheckMode="up"}})') as dnsdist:
            for host in CLIENTS * 5:
                assert who_am_i(dnsdist.address, host) == host
            now = udp_drill.totals(lb4, "u")
            assert now["dropped"] == 0 and now["total"] >= len(CLIENTS)


def ask_by_https(port):
    """Whom the answer names; of a server that leaves the TLS of it to others."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=udp_drill.ANSWER_LIMIT_S)
    with contextlib.closing(link):
        link.request("POST", "/dns-query", question(7), {"content-type": "application/dns-message"})
        answer = link.getresponse().read()
    return socket.inet_ntoa(answer[len(question(7)) + 12:][:4])


@real_servers.needs("dnsdist", "knotd")
def test_client_of_dnsdist_by_https_is_known_behind_us(start_lb4, servers_directory):
    """Its header tells of TCP, in a datagram."""
    listen, port = take_listen(), namespace.take_port()
    with Knot(servers_directory) as knot:
        lb4 = start_lb4(["-w", "1"], config=config(f"{listen} accept-proxy from 127.0.0.0/8",
                                                   f"{knot.address} send-proxy v2"))
        with Dnsdist(servers_directory, f'addDOHLocal("127.0.0.1:{port}")',
                     f'newServer({{address="{listen}", useProxyProtocol=true,'
                     f' healthCheckMode="up"}})'):
            servers.wait_until(lambda: not servers.is_refused(f"127.0.0.1:{port}"), what="HTTPS")
            assert ask_by_https(port) == "127.0.0.1"
            now = udp_drill.totals(lb4, "u")
            assert now["dropped"] == 0


NGINX = """daemon off; pid {directory}/pid; error_log stderr;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {{}}
stream {{ server {{ listen {listen}; proxy_pass {server}; {more} }} }}
"""


class NginxStream(real_servers.Server):
    """UDP to `server`, with what nginx takes for a PROXY header over UDP."""

    def __init__(self, directory, server):
        self.server = server
        super().__init__(directory)

    def prepare(self):
        (self.directory / "conf").write_text(NGINX.format(
            directory=self.directory, listen=f"{self.address} udp", server=self.server,
            more="proxy_protocol on;"))

    def command(self):
        return ["nginx", "-e", "stderr", "-c", self.directory / "conf"]

    def is_ready(self):
        return Dnsdist.is_ready(self)


@real_servers.needs("nginx")
def test_what_nginx_sends_is_no_header_of_a_datagram(start_lb4, servers_directory):
    """A line of version 1 before the first datagram of a session, none before the others."""
    listen = take_listen()
    with proxied.EchoServer() as echo:
        lb4 = start_lb4(["-w", "1"], config=config(f"{listen} accept-proxy from 127.0.0.1",
                                                   f"{echo.address} send-proxy v2"))
        with NginxStream(servers_directory, listen) as nginx, udp_drill.udp_socket(
                "127.0.0.1") as client:
            client.connect(udp_drill.split(nginx.address))
            for _ in range(3):
                client.send(b"x")
            now = udp_drill.wait_totals(lb4, "u", lambda now: now["datagrams_in"] == 3)
            assert (now["drop_header"], now["total"], echo.n_received) == (3, 0, 0)


@real_servers.needs("nginx", "haproxy")
def test_nginx_and_haproxy_take_no_header_over_udp(tmp_path):
    """Who writes so in their configurations hears of it: there is nobody to send them to."""
    path = tmp_path / "nginx.conf"
    path.write_text(NGINX.format(directory=tmp_path, listen="127.0.0.1:1 udp proxy_protocol",
                                 server="127.0.0.1:2", more=""))
    done = subprocess.run(["/usr/sbin/nginx", "-t", "-e", "stderr", "-c", path],
                          capture_output=True, text=True, check=False)
    assert done.returncode and '"proxy_protocol" parameter is incompatible with "udp"' in done.stderr
    path = tmp_path / "haproxy.cfg"
    path.write_text("frontend f\n  bind udp@127.0.0.1:1 accept-proxy\n")
    done = subprocess.run(["/usr/sbin/haproxy", "-c", "-f", path], capture_output=True, text=True,
                          check=False)
    assert done.returncode and "dgram-type address not acceptable" in done.stderr
