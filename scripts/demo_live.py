"""Shows live who answers, what fails, and what lb4 logs of its servers, until Ctrl-C."""

import collections
import time

import demo
import demo_traffic

PER_SECOND = 200
DEAD_S = 5  # a server that was killed stays dead so long
LOG_S = 0.2  # what lb4 says of clients that failed is waited for so long
N_LINES = 20  # between two heads of the table


def show_intro(servers):
    print(
        f"lb4 balances 127.0.0.1:{demo.LISTEN_PORT} over three servers, for {PER_SECOND} clients "
        f"a second.\nKill servers, one or all; each is started again after {DEAD_S} s:"
    )
    for name, server in servers.items():
        print(f"   kill -9 {server.pid}    # {name}")
    print(
        f"Or ask yourself: curl http://127.0.0.1:{demo.LISTEN_PORT}/     Ctrl-C ends all.\n"
        f"By UDP:          bash -c 'exec 3<>/dev/udp/127.0.0.1/{demo.LISTEN_PORT}; "
        "echo hello >&3; head -n 1 <&3'\n"
        f"Look at it live: http://127.0.0.1:{demo.PAGE_PORT}/ in a browser\n"
        "'cut' are clients whose server died while it served them, 'failed' all others\n"
        "that got no answer: they should be 0 as long as one server lives."
    )


def show_head():
    names = "".join(f"{name:>7}" for name in demo.SERVERS)
    print(f"   {'time':12}{'clients/s':>10}{names}{'cut':>7}{'failed':>8}")


def show_second(clients, log, seconds):
    answers = collections.Counter(client.name for client in clients)
    failures = [client for client in clients if not client.name]
    by = time.monotonic() + LOG_S
    servers = [log.wait_server_of(each, max(0, by - time.monotonic())) for each in failures]
    n_cut = sum(server in demo.SERVERS for server in servers)
    counts = "".join(f"{answers[name]:7}" for name in demo.SERVERS)
    clock = time.strftime("%H:%M:%S", time.gmtime())
    print(f"   {clock:12}{len(clients) / seconds:10.0f}{counts}{n_cut:7}{len(failures) - n_cut:8}")


class Keeper:
    """Starts servers again that have died."""

    def __init__(self, processes, servers):
        self.processes = processes
        self.servers = servers
        self.died = {}  # name -> when

    def look(self):
        now = time.monotonic()
        for name, server in self.servers.items():
            if server.poll() is not None and name not in self.died:
                self.died[name] = now
                print(f"   {name} (pid {server.pid}) has died")
        for name in [name for name, died in self.died.items() if now - died >= DEAD_S]:
            self.servers.update(self.processes.start_servers(name))
            del self.died[name]
            print(f"   {name} runs again:   kill -9 {self.servers[name].pid}")


def watch(lb4, log, keeper, traffic):
    seconds = 0
    shown = time.monotonic()
    while lb4.poll() is None:
        if time.monotonic() - shown < 1:
            time.sleep(0.05)
            keeper.look()
            continue
        if seconds % N_LINES == 0:
            show_head()
        seconds += 1
        since, shown = shown, time.monotonic()
        show_second(traffic.take(), log, shown - since)
    raise demo.DemoError(f"lb4 has ended, with exit code {lb4.returncode}")


def main():
    with demo.Demo() as processes:
        servers = processes.start_servers()
        show_intro(servers)
        lb4, log = processes.start_lb4()
        with demo_traffic.Traffic(PER_SECOND) as traffic:
            watch(lb4, log, Keeper(processes, servers), traffic)


demo.run(main)
