"""Names of what is measured: title, unit, digits, and which way is better."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figure:
    title: str
    short: str  # head of a column in a terminal
    unit: str
    digits: int
    is_more_better: bool = False

    def text(self, value):
        return "-" if value is None else f"{value:,.{self.digits}f}"


FIGURES = {
    "rate": Figure("rate", "rate/s", "/s", 0, True),
    "throughput": Figure("throughput", "Gbit/s", "Gbit/s", 2, True),
    "p50_us": Figure("latency, p50", "p50 us", "us", 0),
    "p99_us": Figure("latency, p99", "p99 us", "us", 0),
    "proxy_us": Figure("CPU of the proxy", "proxy us", "us/unit", 2),
    "system_us": Figure("CPU of the system", "system us", "us/unit", 2),
    "proxy_s_per_gb": Figure("CPU of the proxy", "proxy s/GB", "s/GB", 3),
    "system_s_per_gb": Figure("CPU of the system", "system s/GB", "s/GB", 3),
    "syscalls": Figure("system calls", "syscalls", "per unit", 2),
    "syscalls_per_mb": Figure("system calls", "syscalls/MB", "per MB", 2),
    "sent": Figure("sent by clients", "sent/s", "/s", 0, True),
    "loss_percent": Figure("lost", "lost %", "%", 2),
    "start_kib": Figure("memory at start", "start KiB", "KiB", 0),
    "bytes_each": Figure("memory per connection", "B/conn", "B", 0),
    "descriptors_each": Figure("descriptors per connection", "fds/conn", "", 2),
    "pipes_each": Figure("pipes per connection", "pipes/conn", "", 2),
    "idle_percent": Figure("CPU when idle", "idle CPU %", "% of one", 2),
    "errors": Figure("errors", "errors", "", 0),
    "strangers": Figure("strangers", "strangers", "CPUs", 2),
}

# Columns of a scenario; errors and strangers are in all of them.
TRANSACTIONS = ("rate", "p50_us", "p99_us", "proxy_us", "system_us", "syscalls")
STREAMS = ("throughput", "proxy_s_per_gb", "system_s_per_gb", "syscalls_per_mb")
DATAGRAMS = ("rate", "p50_us", "p99_us", "loss_percent", "proxy_us", "system_us", "syscalls")
ONE_WAY = ("sent", "rate", "loss_percent", "proxy_us", "system_us", "syscalls")
HELD = ("start_kib", "bytes_each", "descriptors_each", "pipes_each", "idle_percent")


def head(name):
    figure = FIGURES[name]
    return f"{figure.title}, {figure.unit}" if figure.unit else figure.title
