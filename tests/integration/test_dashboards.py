"""The Grafana dashboard and the alert rules of scripts/: whole, understood by Prometheus, and about
metrics that lb4 has. A real Prometheus scrapes a real lb4, and every panel gets an answer."""
import contextlib
import json
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest

import pools
import servers
import udp_drill

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "scripts/grafana/lb4.json").read_text())
RULES = ROOT / "scripts/prometheus/lb4-alerts.yml"
RULE_TESTS = pathlib.Path(__file__).with_name("lb4-alerts-test.yml")
LISTEN = "127.0.0.1:7000"
LISTEN_UDP = "127.0.0.1:7053"
HTTP = "127.0.0.1:9404"
PROMETHEUS = "127.0.0.1:9405"
LIMIT_S = 30
# What Grafana puts in; the interval is four scrapes at least.
VARIABLES = {"$instance": ".*", "$service": ".*", "$__rate_interval": "10s"}
# Rates of what did not happen are left out of these.
MAY_BE_EMPTY = {"Ended connections by reason", "Dropped datagrams by reason"}
# Put on every series by Prometheus.
ADDED_LABELS = {"job", "instance"}

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="prometheus is missing")


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def filled(expr):
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def panel_exprs():
    return [(panel["title"], filled(target["expr"]))
            for panel in panels() for target in panel["targets"]]


def annotation_exprs():
    return [(note["name"], filled(note["expr"])) for note in DASHBOARD["annotations"]["list"]]


def rule_exprs():
    """By the name of the alert; an expression goes on until the next key."""
    text = RULES.read_text()
    found = re.findall(r"- alert: (\w+)\n +expr: (.*?)\n +(?:for|labels):", text, re.S)
    assert len(found) == text.count("- alert:")
    return [(name, re.sub(r"^>-\s+", "", expr)) for name, expr in found]


# --- structure

