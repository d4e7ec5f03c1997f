"""The frame of every experiment: a run is a list of parts, and whoever has its folder can go on. Knows no kind."""
