"""Published experiments made again, ours beside the published figures."""
