"""Attacks on rows of tables: every point that they propose is a possible row."""
