"""From a name such as oip:http://host/v2/models/NAME to the model that it stands for."""

from collections.abc import Callable
from pathlib import Path

from blindspots.models.endpoints.endpoint import Endpoint
from blindspots.models.endpoints.oip import OpenInference
from blindspots.models.endpoints.protocol import About, HuggingFace, KServe1, MLflow, Protocol
from blindspots.models.endpoints.secrets import (
    TOKEN,
    bare,
    checked_headers,
    checked_url,
    filled,
    filled_url,
    in_json,
    secrets_in,
    variable,
)
from blindspots.models.endpoints.spending import Terms
from blindspots.models.endpoints.template import read_template, text_of
from blindspots.models.endpoints.transport import Address, Pace
from blindspots.models.model import Model

_SCHEMES = {"Bearer", "Basic", "Token", "Key", "application/json"}  # words of headers that are no secrets


def open_oip(url: str) -> Model:
    """oip:URL, a model of the Open Inference Protocol."""
    return _opened(OpenInference(checked_url(url, "oip")))


def open_mlflow(url: str) -> Model:
    """mlflow:URL, an MLflow scoring server."""
    return _opened(MLflow(checked_url(url, "mlflow")))


def open_kserve1(url: str) -> Model:
    """kserve1:URL, a model of KServe's first protocol or of TensorFlow Serving."""
    return _opened(KServe1(checked_url(url, "kserve1")))


def open_hf(url: str) -> Model:
    """hf:URL, an image classifier of Hugging Face."""
    return _opened(HuggingFace(checked_url(url, "hf")))


def _opened(protocol: Protocol) -> Model:
    token = variable(TOKEN)
    headers = checked_headers({"Authorization": f"Bearer {token}"}) if token else {}
    secrets = frozenset([token] if token else [])
    return Endpoint(protocol, Address(protocol.url, bare(protocol.url), headers, secrets))


def open_template(path: str) -> Model:
    """template:FILE.toml, see `Template`."""
    said = read_template(Path(path))
    url, secrets = filled_url(said.url, f"url in {path!r}")

    def fill(text: str, where: str, form: Callable[[str], str] = str) -> str:
        text, found = filled(text, f"{where} in {path!r}", form)
        secrets.update(found)
        return text

    url = url.rstrip("/")
    body = None if said.body is None else fill(said.body, "body", in_json)
    headers = checked_headers({name: fill(value, f"header {name}") for name, value in said.headers.items()})
    protocol = said.protocol_at(url, body)
    shown = bare(said.protocol_at(said.url, said.body).url)
    words = {word for value in headers.values() for word in (value, *value.split())}
    secrets |= words - _SCHEMES | secrets_in(url)
    address = Address(protocol.url, shown, headers, frozenset(secrets), frozenset(said.refuses))
    pace = Pace(said.batch, said.concurrency, said.rate, said.timeout, said.retries, said.wait)
    about = About(said.answers or ("labels" if said.labels else None), said.classes, said.class_names)
    return Endpoint(
        protocol, address, pace, Terms(said.price, said.free), about, said.bounds, text_of(said),
        name=said.name or Path(path).stem,
    )  # fmt: skip
