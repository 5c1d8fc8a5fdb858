"""The worked examples are files that lb4 takes; the drills are in test_drill_*.py."""
import subprocess

import pytest

import databases

NAMES = sorted(path.name for path in databases.EXAMPLES.iterdir() if (path / "lb4.conf").exists())


def test_there_are_some():
    assert {"mariadb", "postgresql", "redis"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_checked_and_printed(binary, tmp_path, name):
    """-T prints what -T prints the same of again."""
    def effective(path):
        done = subprocess.run([binary, "-T", "-c", str(path)], capture_output=True, text=True,
                              check=False, timeout=30)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout
    # Not on all addresses: those of the servers may be on this machine, for drills.
    copy = tmp_path / "lb4.conf"
    copy.write_text(databases.example(name))
    printed = effective(copy)
    copy.write_text(printed)
    assert effective(copy) == printed
    assert printed.count("service ") == databases.example(name).count("\nservice ")
