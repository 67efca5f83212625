"""The check of probable groups: images that show one thing and are in several splits."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.audit.audit_data import AuditData, Integers
from headstart.audit.finding import MAX_EXAMPLES, AuditOutcome, Example
from headstart.audit.relations import different_pair, sets_of
from headstart.data.components import components, same_name, same_number
from headstart.i18n import _, ngettext
from headstart.storage.schemas.audit import CheckStatus


def groups_across_splits(data: AuditData) -> AuditOutcome:
    """Return probable groups with images in two splits, which declared groups do not keep together."""
    split, units = data.split_of, data.units.tolist()
    sets = ([i for i in members if split[i]] for members in sets_of(data.probable_groups))
    examples = [Example(*pair) for members in sets if (pair := different_pair(members, split, units))]
    if not examples:
        return AuditOutcome(CheckStatus.PASS, _("Neither times nor names show series of images in several splits."))
    sentence = ngettext(
        "By the times or the names of the files, {count:,} series of images is in several splits.",
        "By the times or the names of the files, {count:,} series of images are in several splits.",
        len(examples),
    )
    if data.declared == "none":
        hint = _(
            "If the images of a series show one thing, declare groups: a column `group` in a manifest. `--fix OUT.csv` "
            "writes one with these groups."
        )
    else:
        hint = _("If the images of a series show one thing, put it into one split.")
    return AuditOutcome(CheckStatus.WARN, sentence, hint, len(examples), examples[:MAX_EXAMPLES])


def joined_groups(data: AuditData, columns: Sequence[Integers]) -> Integers:
    """Return the number of each image's group, int64 [n]: images are joined by declared groups and by equal numbers.

    Args:
        data: The images.
        columns: Numbers of the images, such as those of clusters, int64 [n] each.
    """
    edges = [same_name(data.images.groups), *(same_number(numbers) for numbers in columns)]
    return components(len(data.images), edges)
