"""Fonts of figures: one that matplotlib ships, and an installed one for Chinese, Japanese and Korean names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib import font_manager, rcParams
from matplotlib.font_manager import FontProperties

from headstart.i18n import translated
from headstart.printable import printable

FAMILY = "DejaVu Sans"  # shipped with matplotlib, so that figures look the same everywhere
EAST_ASIAN_FAMILIES = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK TC",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Hiragino Sans GB",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Arial Unicode MS",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "SimHei",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
)


@dataclass(frozen=True)
class Typeface:
    """The fonts of a set of figures.

    Args:
        families: Names of the fonts in order of preference.
        covered: Code points that each font has.
        missing: Characters so far that no font has.
    """

    families: tuple[str, ...]
    covered: Mapping[str, Collection[int]]
    missing: set[str] = field(default_factory=set)

    def drawable(self, text: str) -> str:
        """Return a text or message as it is drawn, on one line, with escapes for characters that no font has."""
        return "".join(self._drawable_character(character) for character in printable(translated(text)))

    def _drawable_character(self, character: str) -> str:
        if any(ord(character) in self.covered[family] for family in self.families):
            return character
        self.missing.add(character)
        return character.encode("unicode_escape").decode()


def find_typeface() -> Typeface:
    """Return the fonts of figures, and make them matplotlib's fonts for the present style."""
    installed = installed_fonts()
    families = (FAMILY, *[family for family in EAST_ASIAN_FAMILIES if family in installed][:1])
    covered = {family: frozenset(font_manager.get_font(_file(family)).get_charmap()) for family in families}
    rcParams["font.family"] = list(families)
    return Typeface(families, covered)


def installed_fonts() -> set[str]:
    """Return the families of the installed fonts."""
    return set(font_manager.get_font_names())


def _file(family: str) -> Path | str:
    return font_manager.findfont(FontProperties(family=[family]), fallback_to_default=False)
