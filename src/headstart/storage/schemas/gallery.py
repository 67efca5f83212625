"""Schema of index.json in a run's gallery.zip."""

from __future__ import annotations

from pydantic import Field

from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.storage.schemas.schema import Schema, VersionedSchema

GALLERY_FILE = "artifacts/gallery.zip"  # in the folder of a run
THUMBNAIL_PX = 96  # side of its pictures


class GalleryPhoto(Schema):
    """A photo, and its prediction."""

    key: str = Field(description="path of the image")
    true: int = Field(description="index of its class")
    predicted: int = Field(description="index of the predicted class")
    confidence: float = Field(description="probability of the predicted class")


class GalleryLists(Schema):
    """Lists of photos, as indices into `photos`."""

    mistakes: list[int] = Field(description="photos with the lowest probability of the true class")
    least_confident: list[int] = Field(
        description="photos with the smallest margin between the two most probable classes"
    )


class GalleryIndex(VersionedSchema):
    """Photos of the evaluation images of one model, and its confusion matrix."""

    split: str = Field(description="split that the model was evaluated on")
    classes: list[str] = Field(description="class names")
    lists: GalleryLists = Field(description="lists of photos")
    cells: dict[str, list[int]] = Field(description="photos of each cell `TRUE-PREDICTED`, as indices into `photos`")
    counts: ConfusionCounts = Field(description="confusion counts")
    photos: list[GalleryPhoto] = Field(description="the photos")
