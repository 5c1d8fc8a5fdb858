"""A DNS server whose answers a test changes while it runs: right ones, none, late ones, lies. Over
UDP and TCP on one address, port 53 unless said otherwise."""
import contextlib
import select
import socket
import struct
import threading
import time

A, CNAME, SRV, AAAA = 1, 5, 33, 28
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


def encode_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def decode_name(data, at):
    labels = []
    while data[at]:
        labels.append(data[at + 1:at + 1 + data[at]].decode())
        at += 1 + data[at]
    return ".".join(labels).lower(), at + 1


def record(name, kind, data, ttl=1):
    return encode_name(name) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def srv_data(priority, weight, port, target):
    return struct.pack(">HHH", priority, weight, port) + encode_name(target)


class DnsServer:
    """As a context it serves. `a`: {name: [address, ...]}, `srv`: {name: [(priority, weight, port,
    target), ...]}; `rcodes`: {name: rcode}, where nothing is asked for; `delay_s`: {name: seconds}
    or for all ("*"); is_silent: nothing is answered; `raw`: {name: function(query, question) ->
    bytes or None}."""

    def __init__(self, host="127.0.0.1", port=53):
        self.a = {}
        self.srv = {}
        self.rcodes = {}
        self.delay_s = {}
        self.raw = {}
        self.is_silent = False
        self.truncates = False  # over UDP
        self.queries = []  # (when, name, kind)
        self.lock = threading.Lock()
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind((host, port))
        self.tcp = socket.create_server((host, port))
        self.is_ending = False
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_ending = True
        self.thread.join()
        self.udp.close()
        self.tcp.close()

    def asked(self, name, since=0.0):
        """When it was asked for this name."""
        with self.lock:
            return [at for at, asked, _ in self.queries if asked == name and at >= since]

    def serve(self):
        waiting = []  # (when, answer, client)
        while not self.is_ending:
            ready, _, _ = select.select([self.udp, self.tcp], [], [], 0.02)
            if self.udp in ready:
                query, client = self.udp.recvfrom(4096)
                waiting.append(self.take(query, client))
            if self.tcp in ready:
                sock, _ = self.tcp.accept()
                threading.Thread(target=self.serve_tcp, args=(sock,), daemon=True).start()
            now = time.monotonic()
            for due in [one for one in waiting if one[0] <= now]:
                waiting.remove(due)
                if due[1] is not None and not self.is_silent:
                    self.udp.sendto(due[1], due[2])

    def take(self, query, client):
        name, _ = decode_name(query, 12)
        delay_s = self.delay_s.get(name, self.delay_s.get("*", 0))
        return time.monotonic() + delay_s, self.answer(query, is_tcp=False), client

    def serve_tcp(self, sock):
        with sock, contextlib.suppress(OSError):
            sock.settimeout(2)
            while len(head := sock.recv(2, socket.MSG_WAITALL)) == 2:
                query = sock.recv(*struct.unpack(">H", head), socket.MSG_WAITALL)
                answer = self.answer(query, is_tcp=True)
                if answer is not None and not self.is_silent:
                    sock.sendall(struct.pack(">H", len(answer)) + answer)

    def answer(self, query, is_tcp):
        name, end = decode_name(query, 12)
        (kind,) = struct.unpack(">H", query[end:end + 2])
        question = query[12:end + 4]
        with self.lock:
            self.queries.append((time.monotonic(), name, kind))
        if name in self.raw:
            return self.raw[name](query, question)
        if name in self.rcodes:
            return self.reply(query, question, [], self.rcodes[name])
        records = []
        if kind == A:
            records = [record(name, A, socket.inet_aton(one)) for one in self.a.get(name, [])]
        elif kind == SRV:
            records = [record(name, SRV, srv_data(*one)) for one in self.srv.get(name, [])]
        is_known = name in self.a or name in self.srv
        if self.truncates and not is_tcp and records:
            return self.reply(query, question, [], NOERROR, is_cut=True)
        return self.reply(query, question, records, NOERROR if is_known else NXDOMAIN)

    @staticmethod
    def reply(query, question, records, rcode, is_cut=False):
        flags = 0x8180 | rcode | (0x0200 if is_cut else 0)
        return query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + question + \
            b"".join(records)
