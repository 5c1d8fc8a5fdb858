"""Shares under load: weights hold while connections live unevenly long, while a server is down, and
for servers that stand in for others."""
import collections
import contextlib
import heapq
import itertools
import random
import time

import pytest

import pools
import servers

pytestmark = pytest.mark.patient

LISTEN = "127.0.0.1:7000"
CHECK = "check tcp interval 50ms timeout 50ms fall 2 rise 2"
WEIGHTS = [1, 1, 2]
N_LIVE = 120
MEAN_LIFE_S = 0.3
SLOW = 0  # the server whose connections live longer
SLOW_FACTOR = 4
WARM_UP_S = 1.5
SAMPLE_EVERY_S = 0.02
SHARE_BAR = 0.10


def start(start_lb4, pool, policy, options, check="check none", **more):
    text = pools.config(LISTEN, pool.texts, f"balance {policy}", check, options=options)
    return start_lb4(["-w", "2"], config=text, **more)


def by_weight(weights):
    return [f"weight {weight}" for weight in weights]


def open_one():
    """A connection that stays, and the index of its server."""
    client = servers.connect(LISTEN)
    return client, pools.read_name(client)


def count_names(count):
    """Where so many short connections get, one after the other."""
    return collections.Counter(pools.ask_name(LISTEN) for _ in range(count))


# --- connections of uneven length

def steady_load(stack, pool, seconds):
    """Keep N_LIVE connections open, each for a random time; mean live connections of each server,
    as the servers count them."""
    chance = random.Random(17)
    ends = []
    numbers = itertools.count()
    samples = []
    started = time.monotonic()
    sample_at = started + WARM_UP_S
    while (now := time.monotonic()) < started + WARM_UP_S + seconds:
        while ends and ends[0][0] <= now:
            heapq.heappop(ends)[2].close()
        if len(ends) < N_LIVE:
            client, index = open_one()
            stack.callback(client.close)
            life = chance.expovariate(1 / MEAN_LIFE_S) * (SLOW_FACTOR if index == SLOW else 1)
            heapq.heappush(ends, (time.monotonic() + life, next(numbers), client))
        else:
            time.sleep(min(0.002, max(0, ends[0][0] - now)))
        if now >= sample_at:
            samples.append(list(pool.n_active))
            sample_at = now + SAMPLE_EVERY_S
    print(f"{next(numbers) / (seconds + WARM_UP_S):.0f} connections/s, {len(samples)} samples")
    return [sum(column) / len(samples) for column in zip(*samples)]


def test_leastconn_keeps_live_counts_by_weight(start_lb4, is_full):
    """Also though those of one server live four times as long."""
    with pools.make(len(WEIGHTS)) as pool, contextlib.ExitStack() as stack:
        lb4 = start(start_lb4, pool, "leastconn", by_weight(WEIGHTS), debug=False)
        means = steady_load(stack, pool, 15 if is_full else 4)
        stack.close()
        lb4.finish()
    total = sum(means)
    shares = [mean / (total * weight / sum(WEIGHTS)) for mean, weight in zip(means, WEIGHTS)]
    print("live", [f"{mean:.1f}" for mean in means], "of the weights' shares",
          [f"{share:.3f}" for share in shares])
    assert total > 0.9 * N_LIVE, "the load was not steady"
    assert all(abs(share - 1) <= SHARE_BAR for share in shares)


# --- random

def hold_many(stack, count):
    names = []
    for _ in range(count):
        client, index = open_one()
        stack.callback(client.close)
        names.append(index)
    return collections.Counter(names)


def test_random_of_two_is_even(start_lb4):
    """1,000 live connections on 20 servers: 50 each, and the fullest has at most 55. One draw in
    place of two keeps so near in less than one case of a hundred."""
    with pools.make(20) as pool, contextlib.ExitStack() as stack:
        start(start_lb4, pool, "random", None)
        counts = hold_many(stack, 1000)
        print(sorted(counts.values()))
        assert len(counts) == 20 and max(counts.values()) <= 55


def test_random_follows_the_weights(start_lb4):
    weights = [1, 1, 2, 4]
    with pools.make(len(weights)) as pool, contextlib.ExitStack() as stack:
        start(start_lb4, pool, "random", by_weight(weights))
        counts = hold_many(stack, 400)
        print(dict(sorted(counts.items())))
        assert all(abs(counts[i] - 50 * weight) <= 10 * weight for i, weight in enumerate(weights))


def test_random_without_load_serves_all(start_lb4):
    """Short connections one after the other find every server empty: the draw decides alone."""
    with pools.make(10, holds=False) as pool:
        start(start_lb4, pool, "random", None)
        counts = count_names(1000)
        print(sorted(counts.values()))
        assert len(counts) == 10 and min(counts.values()) >= 50


# --- a server that is down

def check_never_tried(lb4, server):
    """Nobody connected to a server that is down, not even to be sent on to another one."""
    lb4.finish()
    assert lb4.summary()["server", f"web/{server}"]["connect_failures"] == 0


@pytest.mark.parametrize("weights", [[6, 1, 2, 3], [1, 1, 1, 1]])
def test_roundrobin_keeps_the_ratio_of_the_survivors(start_lb4, weights):
    """What a dead server would get is shared by weight; its neighbour does not get it all."""
    with pools.make(4, holds=False) as pool:
        lb4 = start(start_lb4, pool, "roundrobin", by_weight(weights), CHECK)
        pool.close(0)
        lb4.wait_line("server web/s1 is DOWN")
        counts = count_names(600)
        print(dict(sorted(counts.items())))
        for i in (1, 2, 3):
            wanted = 600 * weights[i] / sum(weights[1:])
            assert abs(counts[i] - wanted) <= 0.15 * wanted
        check_never_tried(lb4, "s1")


def test_leastconn_and_random_leave_a_dead_server_alone(start_lb4):
    for policy in ("leastconn", "random"):
        with pools.make(3) as pool, contextlib.ExitStack() as stack:
            lb4 = start(start_lb4, pool, policy, by_weight([4, 1, 1]), CHECK)
            pool.close(0)
            lb4.wait_line("server web/s1 is DOWN")
            counts = hold_many(stack, 60)
            print(policy, dict(sorted(counts.items())))
            assert min(counts[1], counts[2]) >= 20
            stack.close()
            check_never_tried(lb4, "s1")


def test_backups_serve_only_while_no_primary_is_up(start_lb4):
    options = ["", "", "backup weight 1", "backup weight 2"]
    for policy in ("roundrobin", "leastconn", "source", "random"):
        with pools.make(4, holds=False) as pool:
            lb4 = start(start_lb4, pool, policy, options, CHECK)
            assert not set(count_names(40)) - {0, 1}
            pool.close(0)
            lb4.wait_line("server web/s1 is DOWN")
            assert set(count_names(40)) == {1}, policy
            pool.close(1)
            lb4.wait_line("server web/s2 is DOWN")
            counts = count_names(90)
            assert counts and not set(counts) - {2, 3}, policy
            if policy == "roundrobin":
                assert abs(counts[3] - 60) <= 6
            pool.open(0)
            lb4.wait_line("server web/s1 is UP")
            assert set(count_names(40)) == {0}, policy
            lb4.finish()
