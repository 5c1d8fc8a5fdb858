"""Checks that speak a protocol over TCP: up by the right answer, however it comes in pieces; down, and
for the reason that the operator is told, by a wrong one, by junk, by silence, by none. Servers
are left in peace: a FIN, no reset, after good and wrong answers."""
import contextlib
import re
import time

import pytest

import admin
import daemon
import dialogue_rig as rig
import namespace
import pools
import servers
import web

LISTEN = "127.0.0.1:7000"
INTERVAL_S = 0.1
TIMEOUT_S = 0.4
FALL = 2
TIMES = f"interval {INTERVAL_S * 1000:.0f}ms timeout {TIMEOUT_S * 1000:.0f}ms fall {FALL} rise 1"
SLACK_S = 1.0  # CI shares its processors

KINDS = {
    "http": (rig.HTTP, "check http /health", "HTTP status 503"),
    "redis": (rig.PING, "check redis", r"answer '-LOADING Redis is loading'"),
    "redis role": (rig.ROLE, "check redis role master", "wanted role master, it is a replica"),
    "dns": (rig.DNS, "check dns ns.example", "DNS answer SERVFAIL"),
    "text": (rig.TEXT, 'check send "hello\\n" expect "hello yourself"',
             r"answer 'go away\\x07\\n' does not match"),
    "hex": (rig.HEX, "check send hex 00ff expect hex 0203",
            r"answer '\\x04\\x03' does not match"),
    "regex": (rig.REGEX, 'check send "" expect regex "^220 .*ready\\r?\\n"',
              r"answer '554 no\\r\\n' does not match"),
}
UP = ("right", "bytes", "right_and_junk")
DOWN = ("wrong", "begins", "junk", "silent", "closes", "resets")


def reasons(wrong):
    """What is told of each manner; the wrong answer of `send` is one only once the time is over."""
    cut = r"timed out waiting for the rest of '.*'|answer '.*' does not match"
    return {
        "wrong": wrong,
        "begins": cut,
        "junk": r"answer '.*' (is too long|does not match)|not an? \w+ answer: '.*'|"
                r"answer to ROLE|DNS answer to another question",
        "silent": rf"timed out after {TIMEOUT_S * 1000:.0f}ms waiting for the answer",
        "closes": "hung up without an answer",
        "resets": "connection reset",
    }


def config(addresses, check, names=None, times=TIMES):
    return pools.config(LISTEN, addresses, f"{check} {times}", names=names)


def start(start_lb4, text):
    """Probes of silent servers hold descriptors at any time."""
    lb4 = start_lb4(["-w", "1"], config=text)
    lb4.descriptors_at_start = None
    return lb4


def states(lb4):
    """{server: (state, why)} of the status page."""
    document = web.status(lb4.http)
    return {row["name"]: (row["state"], row["why"]) for row in document["services"][0]["servers"]}


def wait_state(lb4, name, state, limit_s=daemon.READY_LIMIT_S):
    servers.wait_until(lambda: states(lb4)[name][0] == state, limit_s, f"{name} is {state}")


@pytest.mark.parametrize("kind", KINDS)
def test_manners(start_lb4, desk, kind):
    """One server of each manner: what lb4 makes of it, and says about it, everywhere the same."""
    spoken, check, wrong = KINDS[kind]
    with contextlib.ExitStack() as stack:
        rigs = {manner: stack.enter_context(rig.Server(spoken, manner)) for manner in UP + DOWN}
        names = [manner.replace("_", "-") for manner in rigs]
        lb4 = start(start_lb4, desk.directive +
                    config([each.address for each in rigs.values()], check, names))
        lb4.wait_line(rf"first probes are done: {len(UP)} of {len(rigs)} servers are up")
        for manner in UP:
            assert states(lb4)[manner.replace("_", "-")][0] == "up"
        for manner, reason in reasons(wrong).items():
            line = lb4.wait_line(rf"server web/{manner} is DOWN: ")
            assert re.search(reason, line), line
            assert states(lb4)[manner][0] == "down"
            assert re.search(reason, states(lb4)[manner][1])
            assert re.search(reason, desk.server(f"web/{manner}")["why"])
        for manner in ("right", "bytes", "wrong"):
            servers.wait_until(lambda each=rigs[manner]: len(each.ends) >= 3, what=manner)
            assert set(rigs[manner].ends) == {"fin"}, manner
        lb4.finish()
    assert not [line for line in lb4.lines if re.search(r"[\x00-\x1f\x7f-\xff]", line)]
    for (what, name), values in lb4.summary().items():
        assert what != "server" or values["checks_unknown"] == 0, name


