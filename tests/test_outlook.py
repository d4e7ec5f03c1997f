"""What searches will cost: exact where all is known, bounded where it is not, near where the law is the assumed one."""

import numpy as np
import pytest

from blindspots.experiments.evaluate.outlook import Course, outlook

MOST = 200


def course(used: list[int], fell: list[bool], goes_on: list[bool]) -> Course:
    return Course(np.array(used), np.array(fell), np.array(goes_on))


def watched(ends: np.ndarray, now: int) -> Course:
    """Rows that fall after `ends` evaluations, or stand to the last, when each has had up to `now`."""
    over = ends <= now
    return Course(np.minimum(ends, now), over & (ends < MOST), ~over)


def test_what_is_over_is_known() -> None:
    found = outlook(course([3, 200, 0], [True, False, False], [False, False, False]), MOST)
    assert (found.expected, found.least, found.most, found.falls) == (203, 203, 203, 1)


def test_a_row_that_waits_costs_what_finished_ones_did() -> None:
    """Half of the rows fell after 10, half stood: one that has not begun, and one that is not seen, cost 105 each."""
    done = course([10, 10, 200, 200, 0], [True, True, False, False, False], [False, False, False, False, True])
    assert outlook(done, MOST).expected == pytest.approx(420 + 105)
    assert outlook(done, MOST, unseen=1).expected == pytest.approx(420 + 2 * 105, rel=0.01)
    assert outlook(done, MOST).falls == pytest.approx(2.5)


def test_a_row_that_outlived_all_that_fell_stands_to_the_last() -> None:
    done = course([10, 10, 200, 200, 50], [True, True, False, False, False], [False, False, False, False, True])
    assert outlook(done, MOST).expected == pytest.approx(420 + 200)


@pytest.mark.parametrize("seed", range(5))
def test_bounds_hold_at_every_moment_and_close(seed: int) -> None:
    ends = np.minimum((np.random.default_rng(seed).pareto(0.7, 40) * 5 + 1).astype(int), MOST)
    widths = []
    for now in range(0, MOST + 1, 10):
        found = outlook(watched(ends, now), MOST)
        assert found.least <= ends.sum() <= found.most
        assert found.least <= found.expected <= found.most + 1e-9
        widths.append(found.most - found.least)
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] == 0


def test_the_forecast_is_near_when_a_part_has_been_seen() -> None:
    """Rows that fall by a power of the number of evaluations: within 10 % on average once 50 of 200 were looked at."""
    errors = []
    for seed in range(30):
        ends = np.minimum(np.ceil(2 * np.random.default_rng(seed).pareto(1.0, 150) + 1).astype(int), MOST)
        errors.append(abs(outlook(watched(ends, 50), MOST).expected / ends.sum() - 1))
    assert np.mean(errors) < 0.1
