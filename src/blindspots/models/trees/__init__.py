"""Ensembles of decision trees, read from the files of their libraries without these libraries."""
