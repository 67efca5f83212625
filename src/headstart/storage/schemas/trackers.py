"""Schema of trackers.json: what of a run's record was sent to trackers."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Schema, VersionedSchema

TRACKERS_FILE = "trackers.json"


class TrackerPosition(Schema):
    """What of a record was sent to one tracker."""

    run_id: str = Field(description="id of the run in the tracker; another record has another id")
    target: str = Field(description="where the tracker keeps its runs")
    lines: int = Field(description="number of lines of the record that were sent")
    ended: bool = Field(description="whether the result was sent")


class TrackersFile(VersionedSchema):
    """Content of trackers.json."""

    trackers: dict[str, TrackerPosition] = Field(description="position by name of the tracker")
