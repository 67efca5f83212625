"""Render a document for Word and LibreOffice (.docx). Needs python-docx, which is imported when a document is made."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import docx
import docx.document
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.oxml.table import CT_Row
from docx.oxml.text.run import CT_R
from docx.shared import Cm, Emu, Pt, RGBColor
from docx.table import Table as DocxTable
from docx.table import _Cell
from docx.text.paragraph import Paragraph as DocxParagraph
from docx.text.run import Run

from headstart.figures.documents.columns import ColumnWidths, column_widths
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
from headstart.i18n import join, translated

PAGE_CM, MARGIN_CM = (21.0, 29.7), 2.5
MAX_PICTURE_CM = (16.0, 20.0)  # width and height
CELL_MARGINS_CM, MAX_LETTER_CM = 0.42, 0.19  # both margins of a cell, and a wide letter in a table
STYLE_SIZES = {"Normal": 10.5, "Caption": 9.0, "Title": 18.0, "Heading 1": 14.0, "Heading 2": 11.5}  # pt
FONT, CODE_FONT = "Arial", "Courier New"
MAX_WHOLE_ROWS = 20  # of a table that is not divided between pages
TABLE_PT, CODE_PT = 8.5, 7.5
BLANK_SHADE, HEADER_SHADE = "FFF7DB", "E8EDF3"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of the files in the archive, so that equal documents have equal bytes


def render(document: Document, folder: Path) -> bytes:
    """Return the document as a .docx archive with its pictures; `folder` is not used."""
    word = docx.Document()
    _set_up(word, document)
    word.add_paragraph(_text(document, document.title), style="Title")
    for block in document.blocks:
        _add(word, document, block)
    buffer = io.BytesIO()
    word.save(buffer)
    return _with_fixed_times(buffer.getvalue())


def _with_fixed_times(content: bytes) -> bytes:
    """Return the archive with the same time for all its files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, old.read(name))
    return buffer.getvalue()


def _set_up(word: docx.document.Document, document: Document) -> None:
    """Set the page, the styles, and the properties of the file."""
    section = word.sections[0]
    section.page_width, section.page_height = (Cm(side) for side in PAGE_CM)
    section.left_margin = section.right_margin = section.top_margin = section.bottom_margin = Cm(MARGIN_CM)
    for name, size in STYLE_SIZES.items():
        style = word.styles[name]
        style.font.name, style.font.size = FONT, Pt(size)
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for attribute in [key for key in fonts.attrib if key.endswith("Theme")]:
            del fonts.attrib[attribute]  # it would be used instead of the name
        if name != "Normal":
            style.font.color.rgb = RGBColor(0x20, 0x20, 0x20)
    properties = word.core_properties
    properties.title = _text(document, document.title)
    properties.author = properties.last_modified_by = properties.comments = ""
    created = document.created or datetime(*EPOCH)  # the file would have the date of python-docx's own template
    properties.created = properties.modified = created.replace(tzinfo=None, microsecond=0)
    properties.revision = 1


def _text(document: Document, text: str) -> str:
    """Return a text with its references."""
    return "".join(
        translated(document.reference_words(part)) if isinstance(part, CrossReference) else part
        for part in text_parts(text)
    )


def _add(word: docx.document.Document, document: Document, block: Block) -> None:
    match block:
        case Heading(text, level):
            word.add_heading(_text(document, text), level)
        case Paragraph(text):
            word.add_paragraph(_text(document, text))
        case BulletList(items):
            for item in items:
                word.add_paragraph(_text(document, item), style="List Bullet")
        case DocumentTable():
            _add_table(word, document, block)
        case DocumentFigure():
            _add_figure(word, document, block)
        case Blank():
            _add_blank(word, document, block)
        case Code():
            _add_code(word, block)
        case SourceList(sources):
            for number, source in enumerate(sources, 1):
                paragraph = word.add_paragraph(f"[{number}] {_text(document, source.text)} ")
                paragraph.paragraph_format.left_indent = Cm(0.8)
                paragraph.paragraph_format.first_line_indent = Cm(-0.8)
                _add_link(paragraph, source.url)


def _add_caption(
    word: docx.document.Document, document: Document, target: Target, key: str, text: str
) -> DocxParagraph:
    """Add a caption; its number is a field, so that Word updates it after a change."""
    paragraph = word.add_paragraph(style="Caption")
    number = document.numbers[target, key]
    label = translated(numbered_words(target, number))
    before, _number, after = label.partition(str(number))
    paragraph.add_run(before)
    field = OxmlElement("w:fldSimple")
    field.set(qn("w:instr"), f" SEQ {target.capitalize()} \\* ARABIC ")
    field.append(_run_element(paragraph, str(number)))
    paragraph._p.append(field)
    paragraph.add_run(f"{after}. ")
    paragraph.add_run(_text(document, text)).bold = False
    return paragraph


def _run_element(paragraph: DocxParagraph, text: str) -> CT_R:
    run = paragraph.add_run(text)
    element = run._r
    paragraph._p.remove(element)
    return element


