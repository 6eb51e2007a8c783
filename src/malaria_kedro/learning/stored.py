"""The base of what is stored as JSON and read by later versions of the project."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, JsonValue


class StoredModel(BaseModel):
    """A frozen model that keeps what it does not know, and writes only what was set.

    A key of another version stays, and one that an earlier version did not write stays absent, so that a file is
    written again as it was.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    def as_dict(self) -> dict[str, JsonValue]:
        """Return what is written: the keys that were set, with values as JSON has them."""
        return self.model_dump(mode="json", exclude_unset=True)
