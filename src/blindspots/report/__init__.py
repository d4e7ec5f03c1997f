"""The page of a run: one self-contained HTML file, made from its folder alone. Knows no kind."""
