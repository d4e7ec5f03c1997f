"""Dominant labels: the graph of where fooled inputs go, on graphs that are known."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from blindspots.errors import InputError
from blindspots.experiments.universal.labels import dominant_labels
from blindspots.experiments.universal.verdict import DominantLabels


def _of(pairs: list[tuple[int, int]], classes: int) -> DominantLabels:
    clean, moved = (torch.tensor([p[side] for p in pairs], dtype=torch.int64) for side in (0, 1))
    return dominant_labels(clean, moved, classes)


def test_two_stars_are_two_components_and_their_centres_dominate() -> None:
    first = [(i, 0) for i in (1, 2, 3, 4)]
    second = [(i, 5) for i in (6, 7)]
    found = _of([*first, *second, *first], 9)
    assert [(e.source, e.to) for e in found.edges] == [(1, 0), (2, 0), (3, 0), (4, 0), (6, 5), (7, 5)]
    assert found.components == [[0, 1, 2, 3, 4], [5, 6, 7]]  # class 8 was never fooled and fools nobody
    assert found.dominant == [(0, 8), (5, 2)]
    assert found.top_share == {"1": 0.8, "5": 1.0, "10": 1.0}


def test_a_chain_that_ends_in_a_cycle_is_one_component() -> None:
    found = _of([(4, 3), (3, 2), (2, 1), (1, 2)], 5)
    assert found.components == [[1, 2, 3, 4]]
    assert [(e.source, e.to) for e in found.edges] == [(1, 2), (2, 1), (3, 2), (4, 3)]


def test_an_edge_goes_to_the_commonest_class_and_counts_the_rest() -> None:
    found = _of([(0, 2), (0, 3), (0, 3), (0, 0), (0, 0), (0, 0)], 4)
    (edge,) = found.edges
    assert (edge.source, edge.to, edge.rows, edge.most) == (0, 3, 3, 2)


@pytest.mark.parametrize("order", [[(0, 3), (0, 1)], [(0, 1), (0, 3)]])
def test_a_tie_goes_to_the_lower_class(order: list[tuple[int, int]]) -> None:
    found = _of(order, 4)
    assert [(e.to, e.most) for e in found.edges] == [(1, 1)]
    assert found.dominant == [(1, 1), (3, 1)]


def test_where_nobody_is_fooled_there_is_no_graph() -> None:
    found = _of([(0, 0), (1, 1)], 2)
    assert (found.edges, found.components, found.dominant) == ([], [], [])
    assert found.top_share == {"1": 0.0, "5": 0.0, "10": 0.0}


def test_an_answer_that_is_no_number_is_left_out() -> None:
    assert _of([(0, -1), (-1, 0), (1, 0)], 2).dominant == [(0, 1)]


def test_at_most_twenty_dominant_labels_are_named_and_the_shares_go_over_all_fooled_rows() -> None:
    found = _of([(0, k) for k in range(1, 41)], 41)
    assert found.dominant == [(k, 1) for k in range(1, 21)]
    assert found.top_share == {"1": 1 / 40, "5": 5 / 40, "10": 10 / 40}


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40))
def test_components_are_those_of_the_edges(pairs: list[tuple[int, int]]) -> None:
    """Against a union of sets, one edge after the other."""
    found = _of(pairs, 7)
    groups: list[set[int]] = []
    for e in found.edges:
        touched = [g for g in groups if g & {e.source, e.to}]
        groups = [g for g in groups if g not in touched] + [{e.source, e.to}.union(*touched)]
    assert sorted(map(sorted, groups)) == sorted(found.components)
    assert [len(c) for c in found.components] == sorted(map(len, found.components), reverse=True)
    for e in found.edges:
        went = [b for a, b in pairs if a == e.source != b]
        assert (e.rows, e.most) == (len(went), went.count(e.to))
        assert all(went.count(k) < e.most or (went.count(k) == e.most and k >= e.to) for k in went)


def test_predictions_of_other_rows_or_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match=r"same inputs, got \(2,\) and \(3,\)"):
        dominant_labels(torch.zeros(2).long(), torch.zeros(3).long(), 2)
    with pytest.raises(InputError, match="below 2, got 2"):
        dominant_labels(torch.tensor([0, 1]), torch.tensor([2, 1]), 2)
