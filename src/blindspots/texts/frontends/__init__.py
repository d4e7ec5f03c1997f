"""Changes of a text before a model: tricks and slips are undone, words with one meaning become one."""
