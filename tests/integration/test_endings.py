"""Every way in which a connection can end, in both relay modes, on IPv4 and IPv6, and without a
proxy, which proves that the expectations are TCP's and not ours. One daemon for each mode and
family runs all chosen scenarios at once; each test then looks at its own."""
import dataclasses

import pytest

import matrix
import namespace
from scenarios import SCENARIOS

MODES = ["direct", "splice", "copy"]
_results = {}


def run_chosen(mode, family, chosen, start_lb4, repeats):
    lanes = matrix.make_lanes(chosen, repeats, n_lanes=4, is_direct=mode == "direct")
    if mode == "direct":
        return matrix.run_lanes(lanes, family, None)
    lb4 = start_lb4(["-w", "2"], config=matrix.config_of(lanes, family), splice=mode == "splice")
    found = matrix.run_lanes(lanes, family, lb4)
    lb4.finish()
    return found


def as_direct(scenario):
    """What the scenario must do without a proxy; a string if there is no such case."""
    if isinstance(scenario.direct, str):
        return scenario.direct
    return dataclasses.replace(scenario, **(scenario.direct or {}))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
@pytest.mark.parametrize("family", ["v4", "v6"], scope="module")
@pytest.mark.parametrize("mode", MODES, scope="module")
def test_ending(mode, family, scenario, request, start_lb4_module, repeats):
    if scenario.needs_nft and not namespace.has_nft():
        pytest.skip("nft is not installed")
    if mode == "direct" and isinstance(as_direct(scenario), str):
        pytest.skip(as_direct(scenario))
    if (mode, family) not in _results:
        chosen = chosen_scenarios(request.session, mode, family)
        _results[mode, family] = run_chosen(mode, family, chosen, start_lb4_module, repeats)
    problems = _results[mode, family][scenario.name]
    assert not problems, "\n".join([f"{len(problems)} problems:"] + problems[:10])


def chosen_scenarios(session, mode, family):
    """Those that pytest was asked to run, as they are to be run in this mode."""
    chosen = []
    for item in session.items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if not item.name.startswith("test_ending["):
            continue
        if (params["mode"], params["family"]) == (mode, family):
            scenario = as_direct(params["scenario"]) if mode == "direct" else params["scenario"]
            if not isinstance(scenario, str) and (namespace.has_nft() or not scenario.needs_nft):
                chosen.append(scenario)
    return chosen
