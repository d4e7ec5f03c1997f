"""One trigger for all texts: the words whose presence fools a model on most of them."""
