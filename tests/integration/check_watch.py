"""A server as the checks of lb4 see it: up, stopped, hung, and with its words mangled."""
import datetime
import re
import time

import daemon
import namespace
import pools
import real_servers as real

INTERVAL_S, TIMEOUT_S, FALL = 0.4, 0.4, 3
# To be found out when it hangs; and otherwise: many probes, which a busy machine may keep waiting.
HASTY = (f"interval {INTERVAL_S * 1000:.0f}ms timeout {TIMEOUT_S * 1000:.0f}ms fall {FALL} rise 2"
         " fast 100ms")
PATIENT = "interval 100ms timeout 3s fall 3 rise 2 fast 100ms"
HUNG_S = FALL * INTERVAL_S + TIMEOUT_S
LATE_S = 1 if not daemon.IS_SANITIZED else 5  # of a busy machine
LINES_LIMIT_S = 30


class Watch:
    """An lb4 that checks one server, and what it says about it. It tells of one fall at once, of
    another soon after not (flapping): for each there is a Watch."""

    def __init__(self, start_lb4, address, check, transport="tcp", options=PATIENT):
        listen = f"127.0.0.1:{namespace.take_port()}"
        config = pools.config(listen, [address], f"check {check} {options}")
        self.listen = listen
        self.lb4 = start_lb4(["-w", "1"], config=config.replace("tcp", transport, 1))
        self.lb4.descriptors_at_start = None  # there is always a probe
        self.start = 0

    def wait(self, state):
        """Its line in the log: later ones only, from now on."""
        line = self.lb4.wait_line(f"server web/s1 is {state}", LINES_LIMIT_S, self.start)
        self.start = self.lb4.lines.index(line) + 1
        return line

    def wait_down(self, reason=""):
        line = self.wait("DOWN")
        assert re.search(reason, line), line
        return line

    def assert_stays(self, count=8):
        """So many good probes more, and nothing else."""
        start = len(self.lb4.lines)

        def n_good():
            return sum(" outcome=ok" in line for line in self.lb4.lines[start:])
        self.lb4.wait_for(lambda: n_good() >= count, LINES_LIMIT_S + count / 5,
                          f"fewer than {count} good ones")
        probes = [line for line in self.lb4.lines[start:] if " outcome=" in line]
        assert all(" outcome=ok" in line for line in probes), probes
        assert not [line for line in self.lb4.lines[start:] if " is DOWN" in line]

    def see_stop(self, server, reason):
        self.assert_stays()
        server.stop()
        self.wait_down(reason)
        server.start()
        self.wait("UP")
        self.assert_stays()

    def see_hang(self, server):
        self.assert_stays(2)
        began = datetime.datetime.now(datetime.timezone.utc)
        server.hang()
        line = self.wait_down("timed out")
        took_s = (datetime.datetime.fromisoformat(line.split()[0]) - began).total_seconds()
        server.resume()
        self.wait("UP")
        self.assert_stays(2)
        print(f"hung: down after {took_s:.2f} s, due after {HUNG_S:.2f}")
        assert took_s <= HUNG_S + LATE_S

    def see_mangled(self, mangler, junk):
        """lb4 checks the server through this one, which is `whole` at first."""
        mangler.mode = "split"
        self.assert_stays()
        assert mangler.n_split > 0
        mangler.mode = "junk"
        line = self.wait_down(junk)
        mangler.mode = "split"
        self.wait("UP")
        self.assert_stays()
        return line


def see_all(start_lb4, server, check, junk):
    with server:
        Watch(start_lb4, server.address, check).see_stop(server, "connection refused")
        Watch(start_lb4, server.address, check, options=HASTY).see_hang(server)
        with real.Mangler(server.address) as mangler:
            print(Watch(start_lb4, mangler.address, check).see_mangled(mangler, junk))


def settle(log):
    """What is written to it a moment later is written by then."""
    time.sleep(0.3)
    return log.read_text()
