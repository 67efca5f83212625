"""What a user decides about a table: its columns, and how labels in several spellings are read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from headstart.config.run_config import DataConfig
from headstart.data.read_errors import NoTableError
from headstart.errors import UsageError
from headstart.i18n import Message, _

ROLES = ("path", "label", "split", "group")


@dataclass(frozen=True)
class TableOptions:
    """Options for reading a table; "" finds a column by its name.

    Attributes:
        path_column: Name of the column of paths.
        label_column: Name of the column of labels.
        split_column: Name of the column of splits.
        group_column: Name of the column of groups.
        merge_labels: Make one class of labels that differ only in spelling.
        keep_labels: Keep labels as they are written, each as a class of its own.
        classes: Classes that the user named; they are not renamed, and two of them are not merged.
    """

    path_column: str = ""
    label_column: str = ""
    split_column: str = ""
    group_column: str = ""
    merge_labels: bool = False
    keep_labels: bool = False
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Reject options that contradict each other."""
        if self.merge_labels and self.keep_labels:
            raise UsageError(_("--merge-labels and --keep-labels exclude each other."), _("Leave one of them out."))

    @staticmethod
    def of(data: DataConfig) -> TableOptions:
        """Return the options that a plan contains, besides its classes."""
        return TableOptions(
            path_column=data.path_column,
            label_column=data.label_column,
            split_column=data.split_column,
            group_column=data.group_column,
            merge_labels=data.merge_labels,
            keep_labels=data.keep_labels,
        )

    def column(self, role: str) -> str:
        """Return the name of the column of a role, "" if the user named none."""
        return dict(zip(ROLES, self._columns, strict=True))[role]

    @property
    def _columns(self) -> tuple[str, ...]:
        return self.path_column, self.label_column, self.split_column, self.group_column

    def without_columns(self, roles: Collection[str]) -> TableOptions:
        """Return the options without names of columns for these roles."""
        path, label, split, group = (
            "" if role in roles else name for role, name in zip(ROLES, self._columns, strict=True)
        )
        return replace(self, path_column=path, label_column=label, split_column=split, group_column=group)

    def require_table(self, source: str) -> None:
        """Raise NoTableError if a column is named for data that is no table."""
        if named := [role for role, name in zip(ROLES, self._columns, strict=True) if name]:
            raise NoTableError(
                _("--{role}-column is for tables, and {source} is none.", role=named[0], source=source),
                _("Leave it out."),
            )


def column_flag(role: str) -> Message:
    """Return the flag that names the column of a role."""
    return _("--{role}-column NAME", role=role)
