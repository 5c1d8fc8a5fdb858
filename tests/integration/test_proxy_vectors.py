"""The table of PROXY headers (tests/vectors) to lb4, HAProxy and nginx: lb4's verdict is the
table's, and where another receiver differs there is a reason."""
import contextlib
import fnmatch
import time

import proxy_headers
import real_servers
import servers

pytestmark = real_servers.needs("haproxy", "nginx")

CLOSED_WITHIN_S = 3
SLACK_S = 3  # of a loaded machine

# Names, who differs, what it says ("bad", "real", or "other": another address), and why.
DIFFERENCES = [
    ("v1-unknown-[!s]* v1-unknown-space", "haproxy", "bad", "takes UNKNOWN for 15 bytes, and what follows for payload;"
     " the specification has the rest of the line ignored"),
    ("v1-bad-unknown-cr v1-bad-unknownx v1-bad-unknown-tab v1-bad-108", "nginx", "real",
     "looks for LF only behind UNKNOWN, whatever stands between, and has a larger limit"),
    ("v1-bad-4-with-6 v1-bad-6-with-4 v1-bad-mixed v1-bad-mixed6 v1-bad-in4-octal v1-bad-in4-256"
     " v1-bad-in4-three v1-bad-in4-five v1-bad-in4-empty-part v1-bad-in4-number v1-bad-in4-dot-end"
     " v1-bad-in4-zeros v1-bad-in6-two-gaps v1-bad-in6-seven v1-bad-in6-nine"
     " v1-bad-in6-five-digits v1-bad-in6-colon-end", "nginx", "other",
     "checks which characters an address has, not that it is one"),
    ("v1-bad-in4-octal v1-bad-in4-256 v1-bad-in4-three v1-bad-in4-empty-part v1-bad-in4-number"
     " v1-bad-in4-zeros", "haproxy", "other",
     "adds digits up between dots: leading zeros, too few and too large parts pass"),
    ("v1-bad-port-65536 v1-bad-port-zero-first v1-bad-port-zeros v1-bad-port-wraps"
     " v1-bad-port-empty v1-bad-port-long v1-bad-port2-*", "haproxy", "other",
     "adds digits up: leading zeros, none, and more than 16 bits pass"),
    ("v1-bad-port-zero-first v1-bad-port-zeros v1-bad-port-long v1-bad-port2-zero-first", "nginx",
     "other", "leading zeros pass"),
    ("v2-unspec* v2-unix* v2-dgram* v2-crc-unix", "haproxy", "bad",
     "refuses families that it does not support; the specification leaves it to the receiver for"
     " UNSPEC and wants the real addresses used for the others"),
    ("v2-local-4096 v2-4096", "nginx", "bad", "its limit is a little lower"),
    ("v2-bad-command-*", "nginx", "real", "takes what is not PROXY for LOCAL"),
    ("v2-bad-family-* v2-bad-transport-* v2-bad-unspec-* v2-bad-unix-215 v2-bad-dgram4-11"
     " v2-bad-tlv-unix v2-bad-tlv-dgram", "nginx", "real",
     "does not look at what it does not support"),
    ("v2-bad-tlv-* v2-bad-id-129", "nginx", "other", "does not look at TLVs before somebody asks"),
    ("v2-bad-crc*", "nginx", "other", "knows no CRC-32C"),
]


def expected_of(vector, who):
    """What this receiver is known to say."""
    wanted = "bad" if vector.verdict == "bad" else vector.client or "real"
    for names, whose, says, _ in DIFFERENCES:
        if whose == who and any(fnmatch.fnmatchcase(vector.name, name)
                                for name in names.split()):
            return says
    return wanted


def is_as_expected(found, expected):
    return isinstance(found, tuple) if expected == "other" else found == expected


def start(start_lb4, recorder, *words, **options):
    return start_lb4(config=f"""service web {{
    listen tcp 127.0.0.1:7000 accept-proxy from 127.0.0.0/8
    server s1 {recorder.address} send-proxy v1
}}
""", args=["-w", "2", *words], **options)


def test_the_table_is_what_lb4_says(start_lb4):
    """Of a header that is wrong not a byte goes on: there is no connection to the server."""
    with proxy_headers.Recorder() as recorder:
        start(start_lb4, recorder)
        for vector in proxy_headers.vectors():
            wanted = "bad" if vector.verdict == "bad" else vector.client or "real"
            if vector.verdict != "more":
                n_before = len(recorder.taken)
                assert proxy_headers.verdict("127.0.0.1:7000", vector.bytes) == wanted, vector.name
                assert len(recorder.taken) == n_before + (wanted != "bad"), vector.name
        assert all(taken.endswith(b"\r\n" + proxy_headers.REQUEST) and
                   taken.count(b"PROXY") == 1 for taken in recorder.taken)


def test_other_receivers_differ_where_it_is_known(servers_directory):
    odd = []
    with proxy_headers.Nginx(servers_directory) as nginx, \
            proxy_headers.HaProxy(servers_directory) as haproxy:
        for vector in proxy_headers.vectors():
            if vector.verdict == "more":
                continue
            for who, receiver in ("nginx", nginx), ("haproxy", haproxy):
                found = proxy_headers.verdict(receiver.address, vector.bytes)
                if not is_as_expected(found, expected_of(vector, who)):
                    odd.append((vector.name, who, found, expected_of(vector, who)))
    assert not odd


def test_lying_headers_end_within_three_seconds(start_lb4):
    """Those that are wrong and those that never become whole, all at once, without an end by the
    client; the server hears of none."""
    with proxy_headers.Recorder() as recorder, contextlib.ExitStack() as stack:
        lb4 = start(start_lb4, recorder)
        liars = []
        for vector in proxy_headers.vectors():
            if vector.verdict != "good":
                sock = stack.enter_context(servers.connect("127.0.0.1:7000"))
                with contextlib.suppress(ConnectionError):
                    sock.sendall(vector.bytes)
                liars.append((sock, time.monotonic(), vector))
        for sock, began, vector in liars:
            assert servers.read_end(sock, CLOSED_WITHIN_S + SLACK_S) == "rst", vector.name
            assert time.monotonic() - began < CLOSED_WITHIN_S + SLACK_S, vector.name
        closed = lb4.wait_n_closed("web", len(liars))
        assert {entry["reason"] for entry in closed} == {"denied"}
        assert recorder.taken == []
        late = [entry for entry in closed if float(entry["ms"]) > 2500]
        assert len(late) == sum(vector.verdict == "more" for _, _, vector in liars)
        # The bound itself by lb4's clock, which a loaded machine delays by little.
        assert all(2900 <= float(entry["ms"]) < 3500 for entry in late)
