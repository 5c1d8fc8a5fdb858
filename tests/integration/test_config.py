"""The configuration as people meet it: lb4 -t names place and range of each mistake, -T prints what
is read back to the same, and wrong usage exits 2. No daemon is started."""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LB4 = os.environ.get("LB4", str(ROOT / "build/release/lb4"))
SANITIZER_WORDS = ("AddressSanitizer", "LeakSanitizer", "runtime error", "UndefinedBehavior")
LONGEST_NAME = "n" * 64
GOOD_SERVICE = """service web {
    listen tcp 127.0.0.1:7000
    server one 198.51.100.1:80
}
"""


def in_service(line):
    """A service that is complete without `line`, which stands at 4:5."""
    return GOOD_SERVICE.replace("}\n", f"    {line}\n}}\n")


UDP_SERVICE = """service dns {
    listen udp :53
    listen udp [::1]:9000-9100
    check none
    server one 127.0.0.1:80
}
"""


def at_top(line):
    """`line` stands at 1:1."""
    return f"{line}\n{GOOD_SERVICE}"


# Each: text, place of the first error, a fragment that names the accepted range or words.
BAD = {
    # the text itself
    "empty file": ("", "", "add: service NAME {"),
    "only comments": ("# nothing\n", "", "add: service NAME {"),
    "NUL byte": (b"workers 4\0\n", "1:10", "the configuration is text"),
    "control byte": (b"workers \x1b4\n", "1:9", "write it in quotes"),
    "carriage return inside": (b"workers\r4\n", "1:8", "control byte \\x0d"),
    "not UTF-8": (b"# caf\xe9\n", "1:6", "byte \\xe9 is not UTF-8"),
    "overlong UTF-8": (b"user \xc0\xaf\n", "1:6", "is not UTF-8"),
    "UTF-16": ("workers 4\n".encode("utf-16"), "1:1", "is not UTF-8"),
    "line of 4,097 bytes": ("#" * 4097 + "\n", "1:4097", "at most 4096"),
    "line of a megabyte": ("x" * (1 << 20), "1:4097", "at most 4096"),
    "too many words": ("user" + " x" * 64 + "\n", "1:132", "more than 64 words"),
    "unterminated quote": (at_top('user "lb4'), "1:6", "has no end"),
    "unknown escape": (at_top('user "a\\tb"'), "1:8", 'accepted: \\" \\\\ \\r \\n \\xHH'),
    "quote inside a word": (at_top('user a"b"'), "1:7", "quote the whole word"),
    "text behind a quote": (at_top('user "a"b'), "1:9", "a blank must follow"),
    # blocks
    "unterminated block": ("service web {\n    listen tcp :7000\n", "1:13", "never closed"),
    "block in a block": ("defaults {\nservice web {\n}\n", "2:1", "line 1 is not closed"),
    "closing without a block": (at_top("}"), "1:1", "without a block"),
    "brace on the next line": ("service web\n{\n}\n", "1:1", "'{' must end its line"),
    "text behind the brace": ("service web { listen tcp :1\n}\n", "1:15", "last word of its line"),
    "closing brace behind a word": ("defaults {\n timeout idle 1s }\n}\n", "2:18",
                                    "line of its own"),
    "unknown block": (at_top("frontend web {\n}"), "1:14", "defaults, service NAME"),
    "service without a name": (at_top("service {\n}"), "1:1", "service NAME {"),
    "service with two names": (at_top("service a b {\n}"), "1:11", "service NAME {"),
    "defaults twice": (at_top("defaults {\n}\ndefaults {\n}"), "3:1", "given twice"),
    # words
    "unknown word": (at_top("frobnicate 1"), "1:1",
                     "accepted at the top level: workers, cpu-affinity, cpu-scheduling, io-uring, maxconn, pipes, splice, user, drain"),
    "misspelt word": (in_service("sever two 198.51.100.2:80"), "4:5", "did you mean 'server'"),
    "word by its prefix": (at_top("work 4"), "1:1", "accepted at the top level: workers"),
    "word in capitals": (at_top("WORKERS 4"), "1:1", "accepted at the top level: workers"),
    "service's word at the top": (at_top("tries 3"), "1:1", "it belongs in a service"),
    "global word in a service": (in_service("workers 4"), "4:5", "it belongs at the top level"),
    "missing argument": (at_top("workers"), "1:1", "workers auto|1..256"),
    "extra argument": (at_top("workers 1 2"), "1:11", "workers auto|1..256"),
    "given twice": (at_top("workers 1\nworkers 1"), "2:1", "given twice"),
    "timeout of no kind": (in_service("timeout 5s"), "4:13", "connect, idle, half-close, udp"),
    "timeout twice": (in_service("timeout idle 1s\n    timeout idle 1s"), "5:5", "given twice"),
    # ranges
    "workers 0": (at_top("workers 0"), "1:9", "0 is outside 1..256"),
    "workers 257": (at_top("workers 257"), "1:9", "257 is outside 1..256"),
    "workers -1": (at_top("workers -1"), "1:9", "'auto' nor a number in 1..256"),
    "workers beyond 64 bits": (at_top("workers 18446744073709551617"), "1:9", "outside 1..256"),
    "workers 0x4": (at_top("workers 0x4"), "1:9", "a number in 1..256"),
    "maxconn 0": (at_top("maxconn 0"), "1:9", "outside 1..10000000"),
    "priority 17": (in_service("server two 198.51.100.2:80 priority 17"), "4:41",
                    "17 is outside 1..16"),
    "evict without a time": (in_service("evict after 5 failures in 10"), "4:31", "1ms..365d"),
    "on-up without a time": (in_service("on-up drain"), "4:11", "missing: 1ms..365d"),
    "hold without a time": (in_service("all-down hold"), "4:14", "missing: 1ms..365d"),
    "pipes 4097": (at_top("pipes 4097"), "1:7", "outside 0..4096"),
    "splice maybe": (at_top("splice maybe"), "1:8", "one of: on, off"),
    "drain without a unit": (at_top("drain 30"), "1:7", "1ms..365d; the unit is needed"),
    "drain of 366 days": (at_top("drain 366d"), "1:7", "366d is outside 1ms..365d"),
    "user with a blank": (at_top('user "a b"'), "1:6", "1..64 of A-Z a-z 0-9 . _ -"),
    "admin over TCP": (at_top("admin 127.0.0.1:9000"), "1:7", "accepted: unix:/path"),
    "http without a port": (at_top("http 127.0.0.1"), "1:6", "accepted: 127.0.0.1:9404"),
    "tries 0": (in_service("tries 0"), "4:11", "tries: 0 is outside 1..100"),
    "tries 101": (in_service("tries 101"), "4:11", "tries: 101 is outside 1..100"),
    "resolve 0s": (in_service("resolve 0s"), "4:13", "resolve: 0s is outside 1s..365d"),
    "resolve without a unit": (in_service("resolve 5"), "4:13", "'off' nor a duration in 1s..365d"),
    "resolve at the top": (at_top("resolve 5s"), "1:1", "belongs in 'defaults' or in a service"),
    "SRV records with a port": (in_service("server two srv:_a._tcp.x:5"), "4:16", "without a port"),
    "SRV records of no name": (in_service("server two srv:."), "4:16", "accepted: srv:_pg._tcp"),
    "SRV records with a weight": (in_service("server two srv:_a.x weight 2"), "4:25",
                                  "SRV records have weights of their own"),
    "timeout 0s": (in_service("timeout connect 0s"), "4:21", "outside 1ms..365d"),
    "timeout in microseconds": (in_service("timeout idle 50us"), "4:18", "ms s m h d"),
    "balance unknown": (in_service("balance fastest"), "4:13",
                        "one of: leastconn, roundrobin, source, random"),
    "check unknown": (in_service("check icmp"), "4:11", "none, tcp, http, send, redis"),
    "check fall 0": (in_service("check tcp fall 0"), "4:20", "fall: 0 is outside 1..100"),
    "check fall 101": (in_service("check tcp fall 101"), "4:20", "fall: 101 is outside 1..100"),
    "check rise 0": (in_service("check tcp rise 0"), "4:20", "rise: 0 is outside 1..100"),
    "check rise 101": (in_service("check tcp rise 101"), "4:20", "rise: 101 is outside 1..100"),
    "check port 0": (in_service("check tcp port 0"), "4:20", "port: 0 is outside 1..65535"),
    "check port 65536": (in_service("check tcp port 65536"), "4:20", "outside 1..65535"),
    "check interval 0s": (in_service("check tcp interval 0s"), "4:24", "outside 1ms..365d"),
    "check timeout of no unit": (in_service("check tcp timeout 5"), "4:23", "ms s m h d"),
    "check fast over the default": (in_service("check tcp fast 2001ms"), "4:20",
                                    "fast: 2001ms is outside 1ms..2s"),
    "check fast over the interval": (in_service("check tcp fast 6s fall 1 interval 5s"), "4:20",
                                     "fast: 6s is outside 1ms..5s"),
    "check fast 0ms": (in_service("check tcp fast 0ms"), "4:20", "outside 1ms..365d"),
    "check fast without a value": (in_service("check tcp fast"), "4:15", "1ms..365d"),
    "check option twice": (in_service("check tcp rise 1 rise 1"), "4:22", "given twice"),
    "check option unknown": (in_service("check tcp every 1s"), "4:15",
                             "interval, timeout, fall, rise, fast, port, jitter, address, source"),
    "check jitter 51": (in_service("check redis jitter 51"), "4:24", "jitter: 51 is outside 0..50"),
    "check address with a port": (in_service("check tcp address 10.0.0.1:80"), "4:23",
                                  "accepted: 10.0.0.5, 2001:db8::5"),
    "check without its user": (in_service("check postgres user"), "4:20", "user NAME"),
    "check of no user": (in_service('check mysql user ""'), "4:22", "1..128 bytes"),
    "check of a long user": (in_service(f"check mysql user {'u' * 129}"), "4:22", "1..128 bytes"),
    "check of a user with a NUL": (in_service('check mysql user "a\\x00"'), "4:22", "1..128 bytes"),
    "check source of a name": (in_service("check mysql source db.example"), "4:24",
                               "accepted: 10.0.0.5, 2001:db8::5"),
    "check source of the other family": (in_service("check tcp address ::1 source 127.0.0.1"),
                                         "4:34", "cannot reach 'address', which is IPv6"),
    "HTTP path with a blank": (in_service('check http "/a b"'), "4:16", "1..480 bytes, visible"),
    "HTTP without a path": (in_service("check http status 200"), "4:16", "must begin with '/'"),
    "HTTP status 600": (in_service("check http / status 200-600"), "4:25", "in 100..599"),
    "HTTP host with a line end": (in_service('check http / host "a\\r\\nX: y"'), "4:23",
                                  "1..253 bytes, visible ASCII"),
    "check sends odd digits": (in_service("check send hex 123 expect x"), "4:20",
                               "pairs of hexadecimal digits, such as 0d0a"),
    "check expects a bad expression": (in_service('check send x expect regex "a(b"'), "4:31",
                                       "regex: 'a(b': Unmatched ( or"),
    "check expects a reference": (in_service('check send x expect regex "(a)\\\\1"'), "4:31",
                                  "refers back to a group"),
    "check expects too many repetitions": (
        in_service('check send x expect regex "(a{99}){99}"'), "4:31", "more than 4096"),
    "Redis role unknown": (in_service("check redis role slave"), "4:22", "one of: master, replica"),
    "check none with options": (in_service("check none fall 3"), "4:16", "takes no options"),
    "check twice": (in_service("check tcp\n    check none"), "5:5", "given twice"),
    "check without a kind": (in_service("check"), "4:5", "check none, or check tcp [interval"),
    "weight 0": (in_service("server two 198.51.100.2:80 weight 0"), "4:39", "outside 1..256"),
    "weight 257": (in_service("server two 198.51.100.2:80 weight 257"), "4:39", "outside 1..256"),
    "weight twice": (in_service("server two 198.51.100.2 weight 1 weight 2"), "4:38",
                     "given twice"),
    "backup twice": (in_service("server two 198.51.100.2 backup backup"), "4:36", "given twice"),
    "backup with a value": (in_service("server two 198.51.100.2 backup 1"), "4:36",
                            "accepted here: weight, backup"),
    # names and addresses
    "service name of 65": (at_top(f"service {LONGEST_NAME}n {{\n}}"), "1:9", "1..64 of A-Z"),
    "server name with a slash": (in_service("server a/b 198.51.100.2:80"), "4:12", "1..64 of A-Z"),
    "service defined twice": (GOOD_SERVICE + GOOD_SERVICE.replace("7000", "7001"), "5:9",
                              "'web' is defined already"),
    "server defined twice": (in_service("server one 198.51.100.2:80"), "4:12",
                             "'one' is defined already"),
    "no transport": (in_service("listen :80"), "4:5", "listen tcp|udp|both ADDRESS"),
    "transport unknown": (in_service("listen sctp :80"), "4:12", "one of: tcp, udp, both"),
    "port 0": (in_service("listen tcp :0"), "4:16", "port 0 is outside 1..65535"),
    "port 65536": (in_service("listen tcp :65536"), "4:16", "port 65536 is outside 1..65535"),
    "port by name": (in_service("listen tcp :https"), "4:16", "a number in 1..65535"),
    "range backwards": (in_service("listen tcp :90-80"), "4:16", "ends before it begins"),
    "listener without a port": (in_service("listen tcp 127.0.0.1"), "4:16", "ports in 1..65535"),
    "IPv4 address of 256": (in_service("listen tcp 10.0.0.256:80"), "4:16", "not an address"),
    "IPv6 without brackets": (in_service("server two 2001:db8::1:80"), "4:16", "needs brackets"),
    "IPv6 half bracketed": (in_service("server two [2001:db8::1:80"), "4:16", "not an address"),
    "multicast listener": (in_service("listen tcp 224.0.0.1:80"), "4:16", "unicast addresses"),
    "host name of an empty label": (in_service("server two db..example:80"), "4:16",
                                    "accepted: 10.0.0.5:5432, [2001:db8::1]:5432, db.example:5432"),
    "host name of 254": (in_service("server two " + ".".join(["a" * 63] * 4)[:254] + ":80"), "4:16",
                         "at most 253 bytes"),
    "host name with port 0": (in_service("server two db.example:0"), "4:16", "outside 1..65535"),
    "host name with a range": (in_service("server two db.example:1-2"), "4:16", "one port"),
    "server without a host": (in_service("server two :80"), "4:16", "a server needs a host"),
    "server with a range": (in_service("server two 198.51.100.2:1-2"), "4:16", "one port, or none"),
    "server on the wildcard": (in_service("server two 0.0.0.0:80"), "4:16", "wildcard"),
    "server on [::]": (in_service("server two [::]:80"), "4:16", "wildcard"),
    "server on broadcast": (in_service("server two 255.255.255.255:1"), "4:16", "unicast"),
    "link-local without scope": (in_service("server two [fe80::1]:80"), "4:16", "interface"),
    # what only the whole tells
    "no listener": ("service web {\n server one 198.51.100.1:80\n}\n", "1:9", "listen tcp ADDRESS"),
    "no server": ("service web {\n listen tcp :7000\n}\n", "1:9", "server NAME HOST:PORT"),
    "listens twice": (in_service("listen tcp 127.0.0.1:7000"), "4:16", "port 7000 of this address"),
    "ranges overlap": (in_service("listen tcp 127.0.0.1:6999-7001"), "4:16",
                       "port 7000 of this address"),
    "wildcards overlap": (in_service("listen tcp :80\n    listen tcp 0.0.0.0:80"), "5:16",
                          "port 80 of this address"),
    "server is its listener": (in_service("server two 127.0.0.1:7000"), "4:12", "our own listener"),
    "mapped server is a listener": (in_service("server two [::ffff:127.0.0.1]:7000"), "4:12",
                                    "our own listener"),
    "server behind a wildcard": (in_service("listen tcp :80\n    server two 127.9.9.9:80"), "5:12",
                                 "our own listener"),
    "server in a range of ours": (in_service("listen tcp :80-90\n    server two 127.0.0.1:85"),
                                  "5:12", "our own listener"),
    "server with the client's port": (in_service("server two 127.0.0.1"), "4:12",
                                      "our own listener"),
    "listens twice on UDP": (in_service("listen udp :80\n    listen both :80"), "5:17",
                             "port 80 of this address"),
    "UDP server is its listener": (in_service("listen udp :80\n    server two 127.0.0.1:80"), "5:12",
                                   "our own listener"),
    "UDP word without UDP": (in_service("udp-responses 1"), "4:5", "has no UDP listener"),
    "UDP sessions 0": (in_service("listen udp :80\n    udp-sessions 0"), "5:18",
                       "outside 1..10000000"),
    "UDP responses beyond": (in_service("listen udp :80\n    udp-responses 10000001"), "5:19",
                             "outside 0..10000000"),
    "UDP on-down unknown": (in_service("listen udp :80\n    udp-on-down reset"), "5:17",
                            "one of: rebind, keep"),
    "check sends nothing over UDP": (
        UDP_SERVICE.replace("check none", 'check send "" expect "x"'), "4:16",
        "no datagram, accepted in a service that listens on UDP only: 1..480"),
    "check sends too much": (UDP_SERVICE.replace("check none", f"check send {'x' * 481} expect x"),
                             "4:16", "accepted: 0..480"),
    "a queue too long": (in_service("queue 10000001"), "4:11", "outside 0..10000000"),
    "limit of a source": (in_service("limit per-source 0"), "4:22", "outside 1..10000000"),
    "rate without a unit": (in_service("rate per-source 5"), "4:21", "as 10/s, 10/m, 10/h"),
    "rate of datagrams without any": (in_service("rate datagrams per-source 5/s"), "4:5",
                                      "no UDP listener"),
    "ban without an end": (in_service("ban after 3 refused in 1m"), "4:5", "for 1ms..365d"),
    "a limit of none": (in_service("server two 198.51.100.2:80 maxconn 0"), "4:40",
                        "outside 1..10000000"),
    "a queue for nothing": (in_service("queue 10"), "1:9", "no server has a limit to wait for"),
    "a hold that nobody ends": (in_service("all-down hold 30s\ncheck none"), "1:9",
                                "nobody would see a server come back"),
    "a hold of datagrams": (UDP_SERVICE.replace("check none", "all-down hold 30s"), "1:9",
                            "only TCP clients can wait"),
    "program without a path": (in_service("check exec true"), "4:16", "must begin with '/'"),
    "program that is missing": (in_service("check exec /nowhere/true"), "4:16",
                                "'/nowhere/true': No such file or directory"),
    "program that is a folder": (in_service("check exec /bin"), "4:16", "not a file"),
    "program that nobody may execute": (in_service("check exec /etc/passwd"), "4:16",
                                        "not executable"),
    "program with arguments": (in_service("check exec /bin/true -v"), "4:26",
                               "unknown word '-v'"),
    "a network that is none": (in_service("deny example.org"), "4:10",
                               "accepted: 10.0.0.0/8, 10.0.0.9, 2001:db8::/32, all, file:PATH"),
    "a network that is too long": (in_service("allow 10.0.0.0/33"), "4:11", "outside 0..32"),
    "a mapped network that is too wide": (in_service("allow ::ffff:10.0.0.0/95"), "4:11",
                                          "a length in 96..128"),
    "allow without a network": (in_service("allow"), "4:5", "allow CIDR|all|file:PATH"),
    "allow of two networks": (in_service("allow ::1 ::2"), "4:15", "one argument too many"),
    "a list without a name": (in_service("deny file:"), "4:10", "needs a path of 1..1023 bytes"),
    "a list that is missing": (in_service("deny file:/nowhere/list"), "4:10",
                               "'/nowhere/list': No such file or directory"),
    "a list that is a folder": (in_service("deny file:/etc"), "4:10", "a directory, not a file"),
    "a list that is a device": (in_service("deny file:/dev/null"), "4:10", "not a regular file"),
    "refusing in another way": (in_service("refuse drop"), "4:12",
                                "one of: reset, close, silent"),
    "refusing twice": (in_service("refuse reset\nrefuse close"), "5:1", "given twice"),
    "affinity of nothing": (in_service("affinity"), "4:5", "affinity source 1ms..365d"),
    "affinity without a time": (in_service("affinity source"), "4:14",
                                "an argument is missing: 1ms..365d"),
    "affinity of another kind": (in_service("affinity cookie 60s"), "4:14", "one of: source, off"),
    "affinity of no time": (in_service("affinity source 0s"), "4:21", "outside 1ms..365d"),
    "affinity of a prefix": (in_service("affinity source 1s prefix6 129"), "4:32", "outside 1..128"),
    "affinity twice": (in_service("affinity off\naffinity source 1s"), "5:1", "given twice"),
    "fastopen beyond": (in_service("listen tcp :80 fastopen 65536"), "4:29", "outside 1..65535"),
    "defer-accept of a part of a second": (in_service("listen tcp :80 defer-accept 1500ms"),
                                           "4:20", "whole seconds in 1s..1h"),
    "defer-accept of UDP": (in_service("listen udp :80 defer-accept 1s"), "4:20", "are of TCP"),
    "v6only of IPv4": (in_service("listen tcp 10.0.0.1:80 v6only"), "4:28", "of IPv6 addresses"),
    "interface with a slash": (in_service("listen tcp :80 interface a/b"), "4:30", "1..15 bytes"),
    "udp on a Unix socket": (in_service("listen udp unix:/run/x"), "4:12", "tcp only"),
    "both on a Unix socket": (in_service("listen both unix:/run/x"), "4:12", "tcp only"),
    "a Unix socket of no path": (in_service("listen tcp unix:run/x"), "4:16",
                                 "absolute path of at most 107 bytes"),
    "mode beyond": (in_service("listen tcp unix:/run/x mode 01777"), "4:33", "0..0777"),
    "mode of a port": (in_service("listen tcp :80 mode 0660"), "4:20", "of a Unix socket"),
    "accept-proxy on a Unix socket": (
        in_service("listen tcp unix:/run/x accept-proxy from 10.0.0.0/8"), "4:28", "no header"),
    "a Unix socket twice": (in_service("listen tcp unix:/run/x\n    listen tcp unix:/run/x"),
                            "5:16", "listened on already"),
    "source of a Unix server": (in_service("server two unix:/run/x source 10.0.0.9"), "4:28",
                                "'source' is of IP addresses"),
    "check port of a Unix server": (in_service("server two unix:/run/x\n    check tcp port 5"),
                                    "4:12", "'check port' is for servers with IP addresses"),
    "a Unix server that is ours": (in_service("listen tcp unix:/run/x\n    server b unix:/run/x"),
                                   "5:12", "our own listener"),
    "mark 0": (in_service("listen tcp :80 mark 0"), "4:25", "outside 1..4294967295"),
    "source of a name": (in_service("source db.example"), "4:12", "accepted: 10.0.0.9"),
    "source twice the same": (in_service("source 10.0.0.9,10.0.0.9"), "4:12", "given twice"),
    "seventeen sources": (in_service("source " + ",".join(f"10.0.0.{i}" for i in range(17))),
                          "4:12", "up to 16"),
    "source of the other family": (in_service("source 2001:db8::9"), "3:12",
                                   "source: 2001:db8::9 is IPv6, and 198.51.100.1 is IPv4"),
    "mark of a server": (in_service("server two 198.51.100.2:80 mark 4294967296"), "4:37",
                         "outside 1..4294967295"),
    "two services in a circle": (GOOD_SERVICE.replace("198.51.100.1:80", "127.0.0.1:7001") +
                                 "service b {\n listen tcp :7001\n server x 198.51.100.1:1\n}\n",
                                 "3:12", "our own listener"),
}

