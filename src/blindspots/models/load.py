"""Models by name: embedded ones, exported files, and factories in Python files or packages.

Weights that are pickled objects are refused, since unpickling runs whatever the file contains. But a factory runs its
own code too, torch.export trusts the graph in its file, and scikit-learn's trees trust the numbers in theirs: load
only what you would run.
"""

import copy
import hashlib
import importlib
import importlib.util
import os
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from blindspots.arguments import checked
from blindspots.errors import InputError
from blindspots.files import MOST_TEXT, check_regular, names_beside, read_bytes
from blindspots.models import digits, reviews
from blindspots.models.about import ABOUT, About
from blindspots.models.batched import Batched
from blindspots.models.digits import Say
from blindspots.models.estimators import from_estimator, is_estimator
from blindspots.models.foreign import contained, own_randomness, own_state
from blindspots.models.model import Model
from blindspots.models.schemes import opener
from blindspots.models.text_files import load_text_model
from blindspots.models.transformations import parse_chain, transformed
from blindspots.models.trees.files import MOST, READERS, SNIFFED, sniffed
from blindspots.models.trees.model import TreeModel
from blindspots.naming import meant

WEIGHTS = (".pt2", ".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle", ".safetensors")
FORMS = (
    "'digits', 'digits-robust', 'reviews', 'reviews-lstm', 'reviews-cnn', 'reviews-transformer', file.pt2, file.pt "
    "(TorchScript), file.onnx, file.skops, model.json or model.ubj of XGBoost, model.txt of LightGBM, "
    "model.json of CatBoost, hf:folder, timm:folder, file.py:factory, package.module:factory, guarded:RUN, "
    "guarded-queries:MODEL or an endpoint: oip:URL, mlflow:URL, kserve1:URL, hf:URL or template:FILE.toml"
)
EMBEDDED: dict[str, Callable[[str, Say | None], Model]] = {
    **dict.fromkeys(digits.RECIPES, digits.load_digits_model),
    **dict.fromkeys(reviews.RECIPES, reviews.load_reviews_model),
}
_LONGEST = 1 << 20  # bytes of that file
SAFE_PARTS = {  # beyond the types that skops trusts: they hold numbers and call nothing by name
    "numpy.dtype",
    "scipy.sparse._csr.csr_matrix",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
}


@own_state()
@checked()
def load_model(spec: str, say: Say | None = None) -> Model:
    """Load a model by name.

    Args:
        spec: "digits" or "digits-robust", or, for texts, "reviews", "reviews-lstm", "reviews-cnn" or
            "reviews-transformer" (trained here the first time); "file.pt2" of `torch.export.save`, with the
            name, bounds and classes that `blindspots harden` stores in it, else inputs in [0, 1]; "file.pt" of
            `torch.jit.save`; "file.onnx" (see `from_onnx`); "file.skops" of `skops.io.dump`, a fitted scikit-learn
            estimator, also of texts (needs skops; "sklearn:file" whatever its name); "model.json" or "model.ubj" of
            XGBoost, "model.txt" of LightGBM, "model.json" of CatBoost and "model.onnx" with trees (needs onnx), also
            as "xgboost:file", "lightgbm:file", "catboost:file" and "onnx:file" (see `TreeModel`); "model.json" that
            `blindspots harden` writes for texts, with its weights beside it; "hf:folder" of `save_pretrained`, a
            sequence classifier of transformers with its fast tokenizer, or an image classifier with its image
            processor; "timm:folder" of `timm.models.save_for_hf`, an image classifier of timm; "file.py:factory" or
            "package.module:factory", a function without arguments that returns an `nn.Module`, a `Model` or a fitted
            scikit-learn classifier (see `from_estimator`), or one of these itself. With a suffix such as
            "|bits:depth=3", or "|unicode" for texts, inputs pass through that transformation first (see `Transformed`);
            with "@1" or "@logits", the scores are that output of the network (see `take` of `Model`). Or "guarded:RUN",
            without a suffix: the model of a finished detection run with its detector, which may reject
            (`load_detector`); "guarded-queries:MODEL", a model behind a guard of queries. Or, also
            without a suffix, a model behind an address: "oip:URL", "mlflow:URL", "kserve1:URL", "hf:URL" or
            "template:FILE.toml" (see docs/endpoints.md).
        say: called with sentences about slow steps.

    Raises:
        InputError: there is no such model, or it cannot be loaded.
    """
    scheme, colon, rest = spec.partition(":")
    if colon and (open_it := opener(scheme, rest)) is not None:
        return _of_scheme(open_it, rest, spec)
    inner, bar, chain = spec.rpartition("|")
    if bar:
        changes = parse_chain(chain)  # mistakes are reported before anything is loaded
        return transformed(load_model(inner, say), changes)
    inner, at, key = spec.rpartition("@")
    if at and inner and not Path(spec).exists():
        return _taking(load_model(inner, say), key, spec)
    if spec in EMBEDDED:
        return EMBEDDED[spec](spec, say)
    return _trees(scheme, rest, spec) or _stored(spec) or _made_by(spec)


