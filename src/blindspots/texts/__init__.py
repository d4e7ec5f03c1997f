"""Texts as rows: their characters, what may stand in them instead, and threats of these."""
