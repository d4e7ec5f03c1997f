"""Tables on narrow terminals."""

import io

from rich.console import Console
from rich.text import Text

from blindspots.cli import screen, show

NBSP = "\u00a0"


def drawn(width: int) -> list[str]:
    made = show.table("Method", "Predicted, sd", "Gap, sd", "Left")
    made.add_row(*map(Text, ("conservative", "1.40", "0.811 (0.465 to 1.16)", f"100.0{NBSP}%")))
    console = Console(file=io.StringIO(), width=width)
    console.print(screen.fitting(console, made))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_narrow_table_breaks_its_cells_between_words() -> None:
    for width in range(41, 70):
        text = "\n".join(lines := drawn(width))
        assert all(len(line) <= width for line in lines)
        assert all(word in text for word in ("conservative", "Predicted,", "(0.465", f"100.0{NBSP}%")), width
        assert "…" not in text
        assert "Predicted, sd: 1.40" not in text


def test_a_table_that_would_break_words_is_stacked() -> None:
    assert "  Predicted, sd: 1.40" in drawn(40)


def test_a_wide_table_stays_as_it_is() -> None:
    assert len(drawn(80)) == 2
