"""Statistics of rounds: medians, the noise about them, and what is a tie. No I/O.

Contestants are compared round by round: whatever slowed the machine in one round slowed both. The
noise of a median is the interval between two order statistics that holds the true median with a
chance of at least COVERAGE (a sign test; it assumes nothing of the distribution). With fewer than
four rounds no interval has that: then it is the whole of them.
"""

import math
import statistics

COVERAGE = 0.85

HELD, TIE, MISSED = "held", "tie", "missed"


def interval(values):
    """(low, high): the narrowest interval of order statistics with COVERAGE."""
    ordered, n = sorted(values), len(values)
    outside = 0.0
    low = 0
    for k in range(n // 2):
        outside += 2 * math.comb(n, k) / 2 ** n
        if 1 - outside < COVERAGE:
            break
        low = k
    return ordered[low], ordered[n - 1 - low]


def values_of(rounds, name):
    """Of all rounds, or None if one has no such figure."""
    values = [figures.get(name) for figures in rounds]
    return None if not values or None in values else values


def median_of(rounds, name):
    values = values_of(rounds, name)
    return None if values is None else statistics.median(values)


def ratios(mine, theirs):
    """Round by round; None where there is nothing to divide by."""
    if mine is None or theirs is None or not all(theirs):
        return None
    return [a / b for a, b in zip(mine, theirs)]


def is_tie(values):
    """Ratios: is 1 within their noise?"""
    low, high = interval(values)
    return low <= 1 <= high


def judge(values, relation, limit):
    """HELD if the median keeps the limit; TIE if it does not, but the noise reaches it."""
    low, high = interval(values)
    middle = statistics.median(values)
    if relation == "<=":
        return HELD if middle <= limit else TIE if low <= limit else MISSED
    return HELD if middle >= limit else TIE if high >= limit else MISSED
