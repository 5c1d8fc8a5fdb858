"""scripts/bench; as root."""

import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile

import benchmark.access as access
import benchmark.bars as bars
import benchmark.cpu as cpu
import benchmark.machine as machine
import benchmark.options as options_
import benchmark.page as page
import benchmark.peers as peers
import benchmark.results as results_
import benchmark.runner as runner
import benchmark.scenarios as scenarios
import benchmark.terminal as terminal
import benchmark.validate as validate


def show_configs(options):
    for scenario in options.scenarios:
        for peer in options.contestants:
            place = peers.Place("/tmp", 1 if scenario.is_pinned else len(os.sched_getaffinity(0)))
            reason = peer.why_not(scenario)
            text = f"left out: {reason}\n" if reason else peer.shown(scenario, place)
            if text:
                print(f"--- {scenario.name}, {peer.name}\n{text}")


def compare(options):
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        before, after = (results_.load(path) for path in options.compare)
    except (OSError, ValueError) as error:
        sys.exit(f"bench: {error}")
    print(terminal.changes_text(results_.compare(before, after)))


@contextlib.contextmanager
def prepared(options):
    """A folder that an unprivileged user may enter, with copies of the binaries; and accounts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory(prefix="lb4-bench-") as folder, cpu.Ledger() as ledger:
        user = runner.processes.nobody()
        os.chown(folder, user["user"], user["group"])
        for peer in options.known.values():
            if peer.kind == "lb4":
                peer.program = shutil.copy(peer.program, os.path.join(folder, peer.name))
        options.folder, options.ledger = folder, ledger
        yield


def run(options):
    facts = {**machine.facts(options.ledger), **machine.package_versions(*machine.PACKAGES)}
    found = results_.begin(options, options.contestants, facts)
    print(terminal.facts_text(facts) + "\n", flush=True)

    def take(scenario, record):
        results_.add(found, scenario, record)
        one = found["scenarios"][scenario.name]
        text = terminal.scenario_text(scenario.name, one, found["run"])
        print("\n".join(part for part in (text, terminal.calls_text(one)) if part) + "\n",
              flush=True)
        save(options, found)  # what a run that is cut short has found is not lost
    try:
        runner.run(options, scenarios.batches(options.scenarios), options.contestants, take)
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
    tell_end(options, found)


def tell_end(options, found):
    """Exit 1 if an lb4 was to be measured and could not be."""
    verdicts = bars.judge_all(results_.rounds_of(found), results_.peer_names(found))
    if verdicts and "lb4" in found["peers"]:
        print(terminal.bars_text(verdicts) + "\n")
    print(f"report: {options.html}")
    failed = {name for one in found["scenarios"].values() for name in one["left_out"]
              if found["peers"][name]["kind"] == "lb4"}
    if failed:
        sys.exit(f"bench: not everywhere measured: {', '.join(failed)}")


def save(options, found):
    if options.json:
        results_.save(found, options.json)
    os.makedirs(os.path.dirname(os.path.abspath(options.html)), exist_ok=True)
    with open(options.html, "w", encoding="utf-8") as file:
        file.write(page.make(found))


def main():
    arguments = sys.argv[1:]
    if "--access" in arguments:
        access.main(arguments)
        return
    options = options_.parse(arguments)
    for is_wanted, act in ((options.list, options_.list_all), (options.compare, compare),
                           (options.show_configs, show_configs)):
        if is_wanted:
            act(options)
            return
    # A shell's job in the background was given SIGINT as ignored; so were its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    with prepared(options):
        (validate.run if options.validate else run)(options)


if __name__ == "__main__":
    try:
        main()
    except runner.processes.Failure as error:
        sys.exit(f"bench: {error}")
