"""The photos of a plan: read, hashed, split and decoded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from headstart import data
from headstart.config.run_config import RunConfig
from headstart.data import pixel_store, splits
from headstart.data.image_index import ImageIndex
from headstart.errors import DataError
from headstart.reporter import Reporter


@dataclass(frozen=True)
class Dataset:
    """The photos of a plan: what they are called, what their files hold, and their pixels."""

    listing: ImageIndex
    contents: tuple[str, ...]
    store: pixel_store.PixelStore

    def split(self, plan: RunConfig) -> splits.Split:
        """The split of a plan over these photos."""
        return _divide(plan, self.listing, self.contents)

    def recounted(self, plan: RunConfig) -> RunConfig:
        """A complete plan with the counts of its own seed and fraction."""
        parted = self.split(plan)
        return plan.changed("facts", **{**plan.facts.model_dump(), "counts": counts(parted)})

    def per_class(self) -> dict[str, int]:
        """Photos of each class, in all splits together."""
        found = np.bincount(self.listing.labels, minlength=len(self.listing.classes))
        return dict(zip(self.listing.classes, found.tolist(), strict=True))


def take(plan: RunConfig, listing: ImageIndex, reporter: Reporter) -> tuple[Dataset, splits.Split]:
    """Hash, split and decode. The split is drawn before decoding so that a class too small is told at once."""
    contents = pixel_store.hash_files(listing, progress=partial(reporter.progress, "reading photos"))
    parted = _divide(plan, listing, contents)
    decode = partial(
        pixel_store.open_store,
        side=round(plan.recipe.image_size * plan.data.cache_resolution),
        skip_bad=plan.data.skip_bad,
        progress=partial(reporter.progress, "decoding photos"),
        threads=plan.machine.threads,
    )
    store = decode(listing, contents)
    if store.bad:
        names = ", ".join(listing.keys[i] for i in store.bad[:5])
        more = ", …" if len(store.bad) > 5 else ""
        reporter.say(f"Left out {len(store.bad)} that cannot be decoded: {names}{more}.")
        bad = set(store.bad)
        contents = tuple(c for i, c in enumerate(contents) if i not in bad)
        listing = data.checked(listing.without(store.bad))
        store = decode(listing, contents)
        parted = _divide(plan, listing, contents)
    for name, indices in (("train", parted.train), ("val", parted.val)):
        if not len(indices):
            raise DataError(f"There are no {name} photos.", "Add some, or leave the split to headstart.")
    told = ", ".join(f"{count} {name}" for name, count in counts(parted).items())
    origin = "drawn" if parted.declared == "none" else f"declared: {parted.declared}"
    reporter.say(f"Split: {told} ({origin}).")
    if parted.judge == "val":
        reporter.say("No unseen images will judge this run: there is no test split, and val chooses the epoch.")
    return Dataset(listing, contents, store), parted


def _divide(plan: RunConfig, listing: ImageIndex, contents: tuple[str, ...]) -> splits.Split:
    return splits.divide(
        listing,
        contents=contents,
        seed=plan.seeding.seed,
        test_seed=plan.seeding.test_seed,
        fraction=plan.data.fraction,
        evaluate_on_val=plan.data.evaluate_on_val,
    )


def counts(parted: splits.Split) -> dict[str, int]:
    """Photos of each split."""
    return {name: len(getattr(parted, name)) for name in ("train", "val", "test")}
