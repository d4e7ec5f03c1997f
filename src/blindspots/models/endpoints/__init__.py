"""Models behind addresses: asked over HTTP, within a budget, every answer kept before it is used."""

from blindspots.models.endpoints.endpoint import Endpoint
from blindspots.models.endpoints.spending import Terms

__all__ = ["Endpoint", "Terms"]