def _stored(spec: str) -> Model | None:
    """What lies in a file or folder, by the beginning or the ending of its name; None: it is neither of these."""
    for prefix, open_place in _PREFIXED.items():
        if spec.startswith(prefix):
            return open_place(spec.removeprefix(prefix), spec)
    for endings, read in _FILES.items():
        if Path(spec).name.lower().endswith(endings):
            return read(_there(Path(spec)), spec)
    return None


def _made_by(spec: str) -> Model:
    """What a factory makes."""
    place, _, factory = spec.rpartition(":")
    if not place or not factory:
        raise InputError(f"expected a model ({FORMS}), got {spec!r}{meant(spec, EMBEDDED)}: name one of these")
    return _model_of(from_factory(spec), factory, spec)


def _of_scheme(open_it: Callable[[str], Model], words: str, spec: str) -> Model:
    with _explained(f"opening {spec!r}"):
        model = open_it(words)
    model.spec = spec
    return model


def _taking(model: Model, key: str, spec: str) -> Model:
    model = copy.copy(model)  # a factory may return the same model again
    model.take, model.spec = int(key) if key.lstrip("-").isdecimal() else key, spec
    return model


def _there(path: Path) -> Path:
    if not path.is_file():
        close = meant(path.name, names_beside(path, path.suffix.lower() or "/"))
        raise InputError(f"expected a model file, got {str(path)!r}, which does not exist{close}: check the path")
    return path


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns whatever users' code raises into a sentence; Ctrl-C passes."""
    try:
        with contained(), own_randomness(torch.device("cpu")):
            yield
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise InputError(f"{what} raised {type(error).__name__}: {said or 'no message'}") from error


# ------------------------------------------------------------------ files of weights


def _from_weights(path: Path, spec: str) -> Model:
    kind = _kind(path)
    if kind is None:
        raise InputError(
            f"expected TorchScript or a torch.export archive, got {spec!r}, which may be pickled and is not unpickled: "
            "use a file.py:factory that builds the network and loads the weights with weights_only=True"
        )
    about = _about(path, str(path))
    with _explained(f"loading {spec!r}"):
        return Model(kind(path), bounds=about.bounds, name=about.name, spec=spec, class_names=about.class_names)


def load_program(content: bytes, name: str) -> Model:
    """The model in the bytes of an archive of `torch.export.save`; `name` is what sentences call it.

    Raises InputError: it is no such archive.
    """
    with _explained(f"loading {name!r}"):
        about = _about(BytesIO(content), name)
        return Model(_exported(BytesIO(content), name), about.bounds, name=about.name, class_names=about.class_names)


def _about(archived: Path | BytesIO, name: str) -> About:
    """From the extra file that blindspots writes; without it, the file's name, and inputs in [0, 1]."""
    with zipfile.ZipFile(archived) as archive:
        found = [info for info in archive.infolist() if info.filename.endswith(f"extra/{ABOUT}")]
        if not found:
            return About(name=Path(name).stem, bounds=(0.0, 1.0))
        with archive.open(found[0]) as file:
            said = file.read(_LONGEST)
    return About.read(said, name)


def _kind(path: Path) -> Callable[[Path], nn.Module] | None:
    """The loader that fits the content of the file, whatever its name."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        inside = [name.partition("/")[2] for name in archive.namelist()]
        inside += archive.namelist()  # archives of older versions have no enclosing folder
    if any("aotinductor" in name for name in inside):  # machine code
        return None
    if any(name.startswith("models/") or name == "serialized_exported_program.json" for name in inside):
        return lambda path: _exported(path, str(path))
    return _scripted if "constants.pkl" in inside else None


def _scripted(path: Path) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a matter for the writer of the file, not its reader
        net: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return net


def _exported(archived: Path | BytesIO, name: str) -> nn.Module:
    with _never_unpickling():
        program = torch.export.load(archived)
    inputs = _user_inputs(program)
    if len(inputs) != 1 or not inputs[0].ndim:
        raise InputError(
            f"expected a network of one batch x in {name!r}, got {len(inputs)} inputs: export one with one"
        )
    return _batched(program.module(), inputs[0].shape[0], program.range_constraints)


@contextmanager
def _never_unpickling() -> Iterator[None]:
    """torch.export falls back to unpickling weights; torch's own switch forbids it."""
    switch, before = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ[switch] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[switch]
        else:
            os.environ[switch] = before


def _user_inputs(program: torch.export.ExportedProgram) -> list[Tensor]:
    names = program.graph_signature.user_inputs
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    return [value for value in values if isinstance(value, Tensor)]


def _batched(net: nn.Module, batch: Any, ranges: Any) -> nn.Module:
    """`net` as it is if it takes any batch size, else in an adapter that feeds it batches of a size it takes."""
    if isinstance(batch, int):
        return Batched(net, batch, batch)
    allowed = ranges.get(batch.node.expr)
    if allowed is None:
        return net
    most = int(allowed.upper) if allowed.upper.is_Integer else None  # else infinite
    return net if allowed.lower <= 1 and most is None else Batched(net, int(allowed.lower), most)


