"""What blindspots writes about a model into the file that holds it."""

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from blindspots.errors import InputError

ABOUT = "blindspots.json"  # the extra file in an archive, or the key of metadata


class About(BaseModel):
    """What a file says about its model besides the network."""

    model_config = ConfigDict(extra="forbid")

    name: str
    bounds: tuple[float, float]
    class_names: list[str] | None = None

    @classmethod
    def read(cls, said: str | bytes, name: str) -> Self:
        """From JSON; `name` is what sentences call the file. Raises InputError: it is none of ours."""
        try:
            return cls.model_validate_json(said)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "its beginning"
            raise InputError(
                f"expected name and bounds in {ABOUT} of {name!r}, but {where} is wrong ({first['msg']}): export the "
                "model again"
            ) from error
