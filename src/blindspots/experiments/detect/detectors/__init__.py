"""Detectors, one kind per file: how suspicious an input is. `catalogue` names them, `file` keeps what they learnt."""