NOT_IN_THIS_VERSION = (
    "listen tcp db.example:80",
)

GOOD = {
    "Unix sockets": in_service("listen tcp unix:/run/x mode 0600\n    listen tcp unix:@x\n"
                               "    server two unix:/run/y weight 2\n    server three unix:@y"),
    "sockets": in_service("listen both :80 interface eth0 mark 7\n"
                          "    listen tcp :81 v6only fastopen 16 defer-accept 5s\n"
                          "    source 10.0.0.9,10.0.0.10,2001:db8::9\n"
                          "    server two [2001:db8::1]:80 backup source 2001:db8::8 interface eth0"
                          " mark 9"),
    "program": at_top("user lb4") + in_service("check exec /bin/true interval 9s").replace(
        "web", "two").replace("7000", "7001"),
    "smallest": GOOD_SERVICE,
    "CRLF and BOM": "\ufeff" + GOOD_SERVICE.replace("\n", "\r\n"),
    "no final newline": GOOD_SERVICE.rstrip(),
    "comments and quotes": '# gr\u00fc\u00dfe\n"workers" "4" # four\n' + GOOD_SERVICE,
    "longest name": GOOD_SERVICE.replace("web", LONGEST_NAME),
    "longest line": "#" * 4096 + "\n" + GOOD_SERVICE,
    "global words": at_top("workers 256\nmaxconn 10000000\npipes 0\nsplice off\ndrain 1ms\n"
                           "user a:b"),
    "defaults behind": GOOD_SERVICE + "defaults {\n timeout idle 365d\n timeout udp 1ms\n}\n",
    "every word of a service": in_service(
        "listen tcp :9000-9100\nlisten tcp [::1]:1\nbalance roundrobin\ncheck none\ntries 100\n"
        "timeout connect 1ms\ntimeout half-close 90s\nserver two [2001:db8::1] weight 256\n"
        "server three 198.51.100.3:65535"),
    "affinity": in_service("affinity source 365d prefix6 1 prefix4 1"),
    "affinity of some": "defaults {\n affinity source 1ms\n}\n" + in_service("affinity off"),
    "servers that go and come": in_service(
        "on-down drain 30s\non-up reset\nall-down any\nslow-start 365d\n"
        "evict after 10000 failures in 1ms for 365d\nserver two 198.51.100.2:80 priority 16\n"
        "server three 198.51.100.3:80 backup"),
    "who is let in": in_service(
        "maxconn 10000000\nlimit per-source 5 prefix4 24 prefix6 48\nrate 1/h burst 1000000\n"
        "rate per-source 1000000/s\nban after 10000 refused in 365d for 1ms"),
    "datagrams that are let in": UDP_SERVICE.replace(
        "check none", "check none\nrate datagrams per-source 10/m\nlimit per-source 1"),
    "all-down hold": in_service("all-down hold 30s max 1000"),
    "limits of servers": in_service(
        "queue 100 timeout 5s\nserver two 198.51.100.2:80 backup maxconn 10\n"
        "server three 198.51.100.3:80 maxconn 10000000"),
    "who may come in": at_top("defaults {\n allow ::/0\n deny all\n refuse close\n}") + in_service(
        "deny 10.0.0.0/8\nallow ::ffff:192.0.2.0/120\nallow 2001:db8::9\nrefuse silent").replace(
            "web", "two").replace("7000", "7001"),
    "UDP": UDP_SERVICE,
    "UDP and TCP on one port": in_service("listen udp 127.0.0.1:7000\nlisten both :9000-9100\n"
                                          "udp-on-down keep\nudp-responses 0\nudp-sessions 1"),
    "UDP server is a TCP listener": UDP_SERVICE + GOOD_SERVICE.replace(
        "127.0.0.1:7000", "127.0.0.1:80").replace("198.51.100.1:80", "198.51.100.1:81"),
    "UDP probes": UDP_SERVICE.replace(
        "check none", 'check send "PI\\x00NG\\r\\n\\"" expect "" interval 1s'),
    "UDP probes of DNS": UDP_SERVICE.replace("check none", "check dns example.org port 53"),
    "UDP, probed by TCP": UDP_SERVICE.replace("check none", "check tcp"),
    "checks": in_service("check tcp interval 2s timeout 1s fall 3 rise 2 fast 1s port 80"),
    "HTTP checks": in_service('check http "/a?b=\\"c" status 204 host h:80 address ::1 source ::1'),
    "text checks": in_service('check send "" expect regex "^2[0-9]{2} .*\\r\\n" jitter 0'),
    "hex checks": in_service("check send hex 686578 expect hex 00ff jitter 50"),
    "Redis checks": in_service("check redis role replica port 1"),
    "PostgreSQL checks": in_service("check postgres interval 1s"),
    "MySQL checks": in_service("check mysql"),
    "PostgreSQL checks by a user": in_service(f"check postgres user {'u' * 128} interval 1s"),
    "MySQL checks by a user": in_service('check mysql user "a b\\"\\xff" port 1'),
    "DNS checks of TCP": in_service("check dns example.org"),
    "the shortest checks": in_service("check tcp interval 1ms timeout 1ms fall 1 rise 1 fast 1ms"),
    "no check line": in_service("server two 198.51.100.2:80"),
    "balance source": in_service("balance source\nserver two 198.51.100.2:80"),
    "balance random": in_service("balance random\nserver two 198.51.100.2:80 backup weight 9"),
    "servers by name": in_service("server two db.example\n"
                                  "server three my_db-1.example:5432 backup"),
    "servers by SRV records": in_service("resolve 5m\nserver two srv:_pg._tcp.example. backup") +
        "defaults {\n resolve off\n}\n",
    "a single server by name": GOOD_SERVICE.replace("198.51.100.1", "db.example"),
    "the same name in two services": GOOD_SERVICE +
        GOOD_SERVICE.replace("web", "db").replace("7000", "7001"),
}


