"""Sum JUnit files: prints 'N passed, N failed[, N skipped]'; exit 1 if a test failed or none ran. Of
a test that several files tell of, the last one counts. With --failed FILE: the integration tests of
that file that failed, one on a line, as pytest takes them."""

import collections
import sys
import xml.etree.ElementTree as ElementTree


def verdicts(path):
    """{(class, name): "passed", "failed" or "skipped"} of one file, by its test cases."""
    found = {}
    for case in ElementTree.parse(path).iter("testcase"):
        verdict = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            verdict = "failed"
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            verdict = "skipped"
        key = case.get("classname", ""), case.get("name")
        # One that passed and then failed in its end stands there twice.
        found[key] = "failed" if found.get(key) == "failed" else verdict
    return found


def list_failed(path):
    for (module, name), verdict in verdicts(path).items():
        if verdict == "failed":
            print(f"{module.replace('.', '/')}.py::{name}")
    return 0


def main(paths):
    last = {}
    for path in paths:
        last.update(verdicts(path))
    count = collections.Counter(last.values())
    print(f"{count['passed']} passed, {count['failed']} failed" +
          (f", {count['skipped']} skipped" if count["skipped"] else ""))
    return 1 if count["failed"] or not count["passed"] else 0


sys.exit(list_failed(sys.argv[2]) if sys.argv[1] == "--failed" else main(sys.argv[1:]))
