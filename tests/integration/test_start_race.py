"""Two lb4 that start on one address at the same instant: each has looked whether the address is
free before the other has it. One gets it, the other says so and ends."""
import shutil

import pytest

import namespace
import servers

DELAY_US = 300000  # each bind(2) returns so late
STRACE = ["strace", "-f", "-qq", "-e", "trace=bind", "-e", f"inject=bind:delay_exit={DELAY_US}"]
PORT = 7000

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


def is_ready(lb4):
    return any(" ready" in line for line in lb4.lines)


def has_ended(lb4):
    return lb4.process.poll() is not None


def check_refusal(lb4, address):
    assert lb4.wait_exit() == 1, lb4.tail()
    lb4.is_finished = True
    text = "\n".join(lb4.lines)
    assert address in text and "in use" in text, text
    assert not is_ready(lb4), text


@pytest.mark.parametrize("n_workers", ["1", "2"])
def test_exactly_one_of_two_starts_runs(start_lb4, trace, family, n_workers):
    address = namespace.address(family, PORT)
    with servers.EchoServer(family) as server:
        pair = [start_lb4(["-w", n_workers, "-l", address, "-s", server.address], waits=False,
                          env={"ASAN_OPTIONS": "detect_leaks=0"},
                          wrapper=[*STRACE, "-o", f"{trace}.{i}"]) for i in range(2)]
        servers.wait_until(lambda: all(has_ended(lb4) or is_ready(lb4) for lb4 in pair),
                           what="two starts that are decided")
        winners = [lb4 for lb4 in pair if is_ready(lb4)]
        for lb4 in pair:
            if lb4 not in winners:
                check_refusal(lb4, address)
        assert len(winners) == 1, [lb4.tail() for lb4 in pair]
        winners[0].wait_ready()
        for _ in range(10):
            servers.ask_once(address)
        winners[0].wait_n_closed("rule1", 10)
    winners[0].finish()