def run(*args, **options):
    done = subprocess.run([LB4, *args], capture_output=True, timeout=30, check=False,
                          stdin=subprocess.DEVNULL, **options)
    output = done.stderr.decode(errors="backslashreplace")
    assert not any(word in output for word in SANITIZER_WORDS), output
    assert done.returncode in (0, 1, 2), output
    return done.returncode, done.stdout.decode(errors="backslashreplace"), output


@pytest.fixture
def write(tmp_path):
    def write_config(text, name="lb4.conf"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)
    return write_config


def test_the_table_is_long_enough():
    assert len(BAD) >= 60


@pytest.mark.parametrize("name", BAD)
def test_bad_file_names_place_and_range(write, name):
    text, place, fragment = BAD[name]
    path = write(text)
    code, out, errors = run("-t", "-c", path)
    assert code == 1
    assert out == ""
    first = errors.splitlines()[0]
    assert first.startswith(f"{path}:{place}: " if place else f"{path}: "), errors
    assert fragment in first


@pytest.mark.parametrize("line", NOT_IN_THIS_VERSION)
def test_words_of_later_versions_are_refused(write, line):
    code, _, errors = run("-t", "-c", write(in_service(line)))
    assert code == 1
    assert len(errors.splitlines()) == 1
    assert "lb4.conf:4:" in errors
    assert "not in this version" in errors