def _add_table(word: docx.document.Document, document: Document, table: DocumentTable) -> None:
    caption = _add_caption(word, document, Target.TABLE, table.key, table.caption)
    caption.paragraph_format.keep_with_next = True
    caption.paragraph_format.space_before = Pt(8)
    grid = word.add_table(rows=1, cols=len(table.header), style="Table Grid")
    for cell, name in zip(grid.rows[0].cells, table.header, strict=True):
        _fill(cell, _text(document, name), bold=True)
        _shade(cell, HEADER_SHADE)
    _repeat_header(grid.rows[0]._tr)
    for row in table.rows:
        for cell, value in zip(grid.add_row().cells, row, strict=True):
            _fill(cell, _text(document, value))
    _keep_rows_whole([row._tr for row in grid.rows])
    _set_widths(grid, column_widths([table.header, *table.rows]))
    if len(table.rows) <= MAX_WHOLE_ROWS:
        for paragraph in (paragraph for row in grid.rows[:-1] for cell in row.cells for paragraph in cell.paragraphs):
            paragraph.paragraph_format.keep_with_next = True
    word.add_paragraph().paragraph_format.space_after = Pt(2)


def _set_widths(grid: DocxTable, widths: ColumnWidths) -> None:
    """Set the widths of the columns, in the table and in its cells: programs differ in which ones they use."""
    grid.autofit = False
    space = MAX_PICTURE_CM[0] - CELL_MARGINS_CM * len(widths.letters)
    per_letter = min(space / sum(widths.letters), MAX_LETTER_CM)
    for column, letters in zip(grid.columns, widths.letters, strict=True):
        column.width = Cm(per_letter * letters + CELL_MARGINS_CM)
        for cell in column.cells:
            cell.width = column.width


def _fill(cell: _Cell, text: str, *, bold: bool = False) -> None:
    paragraph = cell.paragraphs[0]
    paragraph.paragraph_format.space_before = paragraph.paragraph_format.space_after = Pt(1.5)
    run = paragraph.add_run(text)
    run.bold = bold
    run.font.size = Pt(TABLE_PT)


def _shade(cell: _Cell, color: str) -> None:
    shade = OxmlElement("w:shd")
    for name, value in (("val", "clear"), ("color", "auto"), ("fill", color)):
        shade.set(qn(f"w:{name}"), value)
    cell._tc.get_or_add_tcPr().append(shade)


def _repeat_header(row: CT_Row) -> None:
    header = OxmlElement("w:tblHeader")
    header.set(qn("w:val"), "true")
    row.get_or_add_trPr().append(header)


def _keep_rows_whole(rows: Sequence[CT_Row]) -> None:
    for row in rows:
        row.get_or_add_trPr().append(OxmlElement("w:cantSplit"))


def _add_figure(word: docx.document.Document, document: Document, figure: DocumentFigure) -> None:
    """Add a picture that fits on a page, with its title as alternative text, and its caption."""
    paragraph = word.add_paragraph()
    paragraph.alignment = WD_ALIGN_PARAGRAPH.CENTER
    paragraph.paragraph_format.keep_with_next = True
    shape = paragraph.add_run().add_picture(str(figure.file))
    scale = min(1.0, Cm(MAX_PICTURE_CM[0]) / shape.width, Cm(MAX_PICTURE_CM[1]) / shape.height)
    shape.width, shape.height = Emu(int(shape.width * scale)), Emu(int(shape.height * scale))
    properties = shape._inline.docPr
    properties.set("descr", _text(document, join([figure.title, figure.caption], ". ")))
    properties.set("title", _text(document, figure.title))
    _add_caption(word, document, Target.FIGURE, figure.key, join([figure.title, figure.caption], ". "))


def _add_blank(word: docx.document.Document, document: Document, blank: Blank) -> None:
    """Add a shaded box with the questions, and below it the place for the text."""
    row = word.add_table(rows=1, cols=1, style="Table Grid").rows[0]
    cell = row.cells[0]
    _shade(cell, BLANK_SHADE)
    _keep_rows_whole([row._tr])
    paragraph = cell.paragraphs[0]
    paragraph.add_run(_text(document, blank.title)).bold = True
    paragraph.add_run(f" ({_text(document, AUTHOR_MARK)})").italic = True
    for question in blank.questions:
        cell.add_paragraph(_text(document, question), style="List Bullet")
    for paragraph in cell.paragraphs:
        paragraph.paragraph_format.keep_with_next = True
    text = word.add_paragraph(_text(document, EMPTY_TEXT))
    text.paragraph_format.space_before, text.paragraph_format.space_after = Pt(6), Pt(18)


def _add_code(word: docx.document.Document, code: Code) -> None:
    paragraph = word.add_paragraph()
    paragraph.paragraph_format.left_indent = Cm(0.5)
    paragraph.paragraph_format.line_spacing = 1.0
    runs = [paragraph.add_run(line) for line in code.lines]
    for run in runs:
        _monospace(run)
    for run in runs[:-1]:
        run.add_break()


def _monospace(run: Run) -> None:
    run.font.name, run.font.size = CODE_FONT, Pt(CODE_PT)


def _add_link(paragraph: DocxParagraph, url: str) -> None:
    """Add an address as a link."""
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/hyperlink"
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), paragraph.part.relate_to(url, kind, is_external=True))
    element = _run_element(paragraph, url)
    link.append(element)
    paragraph._p.append(link)
