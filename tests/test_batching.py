from itertools import product

import pytest
import torch

from blindspots.batching import Work, draws_per_call, is_large, rows_in_flight, rows_per_call, rows_per_shard

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
SMALL, PHOTOGRAPH = (1, 128, 128), (3, 224, 224)


@pytest.mark.parametrize(
    ("work", "device", "small", "large"),
    [
        ("search", CPU, 32, 8), ("cascade", CPU, 16, 8), ("universal", CPU, 16, 8),
        ("search", CUDA, 512, 512), ("cascade", CUDA, 512, 512), ("universal", CUDA, 128, 128),
    ],
)  # fmt: skip
def test_defaults_decide_bits_and_stay_as_they_are(work: Work, device: torch.device, small: int, large: int) -> None:
    assert (is_large(SMALL), is_large(PHOTOGRAPH)) == (False, True)
    assert rows_per_call(work, SMALL, device) == small
    assert rows_per_call(work, PHOTOGRAPH, device) == large
    assert rows_per_call(work, SMALL, device, 7) == 7


def test_rows_in_flight_fill_whole_calls_of_an_accelerator() -> None:
    assert [rows_in_flight(shape, CPU, 16) for shape in (SMALL, PHOTOGRAPH)] == [128, 64]
    assert rows_in_flight(PHOTOGRAPH, CUDA, 512) == 512
    assert rows_in_flight(SMALL, CPU, 16, 3) == 3


@pytest.mark.parametrize(
    ("shape", "rows"), [((64,), 1024), ((3, 32, 32), 1024), ((8192,), 1024), ((8193,), 512), (PHOTOGRAPH, 64)]
)
def test_a_shard_is_a_power_of_two_that_fits(shape: tuple[int, ...], rows: int) -> None:
    assert rows_per_shard(shape, 64) == rows
    assert all(rows_per_shard(shape, slots, asked) == 5 for slots, asked in product((1, 64), (5,)))
    assert rows_per_shard(shape, 2048) == 2048


def test_draws_per_call_are_part_of_a_block() -> None:
    assert [draws_per_call(block, CPU) for block in (1, 3, 1000)] == [1, 1, 250]
    assert draws_per_call(1000, CUDA) == 1000