@pytest.mark.parametrize("name", GOOD)
def test_good_file_is_valid_and_prints_to_the_same(write, name):
    path = write(GOOD[name])
    assert run("-t", "-c", path) == (0, f"{path}: configuration is valid\n", "")
    code, printed, _ = run("-T", "-c", path)
    assert code == 0
    assert run("-T", "-c", write(printed, "printed.conf")) == (0, printed, "")


def test_the_example_is_valid_and_prints_to_the_same(write):
    path = str(ROOT / "lb4.conf.example")
    assert run("-t", "-c", path) == (0, f"{path}: configuration is valid\n", "")
    _, printed, _ = run("-T", "-c", path)
    assert run("-T", "-c", write(printed)) == (0, printed, "")


def test_rules_from_flags_print_as_a_file(write):
    code, printed, errors = run(
        "-T", "-w", "2", "-o", "timeout idle 5m", "-l", "tcp/127.0.0.1:7000", "-s",
        "db1=198.51.100.1:1", "-s", "198.51.100.2:1", "-b", "roundrobin", "--no-splice")
    assert (code, errors) == (0, "")
    for line in ("workers 2\n", "splice off\n", "service rule1 {\n", "    timeout idle 5m\n",
                 "    server db1 198.51.100.1:1 weight 1\n",
                 "    server s1 198.51.100.2:1 weight 1\n"):
        assert line in printed
    assert run("-T", "-c", write(printed)) == (0, printed, "")


