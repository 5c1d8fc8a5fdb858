"""pg_role.py of the worked example: what it says of a real PostgreSQL primary and its replica, when
they are up, hung, dead, promoted, and when the old primary comes back."""
import shutil
import subprocess

import pytest

import databases
import servers

pytestmark = pytest.mark.skipif(not databases.HAS_POSTGRES,
                                reason="Debian's postgresql is not installed")

UNIT = databases.EXAMPLES / "postgresql" / "pg-role.service"


@pytest.fixture(scope="module")
def pair():
    """A primary with its replica, and the responder of each."""
    with databases.folder() as directory:
        first = databases.make_postgres(1, directory).create()
        second = databases.make_postgres(2, directory)
        with first, second.copy(first), databases.Responder(first, second) as role1, \
                databases.Responder(second, first) as role2:
            yield first, second, role1, role2


def statuses(responder):
    return responder.ask("/primary")[0], responder.ask("/replica")[0]


def test_roles_in_order_of_a_failover(pair):
    """One test, since one thing leads to the next."""
    first, second, role1, role2 = pair
    assert statuses(role1) == (200, 503) and statuses(role2) == (503, 200)
    assert role1.ask("/primary")[1] == "primary: timeline 1"
    assert role2.ask("/replica?lag=1MB")[0] == 200, "Patroni's paths may have a query"
    assert role1.ask("/primary", "HEAD") == (200, "") and role1.ask("/primary", "OPTIONS")[0] == 200
    assert role1.ask("/")[0] == 404

    first.hang()
    assert statuses(role1) == (503, 503)
    assert "does not answer" in role1.ask("/primary")[1]
    second.promote()
    assert statuses(role2) == (200, 503), "a peer that hangs has no say"
    assert role2.ask("/primary")[1] == "primary: timeline 2"

    first.go_on()
    servers.wait_until(lambda: first.ask("select pg_is_in_recovery()", checks=False) == "f",
                       what="the old primary is back, as a primary")
    assert statuses(role1) == (503, 503)
    assert role1.ask("/primary")[1] == "neither: given up: timeline 1, and a peer is primary at 2"
    assert statuses(role2) == (200, 503)

    first.kill()
    assert statuses(role1) == (503, 503) and statuses(role2) == (200, 503)


def test_two_primaries_of_one_timeline_are_none(pair):
    second = pair[1]
    with databases.Responder(second, second, port=8009) as confused:
        assert confused.ask("/primary")[0] == 503
        assert "too" in confused.ask("/primary")[1]


def test_changes_are_told_once():
    with databases.folder() as directory:
        server = databases.make_postgres(3, directory).create()
        with databases.Responder(server) as role:
            for _ in range(3):
                role.ask("/primary")
            with server:
                for _ in range(3):
                    role.ask("/primary")
            role.process.terminate()
            said = role.process.stdout.read().splitlines()
    assert said == ["neither: the server does not answer",
                    "primary: timeline 1"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_unit_is_understood(tmp_path):
    text = UNIT.read_text().replace("/usr/local/bin/pg_role.py", "/bin/true")
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                          text=True, check=False, timeout=60)
    assert done.returncode == 0 and UNIT.name not in done.stderr, done.stderr
