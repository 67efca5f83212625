"""Schema of the ledger of test sets: which studies used the same test images."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headstart.storage.schemas.schema import Seconds, VersionedSchema

SHA256 = "^[0-9a-f]{64}$"


class LedgerUse(StrEnum):
    """What test images were used for."""

    VERDICT = "verdict"
    INTERIM_ANALYSIS = "interim analysis"
    EVALUATION = "evaluation"
    ABLATION = "ablation"


class LedgerLine(VersionedSchema):
    """One use of test images."""

    time: Seconds = Field(description="when they were used, in seconds since 1970")
    test_set: str = Field(pattern=SHA256, description="sha256 of the sorted content hashes of the test images")
    study: str = Field(pattern=SHA256, description="sha256 of what the study declared, of an ablation of its plans")
    folder: str = Field(description="folder of the study")
    use: LedgerUse = Field(description="`verdict`, `interim analysis`, `ablation`, or `evaluation` before the verdict")
