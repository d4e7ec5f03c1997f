"""Texts as plain strings and code points: what models, data and threats of texts have in common."""
