"""Render a document as LaTeX, for pdflatex, lualatex and xelatex."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

from headstart.figures.documents.columns import LINE_LETTERS, column_widths
from headstart.figures.documents.model import (
    AUTHOR_MARK,
    EMPTY_TEXT,
    Blank,
    Block,
    BulletList,
    Code,
    CrossReference,
    Document,
    DocumentFigure,
    DocumentTable,
    Heading,
    Paragraph,
    SourceList,
    Target,
    numbered_words,
    text_parts,
)
from headstart.i18n import translated

PREAMBLE = r"""% Compile with: pdflatex report.tex (twice, for the references).
% Letters outside the Latin script (Cyrillic, Arabic, Chinese and others) and those of Maltese and Vietnamese need
% lualatex or xelatex and a font that has them: see \setmainfont.
\documentclass[11pt,a4paper]{article}
\usepackage{iftex}
\ifPDFTeX
  \usepackage[T1]{fontenc}
  \usepackage[utf8]{inputenc}
  \usepackage{lmodern}
\else
  \usepackage{fontspec}
  % \setmainfont{Noto Serif} % for example; Noto Serif CJK SC for Chinese
\fi
\usepackage[margin=25mm]{geometry}
\usepackage{array}
\usepackage{booktabs}
\usepackage[font=small,labelfont=bf]{caption}
\usepackage{float}
\usepackage{graphicx}
\usepackage{longtable}
\usepackage[hidelinks]{hyperref}
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.6em}
\setlength{\emergencystretch}{3em}
\setlength{\LTcapwidth}{\linewidth}
\newsavebox{\picturebox}
% A picture in its own size, which is that of its letters; a larger one is reduced to the page.
\newcommand{\fitpicture}[1]{\sbox{\picturebox}{\includegraphics{#1}}%
  \ifdim\ht\picturebox>0.8\textheight\includegraphics[height=0.8\textheight]{#1}\else
  \ifdim\wd\picturebox>\linewidth\includegraphics[width=\linewidth]{#1}\else\usebox{\picturebox}\fi\fi}
\newenvironment{authorfield}[1]
  {\begin{quote}\textbf{#1}}
  {\end{quote}}
"""
MAX_WHOLE_ROWS = 20  # of a table that is not divided between pages
BREAK_AFTER = "/_,=:;"  # a long word may be broken after these
NO_OPTION = "{}"  # before a text in whose place LaTeX reads a * or an option in brackets: after \\item, \\\\ and rules
MAX_WORD, CHUNK = 30, 8  # letters of a word that is not broken, and those between two breaks of a longer one

_ASCII = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": "-{}",  # no dash from two hyphens
    ",": ",{}",  # nor a quotation mark from two commas
    "?": "?{}",
    "!": "!{}",
}
_MATH = {
    "±": r"\pm", "×": r"\times", "·": r"\cdot", "−": "-", "≤": r"\leq", "≥": r"\geq", "≠": r"\neq", "≈": r"\approx",
    "√": r"\surd", "∂": r"\partial", "∇": r"\nabla", "∞": r"\infty", "∑": r"\sum", "Σ": r"\Sigma", "→": r"\to",
    "²": "^2", "³": "^3", "¹": "^1", "⁴": "^4", "ⁿ": "^n", "₀": "_0", "₁": "_1", "₂": "_2",
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\epsilon", "η": r"\eta", "θ": r"\theta",
    "λ": r"\lambda", "μ": r"\mu", "µ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "φ": r"\phi",
    "χ": r"\chi", "ω": r"\omega", "Δ": r"\Delta", "Ω": r"\Omega", "Φ": r"\Phi", "Γ": r"\Gamma", "Θ": r"\Theta",
    "Λ": r"\Lambda", "Π": r"\Pi",
}  # fmt: skip
_TEXT = {"…": r"\ldots{}", "–": "--", "—": "---", "‘": "`{}", "’": "'{}", "“": "``", "”": "''", "\u00a0": "~"}
_ESCAPES = _ASCII | {character: f"\\ensuremath{{{symbol}}}" for character, symbol in _MATH.items()} | _TEXT


def render(document: Document, folder: Path) -> bytes:
    """Return the document as UTF-8; paths of pictures are relative to `folder`."""
    lines = [
        PREAMBLE,
        f"\\title{{{_text(document, document.title)}}}",
        r"\author{}",
        r"\date{}",
        r"\begin{document}",
        r"\maketitle",
    ]
    lines += [_block(document, block, folder) for block in document.blocks]
    return ("\n\n".join([*lines, r"\end{document}"]) + "\n").encode()


def escape(text: str) -> str:
    """Return a plain text as LaTeX that shows it; pdflatex has composed letters only, so that letters are composed."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(_ESCAPES.get(c, "" if unicodedata.category(c) == "Cf" else c) for c in composed)


def _text(document: Document, text: str) -> str:
    """Return a text; its references are commands, which LaTeX numbers."""
    return "".join(
        _reference(document, part) if isinstance(part, CrossReference) else " ".join(map(_word, part.split(" ")))
        for part in text_parts(text)
    )


def _word(word: str) -> str:
    """Return an escaped word; a long one, such as a path or a hash, may be broken."""
    word = unicodedata.normalize("NFC", word)
    if len(word) <= MAX_WORD:
        return escape(word)
    chunks = [word[start : start + CHUNK] for start in range(0, len(word), CHUNK)]
    return r"\allowbreak{}".join(map(_breakable, chunks))


def _reference(document: Document, reference: CrossReference) -> str:
    if reference.target is Target.SOURCE:
        return rf"\cite{{{','.join(reference.keys)}}}"
    key = reference.keys[0]
    number = document.numbers[reference.target, key]
    label = escape(translated(numbered_words(reference.target, number)))
    return label.replace(f" {number}", rf"~\ref{{{reference.target}:{key}}}")


def _block(document: Document, block: Block, folder: Path) -> str:
    match block:
        case Heading(text, level):
            return rf"\{'sub' * (level - 1)}section*{{{_text(document, text)}}}"
        case Paragraph(text):
            return _text(document, text)
        case BulletList(items):
            return _items(document, items)
        case DocumentTable():
            return _table(document, block)
        case DocumentFigure():
            return _figure(document, block, folder)
        case Blank():
            return _blank(document, block)
        case Code():
            return _code(block)
        case SourceList(sources):
            items = [
                rf"\bibitem{{{source.key}}} {_text(document, source.text)} \url{{{source.url}}}" for source in sources
            ]
            return (
                _environment("thebibliography", items, "{99}").replace(
                    r"\begin{thebibliography}", "{\\renewcommand{\\section}[2]{}%\n\\begin{thebibliography}", 1
                )
                + "}"
            )  # the document has its own heading


def _environment(name: str, lines: Sequence[str], arguments: str = "") -> str:
    return "\n".join([rf"\begin{{{name}}}{arguments}", *lines, rf"\end{{{name}}}"])


def _items(document: Document, items: Sequence[str]) -> str:
    return _environment("itemize", [rf"\item {NO_OPTION}{_text(document, item)}" for item in items])


def _table(document: Document, table: DocumentTable) -> str:
    """Return a table; a long one continues on the next page."""
    widths = column_widths([table.header, *table.rows])
    columns = "l" * len(table.header)
    if widths.wrapped:
        shares = [width / LINE_LETTERS for width in widths.letters]
        columns = "".join(rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}" for share in shares)
    header = " & ".join(rf"\textbf{{{_text(document, name)}}}" for name in table.header)
    head = [r"\toprule", rf"{header} \\", r"\midrule"]
    rows = [NO_OPTION + " & ".join(_text(document, cell) for cell in row) + r" \\" for row in table.rows]
    caption = rf"\caption{{{_text(document, table.caption)}}}\label{{{Target.TABLE}:{table.key}}}"
    style = r"\small\setlength{\tabcolsep}{4pt}"
    if len(rows) <= MAX_WHOLE_ROWS:
        tabular = _environment("tabular", [*head, *rows, r"\bottomrule"], f"{{{columns}}}")
        return _environment("table", [r"\centering", caption, style, tabular], "[H]")
    start = [rf"{caption}\\", *head, r"\endfirsthead", *head, r"\endhead", r"\bottomrule", r"\endlastfoot"]
    return f"{{{style}\n{_environment('longtable', [*start, *rows], f'{{{columns}}}')}\n}}"


def _figure(document: Document, figure: DocumentFigure, folder: Path) -> str:
    path = figure.file.relative_to(folder).as_posix()
    caption = f"{_text(document, figure.title)}. {_text(document, figure.caption)}"
    return _environment(
        "figure",
        [
            r"\centering",
            rf"\fitpicture{{{path}}}",
            rf"\caption{{{caption}}}\label{{{Target.FIGURE}:{figure.key}}}",
        ],
        "[H]",
    )


def _blank(document: Document, blank: Blank) -> str:
    title = f"{_text(document, blank.title)} ({_text(document, AUTHOR_MARK)})"
    lines = []
    if blank.questions:
        lines.append(_items(document, blank.questions))
    field = _environment("authorfield", lines, f"{{{title}}}")
    return f"{field}\n\n{_text(document, EMPTY_TEXT)}"


def _code(code: Code) -> str:
    """Return lines in a typewriter font, which may be broken at signs but not lengthened by hyphens."""
    body = "\\\\\n".join(map(_code_line, code.lines))
    return f"{{\\footnotesize\\ttfamily\\raggedright\n{body}\\par}}"


def _code_line(line: str) -> str:
    composed = unicodedata.normalize("NFC", line)
    return r"\mbox{}" + "".join(r"\ " if c == " " else _breakable(c) for c in composed)


def _breakable(letters: str) -> str:
    """Return escaped letters; LaTeX may break the line after some signs, without a hyphen."""
    return "".join(escape(c) + (r"\allowbreak{}" if c in BREAK_AFTER else "") for c in letters)
