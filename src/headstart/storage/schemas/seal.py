"""Schema of the seal in result.json: what the run had when it ended."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from headstart.storage.schemas.schema import Schema, StoredFile


class Seal(Schema):
    """Hashes of a run when it ended. A seal shows damage and careless edits, not forgery."""

    plan: str = Field(description="sha256 of plan.json without the plan, for which its hash stands")
    result: str = Field(description="sha256 of the result without the seal")
    files: dict[str, StoredFile] = Field(description="size and sha256 by name of a file in the folder of the run")

    @property
    def digest(self) -> str:
        """Sha256 (hex) of the seal, which the index of a user's runs contains."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


UNSEALED = Seal(plan="", result="", files={})  # of a result until it is sealed