def test_errors_of_flags_have_a_place():
    code, _, errors = run("-t", "-l", "127.0.0.1:7000", "-s", "198.51.100.1:1", "-o", "tries 0")
    assert code == 1
    assert errors == "command line:7:7: tries: 0 is outside 1..100\n"


def test_http_without_an_address_is_for_this_machine(write):
    code, printed, errors = run("-T", "-c", write(at_top("http :9404")))
    assert (code, errors) == (0, "")
    assert "http 127.0.0.1:9404\n" in printed.replace('"', "")


@pytest.mark.parametrize("http, listen", [
    ("127.0.0.1:9404", "127.0.0.1:9404"), (":9404", ":9400-9410"), ("[::]:80", "[::1]:80"),
    ("0.0.0.0:80", "127.0.0.1:80")])
def test_http_at_a_listener(write, http, listen):
    path = write(f"http {http}\nservice s {{\nlisten tcp {listen}\n"
                 "server one 198.51.100.1:1\n}\n")
    code, _, errors = run("-t", "-c", path)
    assert code == 1
    assert re.search(rf"^{path}:1:6: http: port \d+ of this address is listened on already, at"
                     rf" {path}:3:12$", errors, re.M), errors


@pytest.mark.parametrize("line, printed", [
    ("check tcp", "check tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms"),
    ("check tcp interval 10s port 81",
     "check tcp interval 10s timeout 1s fall 3 rise 2 fast 2500ms port 81"),
    ("check http /x host db", 'check http "/x" status 200-399 host "db" interval 2s timeout 1s fall 3 '
     "rise 2 fast 500ms"),
    ("check redis address ::1 jitter 5", "check redis interval 2s timeout 1s fall 3 rise 2 fast "
     "500ms jitter 5 address [::1]"),
    ("check tcp interval 300ms", "check tcp interval 300ms timeout 1s fall 3 rise 2 fast 100ms"),
    ("check tcp interval 30ms", "check tcp interval 30ms timeout 1s fall 3 rise 2 fast 30ms"),
    ("server two 198.51.100.2:80", "check tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms"),
    ("tries 3", "check none"),
])
def test_what_a_check_amounts_to(write, line, printed):
    code, out, errors = run("-T", "-c", write(in_service(line)))
    assert (code, errors) == (0, "")
    assert f"    {printed}\n" in out