def _from_onnx(path: Path, spec: str) -> Model:
    from blindspots.models.onnx import from_onnx  # a heavy library, which others need not have

    with _explained(f"loading {spec!r}"):
        return from_onnx(path, spec=spec)


def _from_transformers(folder: str, spec: str) -> Model:
    from blindspots.models import huggingface, huggingface_images  # a heavy library, which others need not have

    load = huggingface_images.load_folder if huggingface_images.classifies_pictures(folder) else huggingface.load_folder
    with _explained(f"loading {spec!r}"):
        return load(folder, spec)


def _from_timm(folder: str, spec: str) -> Model:
    from blindspots.models.timm_images import load_folder  # a heavy library, which others need not have

    with _explained(f"loading {spec!r}"):
        return load_folder(folder, spec)


# ------------------------------------------------------------------ files that say what a model is


def _trees(scheme: str, rest: str, spec: str) -> Model | None:
    """The model of a file of trees; None: it holds none."""
    path = Path(rest if scheme in READERS else spec)
    reader = READERS.get(scheme) or (sniffed(_there(path)) if spec.lower().endswith(SNIFFED) else None)
    if reader is None:
        return None
    found = reader(read_bytes(_there(path), "trees", MOST))
    return TreeModel(found.forest, name=path.stem, spec=spec, class_names=found.class_names)


_FILES: dict[str | tuple[str, ...], Callable[[Path, str], Model]] = {
    ".json": load_text_model,
    ".onnx": _from_onnx,
    ".skops": lambda path, spec: _from_skops(str(path), spec),
    WEIGHTS: _from_weights,
}


# ------------------------------------------------------------------ files of estimators


def _from_skops(place: str, spec: str) -> Model:
    path = Path(place)
    try:
        from skops import io
    except ImportError as error:
        raise InputError(
            f"expected skops to be installed, to read {spec!r}: pip install skops, or use a file.py:factory"
        ) from error
    if not zipfile.is_zipfile(_there(path)):
        raise InputError(
            f"expected a file of skops.io.dump, got {spec!r}, which may be pickled and is not unpickled: save the "
            "estimator with skops, or use a file.py:factory that returns it"
        )
    with _explained(f"loading {spec!r}"):
        unknown = sorted(set(io.get_untrusted_types(file=path)) - SAFE_PARTS)
        if unknown:
            raise InputError(
                f"expected scikit-learn's own types in {spec!r}, got {', '.join(unknown)}: if you trust them, use a "
                "file.py:factory that loads it"
            )
        return from_estimator(io.load(path, trusted=sorted(SAFE_PARTS)), name=path.stem, spec=spec)


_PREFIXED: dict[str, Callable[[str, str], Model]] = {
    "hf:": _from_transformers,
    "sklearn:": _from_skops,
    "timm:": _from_timm,
}

# ------------------------------------------------------------------ factories


def from_factory(spec: str) -> Any:
    """What "file.py:factory" or "package.module:factory" returns, or the network that stands there itself.

    Raises InputError: there is no such function, or it fails.
    """
    place, _, name = spec.rpartition(":")
    is_file = place.endswith(".py")
    with _importable(Path(os.path.realpath(place)).parent if is_file else Path.cwd()):
        module = _import_file(_there(Path(place))) if is_file else _import_module(place)
        return _made(module, name, spec)


def _model_of(made: Any, name: str, spec: str) -> Model:
    if isinstance(made, Model):
        made.spec = spec
        return made
    if is_estimator(made):
        return from_estimator(made, name=name, spec=spec)
    if not isinstance(made, nn.Module):
        got = type(made).__name__
        raise InputError(f"expected {spec!r} to return an nn.Module or a Model, got {got}: return the network")
    return Model(made, name=name, spec=spec)


def _made(module: ModuleType, name: str, spec: str) -> Any:
    found = getattr(module, name, None)
    if isinstance(found, nn.Module | Model) or is_estimator(found):
        return found
    if not callable(found):
        public = [k for k, v in vars(module).items() if callable(v) and not k.startswith("_")]
        what = "no such name" if found is None else type(found).__name__
        raise InputError(f"expected a function {name!r} in {spec!r}, got {what}{meant(name, public)}: define it there")
    with _explained(f"{spec!r}, called without arguments,"):
        return found()


def _import_file(path: Path) -> ModuleType:
    """Run the file under a unique module name, so that files of the same name in two folders never clash."""
    name = f"blindspots_file_{hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]}"
    plan = importlib.util.spec_from_file_location(name, path)
    if plan is None or plan.loader is None:
        raise InputError(f"expected a Python file, got {str(path)!r}: its name has to end in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(plan)  # dataclasses look up their module there
    check_regular(path, "a Python file", MOST_TEXT)
    with _explained(f"importing {str(path)!r}"):
        plan.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    with _explained(f"importing {name!r}"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"expected a package.module:factory, got {name!r}, which is not installed: check its name")
        return importlib.import_module(name)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Modules next to the file, or in the working folder, can be imported, as with `python file.py`."""
    before = sys.path[:]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
