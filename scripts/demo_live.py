"""Shows live which server answers, until Ctrl-C."""

import collections
import time

import demo

PAUSE_S = 0.3


def show_request(number, answers):
    """One line per request: who answered, and the counts so far."""
    try:
        name = demo.ask_web().removeprefix("hello from ") or "nobody (empty answer)"
    except OSError as error:
        name = f"nobody ({error})"
    answers[name] += 1
    counts = ", ".join(f"{each} {answers[each]}" for each in sorted(answers))
    print(f"{time.strftime('%H:%M:%S')}  request {number:4}  answered by {name}   ({counts})")


def main():
    with demo.Demo() as processes:
        servers = processes.start_servers()
        processes.start_lb4()
        pids = ", ".join(f"{name} {server.pid}" for name, server in servers.items())
        print(
            f"lb4 balances 127.0.0.1:{demo.LISTEN_PORT} over three demo servers (pids: {pids}).\n"
            f"Try 'curl http://127.0.0.1:{demo.LISTEN_PORT}/', or kill a server and watch that no "
            "request fails. Ctrl-C ends all."
        )
        answers = collections.Counter()
        number = 0
        while True:
            number += 1
            show_request(number, answers)
            time.sleep(PAUSE_S)


demo.run(main)
