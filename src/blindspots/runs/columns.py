"""Whether the columns of a part are those that a table describes."""

import re
from collections.abc import Mapping

from blindspots.errors import InputError
from blindspots.runs.experiment import Columns

_FORM = re.compile(r"\((.*?)\) (\w+)")  # of an entry of a table of columns: dimensions and type


def check_columns(columns: Columns, kinds: Mapping[str, str], where: str) -> Columns:
    """The columns, if they are those that a table such as {"y": "(n,) int64 label"} describes, of these types, and of
    sizes that agree.

    Raises InputError otherwise.
    """
    if columns.keys() != kinds.keys():
        raise InputError(f"expected the columns {', '.join(kinds)} in {where}, found {', '.join(columns) or 'none'}")
    sizes: dict[str, tuple[int, ...]] = {}
    for name, form in kinds.items():
        dims, dtype = _FORM.match(form).groups()  # type: ignore[union-attr]
        right_type = str(columns[name].dtype) == f"torch.{dtype}" or dtype == "input"
        if not right_type or not _agrees(tuple(columns[name].shape), dims, sizes):
            found = f"{columns[name].dtype} of shape {tuple(columns[name].shape)}"
            raise InputError(f"expected ({dims}) {dtype} for {name} in {where}, found {found}: run again")
    return columns


def _agrees(shape: tuple[int, ...], dims: str, sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a shape fits "n, ..." or "stages, 4", every name standing for one size."""
    names = [name.strip() for name in dims.split(",") if name.strip()]
    firm = [name for name in names if name != "..."]
    if len(shape) < len(firm) or (len(shape) > len(firm) and "..." not in names):
        return False
    parts: dict[str, tuple[int, ...]] = {name: (size,) for name, size in zip(firm, shape, strict=False)}
    if "..." in names:
        parts["..."] = shape[len(firm) :]
    return all((int(n),) == size if n.isdigit() else sizes.setdefault(n, size) == size for n, size in parts.items())
