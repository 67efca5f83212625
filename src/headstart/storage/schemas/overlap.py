"""Schema of overlaps: images that are in two splits, or under two labels."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from headstart.i18n import Message, ngettext
from headstart.storage.schemas.schema import Schema


class OverlapKind(StrEnum):
    """Kind of what is in two splits, or in two classes."""

    IMAGE = "image"
    GROUP = "group"
    LABEL = "label"
    NEAR_DUPLICATE = "near-duplicate"


class Overlap(Schema):
    """Equal images, groups or near-duplicates that are in two splits, or images of equal content under two labels."""

    kind: OverlapKind = Field(
        description="image: equal images in two splits; group: groups in two splits; near-duplicate: photos of which "
        "different copies are in two splits; label: images with two labels"
    )
    splits: tuple[str, str] | None = Field(description="the two splits; null for two labels")
    count: int = Field(ge=1, description="number of distinct images, groups or photos")
    examples: tuple[str, str] = Field(description="names of two images of the first one")

    @property
    def sentence(self) -> Message:
        """The overlap as a sentence."""
        first, second = self.examples
        if self.splits is None:
            return ngettext(
                "{count:,} image has two labels, such as {first} and {second}.",
                "{count:,} images have two labels, such as {first} and {second}.",
                self.count,
                first=first,
                second=second,
            )
        values = {"split": self.splits[0], "other_split": self.splits[1], "first": first, "second": second}
        if self.kind is OverlapKind.GROUP:
            return ngettext(
                "{count:,} group is in both {split} and {other_split}, such as {first} and {second}.",
                "{count:,} groups are in both {split} and {other_split}, such as {first} and {second}.",
                self.count,
                **values,
            )
        if self.kind is OverlapKind.NEAR_DUPLICATE:
            return ngettext(
                "{count:,} photo has altered copies in {split} and {other_split}, such as {first} and {second}.",
                "{count:,} photos have altered copies in {split} and {other_split}, such as {first} and {second}.",
                self.count,
                **values,
            )
        return ngettext(
            "{count:,} image is in both {split} and {other_split}, such as {first} and {second}.",
            "{count:,} images are in both {split} and {other_split}, such as {first} and {second}.",
            self.count,
            **values,
        )
