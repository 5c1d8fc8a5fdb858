"""A process that is stopped, for tests of what happens in the kernel meanwhile."""
import pathlib
import signal

import servers


def stop(lb4):
    """SIGSTOP, and wait until every thread has stopped: none holds events that it has fetched."""
    lb4.signal(signal.SIGSTOP)
    tasks = list(pathlib.Path(f"/proc/{lb4.pid}/task").iterdir())
    servers.wait_until(lambda: all(") T " in (task / "stat").read_text() for task in tasks),
                       what="all threads stopped")


def go_on(lb4):
    lb4.signal(signal.SIGCONT)
