"""A model served over HTTP, in the protocols that blindspots itself can ask: to try everything without a service."""

from blindspots.serving.server import Served, Server

__all__ = ["Served", "Server"]
