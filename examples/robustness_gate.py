"""Let the test suite fail when a model becomes less robust.

Copy the test into your own suite and load your model in the fixture. The test goes by the lower end of the interval, so
it passes only if the rows are evidence enough; running this file runs the test.
"""

import sys

import pytest

import blindspots as bs


@pytest.fixture(scope="module")
def model() -> bs.Model:
    return bs.load_model("digits")


def test_at_least_half_of_the_inputs_withstand_small_changes(model: bs.Model) -> None:
    x, y = bs.load_data("digits").rows(0, 50)
    result = bs.evaluate(model, x, y, threat=bs.Linf(0.03))
    assert not bs.require(result.verdict, "robust_accuracy.low>=0.5")


def main() -> None:
    sys.exit(pytest.main([__file__, "-q"]))


if __name__ == "__main__":
    main()