@pytest.mark.parametrize("kind", ["http", "redis", "regex"])
def test_there_and_back(start_lb4, kind):
    """The same server, hung and mended: down within fall * interval + timeout of the moment that it
    stops to answer, as its time-out is not longer than the interval."""
    spoken, check, _ = KINDS[kind]
    interval_s, timeout_s = 0.5, 0.3
    times = f"interval 500ms timeout 300ms fall {FALL} rise 1"
    with rig.Server(spoken, "right") as one, rig.Server(spoken, "right") as other:
        lb4 = start(start_lb4, config([one.address, other.address], check, times=times))
        lb4.wait_line("first probes are done: 2 of 2 servers are up")
        one.manner = "silent"
        hung = time.monotonic()
        lb4.wait_line(r"server web/s1 is DOWN: timed out after \d+ms waiting for the answer")
        took = time.monotonic() - hung
        print(f"down after {took:.3f} s, {FALL * interval_s + timeout_s:.1f} s are due")
        assert took <= FALL * interval_s + timeout_s + SLACK_S
        one.manner = "right"
        wait_state(lb4, "s1", "up")
        lb4.finish()


def test_requests(start_lb4):
    """What a server is asked, byte by byte."""
    with rig.Server(rig.HTTP, "right") as plain:
        address = f"{plain.address}"
        lb4 = start(start_lb4, config([address], "check http /a?b=c"))
        servers.wait_until(lambda: plain.questions)
        assert plain.questions[0] == (
            b"GET /a?b=c HTTP/1.1\r\nHost: " + address.encode() + b"\r\nUser-Agent: lb4\r\n"
            b"Accept: */*\r\nConnection: close\r\n\r\n")
        lb4.finish()
    with rig.Server(rig.HTTP, "right") as named:
        lb4 = start(start_lb4, config([named.address], "check http / host db.example"))
        servers.wait_until(lambda: named.questions)
        assert b"\r\nHost: db.example\r\n" in named.questions[0]
        lb4.finish()


def test_another_place(start_lb4):
    """`port`, `address` and `source`: one responder tells of both servers, and sees who asks."""
    with rig.Server(rig.HTTP, "right", host="127.0.0.77") as responder:
        port = responder.address.split(":")[1]
        nobody = [f"127.0.0.1:{namespace.take_port()}" for _ in range(2)]
        check = f"check http /primary port {port} address 127.0.0.77 source 127.0.0.78"
        lb4 = start(start_lb4, config(nobody, check))
        lb4.wait_line("first probes are done: 2 of 2 servers are up")
        assert set(responder.peers) == {"127.0.0.78"}
        assert responder.questions[0].startswith(b"GET /primary HTTP/1.1\r\nHost: 127.0.0.77:")
        responder.manner = "wrong"
        lb4.wait_line("server web/s[12] is DOWN: HTTP status 503")
        lb4.finish()


def test_a_source_that_is_not_ours(start_lb4):
    """Our own trouble: the server stays up, and the operator is told."""
    with rig.Server(rig.HTTP, "right") as one:
        lb4 = start(start_lb4, config([one.address], "check http / source 198.51.100.77"))
        lb4.wait_line("server web/s1 cannot be probed: the source address of its check is not this "
                      "machine's; its state is not known")
        assert states(lb4)["s1"][0] == "up"
        assert not one.questions
        lb4.finish()


def test_reload(start_lb4, desk):
    """Another kind, another word of it: in force at once, and told."""
    with rig.Server(rig.ROLE, "right") as one:
        text = desk.directive + config([one.address], "check redis role master")
        lb4 = start(start_lb4, text)
        lb4.wait_line("first probes are done: 1 of 1 servers are up")
        for change, state in (("check redis role replica", "down"), ("check tcp", "up"),
                              ("check redis role replica jitter 50", "down"),
                              ("check redis role master", "up")):
            admin.put_config(lb4, desk.directive + config([one.address], change))
            told = desk.do("reload")
            assert re.search(rf"~ check of web .* -> {change.split()[1]} ", told), told
            wait_state(lb4, "s1", state)
        lb4.finish()