def test_a_single_server_by_name(write):
    """Whether it is probed depends on how many addresses it has."""
    code, out, _ = run("-T", "-c", write(GOOD["a single server by name"]))
    assert code == 0
    assert "check" not in out


def test_backups_only_is_a_warning(write):
    path = write(GOOD_SERVICE.replace(":80", ":80 backup"))
    code, _, errors = run("-t", "-c", path)
    assert code == 0
    assert errors.startswith(f"{path}:1:9: warning: service 'web' has backups only")


def test_twenty_errors_at_once_then_no_more(write):
    _, _, errors = run("-t", "-c", write("nonsense\n" * 20))
    assert len(errors.splitlines()) == 20
    assert "too many" not in errors
    code, _, errors = run("-t", "-c", write("nonsense\n" * 500))
    lines = errors.splitlines()
    assert code == 1
    assert len(lines) == 21
    assert "lb4.conf:20:1: " in lines[19]
    assert lines[20].startswith("too many errors")


def test_files_that_cannot_be_read(tmp_path):
    missing = str(tmp_path / "missing.conf")
    assert run("-t", "-c", missing) == (1, "", f"{missing}: No such file or directory\n")
    assert run("-t", "-c", str(tmp_path)) == (1, "", f"{tmp_path}: a directory, not a file\n")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert run("-t", "-c", str(fifo)) == (1, "", f"{fifo}: not a regular file\n")
    big = tmp_path / "big.conf"
    with open(big, "wb") as stream:
        stream.truncate((16 << 20) + 1)
    assert run("-t", "-c", str(big)) == (1, "", f"{big}: larger than 16 MiB\n")


