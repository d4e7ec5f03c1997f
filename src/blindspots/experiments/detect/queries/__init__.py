"""Whom a guard that remembers queries refuses: users, attacks, and attacks that know it."""
