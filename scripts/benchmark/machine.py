"""Where a run took place: what a reader needs to repeat it, or to doubt it."""

import os
import platform
import subprocess
import time


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        return next((line.partition(":")[2].strip() for line in file
                     if line.startswith("model name")), platform.machine())


def package_versions(*names):
    """{package: version} of those that are installed."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *names],
                          capture_output=True, text=True, check=False)
    return dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)


def facts(ledger):
    return {"date": time.strftime("%Y-%m-%d %H:%M %Z"),
            "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cpus": f"{len(os.sched_getaffinity(0))} x {cpu_model()}",
            "load_before": f"{os.getloadavg()[0]:.2f}", "cpu_accounting": ledger.method}


PACKAGES = ("haproxy", "nginx", "libnginx-mod-stream", "pen", "rinetd", "socat", "nftables",
            "redis-server", "postgresql-15", "libc6")