def test_dashboard_is_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) and all(number > 0 for number in ids)
    assert len({panel["title"] for panel in panels()}) == len(panels()) >= 25
    for panel in panels():
        assert panel["title"] and panel["description"] and panel["targets"], panel["id"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert len(letters) == len(set(letters))
        for target in panel["targets"]:
            assert target["expr"].strip() and target["datasource"] == panel["datasource"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_panels_do_not_overlap():
    taken = {}
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24 and grid["w"] > 0 and grid["h"] > 0
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in taken, (panel["title"], taken[x, y])
                taken[x, y] = panel["title"]


def test_variables():
    by_name = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert list(by_name) == ["datasource", "instance", "service"]
    assert (by_name["datasource"]["type"], by_name["datasource"]["query"]) == (
        "datasource", "prometheus")
    assert by_name["service"]["query"]["query"].endswith(", service)")
    # A panel of one service follows the variable.
    for panel in panels():
        for target in panel["targets"]:
            for selector in re.findall(r"lb4_\w+\{([^}]*)\}", target["expr"]):
                assert 'instance=~"$instance"' in selector, target["expr"]


@needs_promtool
def test_rules_are_rules():
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0 and "SUCCESS" in done.stdout, done
    for block in RULES.read_text().split("- alert: ")[1:]:
        name = block.split()[0]
        assert re.search(r"severity: (critical|warning)\b", block), name
        assert "summary:" in block and "description:" in block, name


@needs_promtool
def test_rules_fire_and_are_silent():
    done = subprocess.run(["promtool", "test", "rules", RULE_TESTS.name], cwd=RULE_TESTS.parent,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # Each is tested both ways.
    text = RULE_TESTS.read_text()
    for name, _ in rule_exprs():
        assert re.search(rf"alertname: {name}\n +eval_time: \S+\n +exp_alerts: \[\{{", text), name
        assert re.search(rf"\{{alertname: {name}, eval_time: \S+\}}", text), name


@needs_promtool
def test_every_expression_is_promql():
    exprs = panel_exprs() + annotation_exprs()
    rules = [{"record": f"panel:{i}", "expr": expr} for i, (_, expr) in enumerate(exprs)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:  # JSON is YAML
        json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True,
                              text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(exprs)} rules found" in done.stdout


# --- against a real lb4

def scrape():
    with urllib.request.urlopen(f"http://{HTTP}/metrics", timeout=LIMIT_S) as answer:
        return answer.read().decode()


def series_of(text):
    """Metric -> label -> values."""
    found = {}
    for line in text.splitlines():
        match = re.match(r"(\w+)(?:\{(.*)\})? \S+$", line)
        if match:
            labels = found.setdefault(match[1], {})
            for name, value in re.findall(r'(\w+)="([^"]*)"', match[2] or ""):
                labels.setdefault(name, set()).add(value)
    return found


def lb4_config(pool, dns, *words):
    return "\n".join([f"http {HTTP}", *words]) + "\n" + pools.config(
        LISTEN, pool.texts, "check tcp interval 50ms timeout 500ms fall 1 rise 1") + f"""
service dns {{
    listen udp {LISTEN_UDP}
    server ns1 {dns.address}
    server ns2 localhost:{dns.address.rpartition(':')[2]} backup
}}
"""


@contextlib.contextmanager
def lb4_with_servers(start_lb4):
    with pools.make(3, holds=False) as pool, udp_drill.UdpServer() as dns:
        yield start_lb4(["-w", "2"], config=lb4_config(pool, dns)), pool


@needs_promtool
def test_names_and_labels_exist(start_lb4):
    with lb4_with_servers(start_lb4):
        text = scrape()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done
    known = series_of(text)
    exprs = panel_exprs() + annotation_exprs() + rule_exprs()
    for title, expr in exprs:
        names = set(re.findall(r"\blb4_\w+", expr))
        assert names or "up{" in expr, title
        assert names <= set(known), (title, names - set(known))
        for name, selector in re.findall(r"\b(lb4_\w+)\{([^}]*)\}", expr):
            for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selector):
                if label in ADDED_LABELS:
                    continue
                assert label in known[name], (title, name, label)
                if values != ".*":
                    assert set(values.split("|")) <= known[name][label], (title, name, values)
        labels = {label for these in re.findall(r"(?:by|without|on) \(([^)]*)\)", expr)
                  for label in re.split(r",\s*", these)}
        all_labels = set().union(*(known[name] for name in names)) if names else set()
        assert labels <= all_labels | ADDED_LABELS | {"worker"}, (title, labels)


class Prometheus:
    """A real one that scrapes lb4 twice a second. As a context."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lb4-prometheus-")
        folder = pathlib.Path(self.folder.name)
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms",
                       "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "lb4", "static_configs": [{"targets": [HTTP]}]}]}))
        with open(folder / "log", "w") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={folder}/prometheus.yml", "--log.level=warn",
                 f"--storage.tsdb.path={folder}/data", f"--web.listen-address={PROMETHEUS}"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            servers.wait_until(self.is_ready, LIMIT_S, what=f"Prometheus: {self.log()}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()

    def log(self):
        return pathlib.Path(self.folder.name, "log").read_text()

    def is_ready(self):
        assert self.process.poll() is None, self.log()
        try:
            with urllib.request.urlopen(f"http://{PROMETHEUS}/-/ready", timeout=LIMIT_S):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False

    def get(self, path, **words):
        query = urllib.parse.urlencode(words)
        with urllib.request.urlopen(f"http://{PROMETHEUS}/api/v1/{path}?{query}",
                                    timeout=LIMIT_S) as answer:
            return json.load(answer)["data"]

    def query(self, expr):
        """Series and their values."""
        return [(row["metric"], float(row["value"][1]))
                for row in self.get("query", query=expr)["result"]]

    def alerts(self):
        return {alert["labels"]["alertname"]: alert["state"]
                for alert in self.get("alerts")["alerts"]}


@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is missing")
def test_a_real_prometheus_answers_every_panel(start_lb4):
    with lb4_with_servers(start_lb4) as (lb4, pool), Prometheus() as prometheus, \
            udp_drill.Flows(LISTEN_UDP, 3) as flows:
        def unanswered():
            """Panels without an answer, while clients come."""
            pools.ask_name(LISTEN)
            flows.round()
            return {title for title, expr in panel_exprs()
                    if title not in MAY_BE_EMPTY and not prometheus.query(expr)}
        deadline = time.monotonic() + LIMIT_S
        while (missing := unanswered()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not missing
        values = {title: prometheus.query(expr) for title, expr in panel_exprs()}
        assert values["lb4 that answer"][0][1] == 1
        assert values["Servers down"][0][1] == 0
        assert values["Services without a server"][0][1] == 0
        assert values["UDP sessions"][0][1] == 3
        assert len(values["State of servers"]) == 5
        assert all(value == 2 for _, value in values["State of servers"])
        # Lb4Absent may stand until the first scrape is looked at; of servers there is nothing.
        servers.wait_until(lambda: not prometheus.alerts(), LIMIT_S, what="no alert")

        for index in range(3):
            pool.close(index)
        lb4.wait_line("service web: no server is up")
        servers.wait_until(
            lambda: {"Lb4ServerDown", "Lb4ServiceWithoutServers"} <= set(prometheus.alerts()),
            LIMIT_S, what="alerts that are pending")
        exprs = dict(panel_exprs())
        assert prometheus.query(exprs["Servers down"])[0][1] == 3
        assert prometheus.query(exprs["Services without a server"])[0][1] == 1
        assert sorted(value for _, value in prometheus.query(exprs["State of servers"])) == [
            0, 0, 0, 2, 2]
        for group in prometheus.get("rules")["groups"]:
            for rule in group["rules"]:
                assert rule["health"] == "ok", rule
        assert len(rule_exprs()) == sum(
            len(group["rules"]) for group in prometheus.get("rules")["groups"])
        lb4.finish(checks_descriptors=False)