@pytest.mark.parametrize("args", [
    ("-c",), ("-x",), ("--nonsense",), ("--check=1",), ("file.conf",), ("-c", "a", "-c", "b"),
    ("-c", "a", "-l", ":1"), ("-l", ":1", "-s", "198.51.100.1:1", "-c", "a"),
    ("-s", "198.51.100.1:1"), ("-s", "198.51.100.1:1", "-l", ":1"), ("-b", "random"),
    ("-p", "a", "-p", "b"),
])
def test_wrong_usage_exits_2_with_a_hint(args):
    code, out, errors = run(*args)
    assert (code, out) == (2, "")
    assert len(errors.splitlines()) == 2
    assert "lb4 -h" in errors.splitlines()[1]


@pytest.mark.parametrize("args", [
    ("-l", ":0", "-s", "198.51.100.1:1"), ("-l", ":1", "-s", "198.51.100.1:1", "-w", "0"),
    ("-l", ":1", "-s", "198.51.100.1:1", "-b", "best"), ("-l", ":1"),
])
def test_wrong_value_of_a_flag_exits_1(args):
    code, _, errors = run("-t", *args)
    assert code == 1
    assert errors.startswith("command line:")


def test_help_and_version():
    code, out, errors = run("-h")
    assert (code, errors) == (0, "")
    assert "--listen" in out and "Example" in out
    code, out, errors = run("--version")
    assert (code, errors) == (0, "")
    assert out.startswith("lb4 ")


def test_a_full_disk_behind_stdout_is_an_error(write):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([LB4, "-T", "-c", write(GOOD_SERVICE)], stdout=full,
                              stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 1
    assert b"cannot write" in done.stderr


def test_a_hundred_thousand_servers(write):
    services = []
    for i in range(100):
        servers = "".join(f" server s{k} 198.51.{i}.1:{1 + k}\n" for k in range(1000))
        services.append(f"service web{i} {{\n listen tcp :{7000 + i}\n{servers}}}\n")
    code, _, errors = run("-t", "-c", write("".join(services)))
    assert (code, errors) == (0, "")
