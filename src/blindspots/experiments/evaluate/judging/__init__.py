"""A person reads the texts of a finished evaluation, without knowing which of them were changed."""
