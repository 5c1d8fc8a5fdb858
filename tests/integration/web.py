"""Clients of lb4's HTTP listener: pages, /status.json, and a parser of /metrics with what must hold
in every scrape."""
import collections
import http.client
import json
import re

import namespace

LIMIT_S = 20
SAMPLE = re.compile(r'^([a-z_0-9]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\]|\\.)*)"')


def take_address():
    return f"127.0.0.1:{namespace.take_port()}"


class Page:
    """One answer."""

    def __init__(self, address, path, method="GET", headers=None):
        connection = http.client.HTTPConnection(address, timeout=LIMIT_S)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            self.status = answer.status
            self.headers = {name.lower(): value for name, value in answer.getheaders()}
            self.text = answer.read().decode()
        finally:
            connection.close()


def get(address, path, status=200):
    page = Page(address, path)
    assert page.status == status, f"{path}: {page.status} {page.text[:200]}"
    return page.text


def status(address):
    """/status.json, after a look at what must hold in every one."""
    document = json.loads(get(address, "/status.json"))
    for service in document["services"]:
        assert service["active"] == service["total"] - sum(service["closed"].values()), service
    return document


def server_of(document, service, server):
    found = [row for each in document["services"] if each["name"] == service
             for row in each["servers"] if row["name"] == server]
    assert len(found) == 1, found
    return found[0]


class Scrape:
    """/metrics: values by name and labels."""

    def __init__(self, address):
        self.text = get(address, "/metrics")
        self.samples = collections.defaultdict(dict)
        self.types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.M))
        for line in self.text.splitlines():
            if not line.startswith("#"):
                name, labels, value = SAMPLE.match(line).groups()
                labels = frozenset(LABEL.findall(labels or ""))
                assert labels not in self.samples[name], f"twice: {line}"
                self.samples[name][labels] = float(value)
        self.check()

    def value(self, name, **labels):
        return self.samples[name][frozenset(labels.items())]

    def sum(self, name, **labels):
        """Of all series that have these labels."""
        wanted = frozenset(labels.items())
        return sum(value for found, value in self.samples[name].items() if wanted <= found)

    def has(self, name, **labels):
        return frozenset(labels.items()) in self.samples[name]

    def label_values(self, name, label):
        return {dict(labels)[label] for labels in self.samples[name]}

    def check(self):
        """The identity of every service; histograms that rise and end in their count."""
        services = self.label_values("lb4_connections_active", "service")
        for service in services:
            total = self.value("lb4_connections_total", service=service)
            closed = self.sum("lb4_closed_total", service=service)
            active = self.value("lb4_connections_active", service=service)
            assert active == total - closed >= 0, f"{service}: {active} != {total} - {closed}"
        for name in (name for name, kind in self.types.items() if kind == "histogram"):
            for labels, count in self.samples[f"{name}_count"].items():
                self.check_histogram(name, labels, count)

    def check_histogram(self, name, labels, count):
        buckets = {dict(found)["le"]: value for found, value in
                   self.samples[f"{name}_bucket"].items() if labels <= found}
        ordered = [buckets[bound] for bound in sorted(buckets, key=float)]
        assert ordered == sorted(ordered) and ordered[-1] == count, f"{name} {labels}: {buckets}"

    def check_monotone(self, before):
        """No counter of `before` that is still there is lower now."""
        for name, kind in self.types.items():
            names = [name] if kind == "counter" else [f"{name}_count", f"{name}_sum"]
            for each in names if kind != "gauge" else []:
                for labels, value in before.samples[each].items():
                    assert self.samples[each].get(labels, value) >= value, f"{each} {labels}"
