from dataclasses import FrozenInstanceError, dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from blindspots.rows import Rows, col, leaves, pick, tree


@dataclass(frozen=True)
class Inner(Rows):
    a: Tensor


@dataclass(frozen=True)
class Outer(Rows):
    x: Tensor
    inner: Inner
    absent: Tensor | None = None


def rows(count: int, start: int = 0) -> Outer:
    ids = torch.arange(start, start + count)
    return Outer(ids[:, None].expand(-1, 2).clone().float(), Inner(ids.clone()))


def same(one: Outer, other: Outer) -> bool:
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(leaves(one), leaves(other), strict=True))


@given(at=st.lists(st.integers(0, 6), max_size=9))
def test_an_index_picks_the_rows_of_every_tensor(at):
    picked = rows(7)[torch.tensor(at, dtype=torch.long)]
    assert picked.inner.a.tolist() == at
    assert picked.x[:, 0].tolist() == at
    assert picked.absent is None


def test_a_slice_picks_too_and_keeps_the_type():
    assert same(rows(7)[2:5], rows(3, start=2))
    assert isinstance(rows(7)[2:5].inner, Inner)


@given(at=st.sets(st.integers(0, 6)))
def test_put_replaces_the_named_rows_and_no_other(at):
    old, new, places = rows(7), rows(len(at), start=100), torch.tensor(sorted(at), dtype=torch.long)
    put = old.put(places, new)
    assert same(old, rows(7))
    assert same(put[places], new)
    others = torch.tensor(sorted(set(range(7)) - at), dtype=torch.long)
    assert same(put[others], old[others])


def test_put_in_place_gives_what_put_gives():
    struct, at = rows(7), torch.tensor([4, 1])
    wanted, memory = struct.put(at, rows(2, start=50)), struct.x.data_ptr()
    struct.put_(at, rows(2, start=50))
    assert same(struct, wanted)
    assert struct.x.data_ptr() == memory


def test_a_struct_cannot_be_reassigned():
    with pytest.raises(FrozenInstanceError):
        rows(2).x = torch.zeros(2)


def test_leaves_have_dotted_names_in_field_order_and_leave_none_out():
    assert [name for name, _ in leaves(rows(1))] == ["x", "inner.a"]


def test_tree_applies_a_function_to_like_places_of_several_structs():
    assert tree(torch.add, rows(3), rows(3, start=10)).inner.a.tolist() == [10, 12, 14]
    assert tree(torch.neg, torch.ones(1)).item() == -1


def test_a_struct_moves_with_all_its_tensors():
    assert {t.device.type for _, t in leaves(rows(1).to(torch.device("meta")))} == {"meta"}


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 3, 3, 3)])
def test_a_column_meets_the_rows_even_where_all_sizes_agree(shape):
    product = torch.ones(shape) * col(torch.tensor([1.0, 2.0, 3.0]), torch.ones(shape))
    assert product.reshape(3, -1)[:, 0].tolist() == product.reshape(3, -1)[:, -1].tolist() == [1, 2, 3]


def test_pick_chooses_by_row():
    chosen = pick(torch.tensor([True, False]), torch.ones(2, 2), torch.zeros(2, 2))
    assert chosen.tolist() == [[1, 1], [0, 0]]
