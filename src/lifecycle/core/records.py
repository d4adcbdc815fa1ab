"""Records that pass between modules or into files: frozen, typed, and the same bytes for the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, PlainSerializer, ValidationError

from lifecycle.core.errors import ProjectError
from lifecycle.core.files import read_json, write_json

Record = dict[str, Any]  # plain JSON values where no class describes them
Moment = Annotated[AwareDatetime, PlainSerializer(lambda moment: moment.isoformat(), return_type=str)]


class Frozen(BaseModel):
    """A frozen record with typed fields; fields it does not know are refused.

    A whole number stays one in a field `int | float`, so that a record that is read and written again has the same bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values, in the order in which its fields are declared."""
        return self.model_dump(mode="json")

    def write(self, path: Path) -> None:
        """Write the record as JSON; the file appears as a whole or not at all."""
        write_json(self.to_json(), path)

    @classmethod
    def parse(cls, value: Any, source: Path | str) -> Self:
        """Build the record from JSON values; raise ProjectError naming `source` and the first field that is wrong."""
        try:
            return cls.model_validate(value, strict=False)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the top level"
            raise ProjectError(f"{source}: {field}: {first['msg']} (it is {first['input']!r:.80}).") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the record from a JSON file; raise ProjectError naming the file and the field that is wrong."""
        return cls.parse(read_json(path), path)
