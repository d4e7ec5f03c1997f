import torch

from blindspots.data.splits import cut, share_of, shuffled


def test_an_order_is_decided_by_seed_and_number() -> None:
    assert shuffled(8, 0, -1).tolist() == shuffled(8, 0, -1).tolist()
    assert sorted(shuffled(8, 0, -1).tolist()) == list(range(8))
    assert len({tuple(shuffled(8, seed, number).tolist()) for seed in (0, 1) for number in (-1, 0)}) == 4


def test_an_order_is_cut_into_ascending_parts_without_overlap() -> None:
    first, rest = cut(torch.tensor([4, 0, 3, 1, 2]), 2)
    assert (first.tolist(), rest.tolist()) == ([0, 4], [1, 2, 3])


def test_a_share_is_at_least_one_row_and_at_most_what_is_allowed() -> None:
    assert [share_of(rows, 0.1, 50) for rows in (1, 100, 10_000)] == [1, 10, 50]
