"""Networks for texts as files: weights in safetensors, and beside them JSON with the network's name and its words."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from blindspots.errors import InputError
from blindspots.files import MOST_TEXT, check_regular, read_bytes
from blindspots.models.reviews import NETWORKS
from blindspots.models.texts import TextModel, TokenModel
from blindspots.texts.tokens import WordTokenizer

DESCRIPTION, WEIGHTS_FILE = "model.json", "model.safetensors"
_MOST_WEIGHTS = 1 << 34  # bytes


class _Description(BaseModel):
    model_config = ConfigDict(extra="forbid")

    network: str  # of NETWORKS
    name: str
    class_names: list[str] | None
    vocabulary: list[str]


def described(model: TextModel) -> bytes:
    """What, besides its weights, makes the model; nothing where its network is none of `NETWORKS`."""
    kinds: dict[object, str] = {kind: name for name, kind in NETWORKS.items()}
    if not (isinstance(model, TokenModel) and type(model.net) in kinds and isinstance(model.tokenizer, WordTokenizer)):
        return b""
    return (
        _Description(
            network=kinds[type(model.net)],
            name=model.name,
            class_names=model.class_names,
            vocabulary=list(model.tokenizer.vocabulary),
        )
        .model_dump_json()
        .encode()
    )


def built(description: bytes, weights: Mapping[str, Tensor], where: str) -> TokenModel:
    """The model of a description with these weights; `where` is what sentences call it.

    Raises InputError: the description is none, or the weights are those of another network.
    """
    try:
        said = _Description.model_validate_json(description)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its beginning"
        raise InputError(
            f"expected the description of a network for texts in {where!r}, but {place} is wrong ({first['msg']}): "
            "export the model again"
        ) from error
    if said.network not in NETWORKS:
        raise InputError(f"expected a network among {', '.join(NETWORKS)} in {where!r}, got {said.network!r}")
    tokenizer = WordTokenizer(said.vocabulary)
    net = NETWORKS[said.network](tokenizer.size)
    if "out.weight" in weights:  # says how many classes there are
        net.out = nn.Linear(net.out.in_features, len(weights["out.weight"]))
    try:
        net.load_state_dict(dict(weights))
    except RuntimeError as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(f"expected the weights of {said.network} beside {where!r}, got others ({told})") from error
    return TokenModel(net.eval(), net.table, net.head, tokenizer, said.name, class_names=said.class_names)


def load_text_model(path: Path, spec: str) -> TokenModel:
    """The model of a description in a file, with the weights of model.safetensors beside it.

    Raises InputError: one of the files is missing or is something else.
    """
    check_regular(path, "the description of a model", MOST_TEXT)
    beside = path.with_name(WEIGHTS_FILE)
    if not beside.is_file():
        raise InputError(f"expected {WEIGHTS_FILE} beside {str(path)!r}, found none: keep both in one folder")
    try:
        weights = load(read_bytes(beside, "weights", _MOST_WEIGHTS))
    except SafetensorError as error:
        raise InputError(f"expected weights in {str(beside)!r}, but it is damaged ({error}): export again") from error
    model = built(path.read_bytes(), weights, str(path))
    model.spec = spec
    return model
