"""To serve a model from the command line."""

import os
import secrets
from dataclasses import dataclass
from ipaddress import ip_address

import typer

from blindspots.data import load_data
from blindspots.errors import InputError
from blindspots.models.binding import bound
from blindspots.models.endpoints.secrets import TOKEN
from blindspots.models.load import load_model
from blindspots.models.texts import TextModel
from blindspots.serving import Served, Server


@dataclass(frozen=True)
class Serving:
    """What is served, and where."""

    model: str
    data: str
    host: str
    port: int


def serve(asked: Serving) -> None:
    """Until Ctrl-C."""
    model = load_model(asked.model, lambda text: typer.echo(text, err=True))
    if isinstance(model, TextModel):
        raise InputError(f"expected a model of numbers, got {asked.model}, which takes texts: serve another one")
    token = os.environ.get(TOKEN) or secrets.token_urlsafe(16)
    served = Served(model, bound(model, load_data(asked.data)), _name(model.name), token)
    try:
        server = Server(served, asked.host, asked.port)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"expected to listen at {asked.host}:{asked.port}, got this: {error}: choose another --port or --host"
        ) from error
    with server:
        _tell(server, asked, made="" if os.environ.get(TOKEN) else token)
        server.serve_forever()


def _name(name: str) -> str:
    """In an address."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name) or "model"


def _tell(server: Server, asked: Serving, made: str) -> None:
    """How to ask it. A token that came from the environment is not shown."""
    if not _is_loopback(asked.host):
        typer.echo(f"Others in your network can reach {server.url}: whoever has the token may ask.", err=True)
    if made:
        typer.echo(f"export {TOKEN}={made}")
    for path in server.served.paths.values():
        typer.echo(f"blindspots evaluate {path.format(url=server.url)} --data {asked.data} --threat linf:8/255")
    typer.echo("Ctrl-C ends it.", err=True)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
