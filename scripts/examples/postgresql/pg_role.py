#!/usr/bin/python3
"""Tells by HTTP which role the PostgreSQL server beside it plays, in the words that Patroni uses,
for `check http` of lb4 and for anybody else who asks:

    GET /primary    200 if it takes writes, else 503
    GET /replica    200 if it is in recovery, that is a standby, else 503

The answer has a line that says why. CONNINFO are connection strings of libpq; the first one leads
to the server itself, further ones to its peers. Peers keep a primary that was given up from coming
back as one: each promotion begins a timeline with a higher number, and who meets a primary of a
higher timeline, or of its own, is not the primary. A peer that does not answer has no say.

Each question is a fresh connection, by psql, since a server that hangs would go on answering in an
old one. Needs no privilege but to log in. Example:

    pg_role.py --listen 10.0.0.11:8008 'dbname=postgres' 'host=10.0.0.12 dbname=postgres'
"""
import argparse
import concurrent.futures
import glob
import http.server
import re
import socket
import subprocess
import sys

# The name of a WAL file begins with the timeline, in hexadecimal. A standby writes none.
QUESTION = ("select case when pg_is_in_recovery() then 'replica'"
            " else 'primary ' || left(pg_walfile_name(pg_current_wal_lsn()), 8) end")
ANSWER = re.compile(r"(replica)|primary ([0-9A-F]{8})")
CLIENT_LIMIT_S = 5
UNKNOWN, REPLICA = -1, 0  # beside them: the timeline of a primary, from 1 on


def find_psql():
    """psql itself where there is one: Debian's /usr/bin/psql is a wrapper that takes its time."""
    versions = glob.glob("/usr/lib/postgresql/*/bin/psql")
    return max(versions, key=lambda path: int(path.split("/")[4]), default="psql")


def ask(psql, conninfo, limit_s):
    """UNKNOWN, REPLICA, or the timeline of a primary."""
    try:
        done = subprocess.run([psql, "-XAtqw", "-d", conninfo, "-c", QUESTION], text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s,
                              check=False)
    except (OSError, subprocess.TimeoutExpired):
        return UNKNOWN
    match = ANSWER.fullmatch(done.stdout.strip())
    if not match:
        return UNKNOWN
    return REPLICA if match[1] else int(match[2], 16)


class Role:
    """Who the server is among its peers."""

    def __init__(self, options):
        self.options = options
        self.last = None

    def look(self):
        """(role, why), the role one of "primary", "replica" and None."""
        found = self.judge()
        if found != self.last:
            print(f"{found[0] or 'neither'}: {found[1]}", flush=True)
        self.last = found
        return found

    def judge(self):
        own = ask(self.options.psql, self.options.server, self.options.timeout)
        if own == UNKNOWN:
            return None, "the server does not answer"
        if own == REPLICA:
            return "replica", "in recovery"
        highest = max(self.ask_peers(), default=UNKNOWN)
        if highest > own:
            return None, f"given up: timeline {own}, and a peer is primary at {highest}"
        if highest == own:
            return None, f"a peer is primary at timeline {own} too; or is it this server itself?"
        return "primary", f"timeline {own}"

    def ask_peers(self):
        """All at the same time."""
        peers = self.options.peers
        with concurrent.futures.ThreadPoolExecutor(max(len(peers), 1)) as pool:
            return list(pool.map(
                lambda peer: ask(self.options.psql, peer, self.options.peer_timeout), peers))


class Handler(http.server.BaseHTTPRequestHandler):
    timeout = CLIENT_LIMIT_S

    def do_GET(self):
        wanted = self.path.partition("?")[0].strip("/")
        if wanted not in ("primary", "replica"):
            self.answer(404, "ask for /primary or /replica")
            return
        role, why = self.server.role.look()
        self.answer(200 if role == wanted else 503, f"{role or 'neither'}: {why}")

    do_HEAD = do_OPTIONS = do_GET

    def answer(self, status, text):
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """No line for each check: changes of the role are told, see Role."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64

    def __init__(self, address, role):
        self.role = role
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, Handler)

    def handle_error(self, *_):
        """A client that left before its answer is no news."""


def parse_address(text):
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}': ADDRESS:PORT is wanted, port 1..65535")
    return host.strip("[]"), int(port)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", metavar="CONNINFO", help="of the server beside it")
    parser.add_argument("peers", metavar="PEER-CONNINFO", nargs="*")
    parser.add_argument("--listen", type=parse_address, default=":8008", metavar="ADDRESS:PORT",
                        help="default :8008, all IPv4 addresses")
    parser.add_argument("--timeout", type=float, default=0.8, metavar="S",
                        help="for the server's answer; default 0.8, less than that of the check")
    parser.add_argument("--peer-timeout", type=float, default=0.5, metavar="S",
                        help="for the answers of peers; default 0.5")
    parser.add_argument("--psql", default=find_psql(), metavar="PROGRAM")
    return parser.parse_args()


def main():
    options = parse_arguments()
    try:
        server = Server(options.listen, Role(options))
    except OSError as error:
        sys.exit(f"pg_role: cannot listen: {error}")
    server.serve_forever()


if __name__ == "__main__":
    main()
