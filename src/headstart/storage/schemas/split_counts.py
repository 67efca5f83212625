"""Schema of the numbers of images of the splits."""

from __future__ import annotations

from pydantic import Field

from headstart.storage.schemas.schema import Count, Schema


class SplitCounts(Schema):
    """Number of images of each split."""

    train: Count = Field(0, description="images of train")
    val: Count = Field(0, description="images of val")
    test: Count = Field(0, description="images of test; 0: the final evaluation is on val")

    @property
    def evaluation(self) -> tuple[str, int]:
        """The split of the final evaluation and its number of images: test, or val if there is no test split."""
        return ("test", self.test) if self.test else ("val", self.val)
