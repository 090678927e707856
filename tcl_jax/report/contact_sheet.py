"""Pictures in rows and columns, with names beside and above them and notes below: one image, or a table of a page."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tcl_jax.report.thumbnails import channels_left_out, encoded, picture_of, thumbnail

_CELL = 96  # pixels to which small pictures are enlarged, by whole factors
_LARGEST = 256  # pixels to which large ones are reduced, likewise
_GAP = 4  # between pictures
_GROUP_GAP = 20  # between groups of columns, and around the sheet
_LINE = 20  # height of a line of text
_FONT_SIZE = 14
_WIDEST_NAME = 200
_INK, _PALE, _PAPER = "#111111", "#666666", "#ffffff"

_LARGEST_OF_PAGE = 64  # pixels of a picture of a page
_LARGEST_EXACT = 32


class Column(NamedTuple):
    """A column of pictures.

    Attributes:
      group: name above the first of the columns that share it.
      name: above this one.
      images: uint8 [n, h, w, c].
      notes: n short texts, below the pictures; none where it is empty.
    """

    group: str
    name: str
    images: np.ndarray
    notes: Sequence[str] = ()


class Cell(NamedTuple):
    """A picture of a page.

    Attributes:
      data, kind: a file, png or jpeg.
      alt: what it shows.
      note: below it, if any.
      begins: whether it begins a group of columns.
    """

    data: bytes
    kind: str
    alt: str
    note: str | None
    begins: bool


class PictureTable(NamedTuple):
    """A table of a page.

    Attributes:
      caption: above it.
      groups: (name, number of columns) of each group.
      names: (name, whether it begins a group) of each column; none where no column has a name.
      rows: (name, pictures) of each.
    """

    caption: str
    groups: list[tuple[str, int]]
    names: list[tuple[str, bool]]
    rows: list[tuple[str, list[Cell]]]


def picture_table(columns: Sequence[Column], row_names: Sequence[str], *, caption: str) -> PictureTable:
    """The columns as a table of a page.

    Args:
      columns: at least one; those of a group follow each other.
      row_names: one for each image of a column.
      caption: above the table, with a sentence on channels that are not shown.
    """
    groups = [(name, len(list(some))) for name, some in itertools.groupby(column.group for column in columns)]
    starts = {0, *itertools.accumulate(count for _, count in groups)}
    begins = [number in starts for number in range(len(columns))]
    names = [(column.name, first) for column, first in zip(columns, begins, strict=True)]
    rows = [
        (name, [_cell(c, row, name, first) for c, first in zip(columns, begins, strict=True)])
        for row, name in enumerate(row_names)
    ]
    caption = ". ".join(filter(None, [caption, channels_left_out(columns[0].images.shape[-1])]))
    return PictureTable(caption, groups, names if any(column.name for column in columns) else [], rows)


def contact_sheet(title: str, columns: Sequence[Column], row_names: Sequence[str]) -> Image.Image:
    """The columns side by side, a row for each of their images.

    Small images are enlarged without smoothing, so that each of their pixels is a square that a person can see.

    Args:
      title: above all, with a sentence on channels that are not shown.
      columns: at least one, of equally many and equally large images; those of a group follow each other.
      row_names: one for each image of a column; long ones are cut.

    Raises:
      ValueError: as many names as images are not given.
    """
    if any(len(column.images) != len(row_names) for column in columns):
        counts = [len(column.images) for column in columns]
        raise ValueError(f"{len(row_names)} row names are given for columns of {counts} images.")
    title = ". ".join(filter(None, [title, channels_left_out(columns[0].images.shape[-1])]))
    font = ImageFont.load_default(_FONT_SIZE)
    names = [_cut(name, font, _WIDEST_NAME) for name in row_names]
    width, height = _picture(columns[0].images[0]).size
    lefts = []
    x = 2 * _GROUP_GAP + max(int(font.getlength(name)) for name in names)
    for number, column in enumerate(columns):
        if number:
            x += width + (_GAP if column.group == columns[number - 1].group else _GROUP_GAP)
        lefts.append(x)
    heads = _GROUP_GAP + _LINE + _LINE // 2
    top = heads + 2 * _LINE + _GAP
    pitch = height + _GAP + (_LINE if any(column.notes for column in columns) else 0)
    right = max(lefts[-1] + width, 2 * _GROUP_GAP + int(font.getlength(title)))
    sheet = Image.new("RGB", (right + _GROUP_GAP, top + len(names) * pitch + _GROUP_GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GROUP_GAP, _GROUP_GAP), title, _INK, font)
    for number, (column, left) in enumerate(zip(columns, lefts, strict=True)):
        if not number or column.group != columns[number - 1].group:
            draw.text((left, heads), column.group, _INK, font)
        draw.text((left, heads + _LINE), column.name, _PALE, font)
        for row, image in enumerate(column.images):
            sheet.paste(_picture(image), (left, top + row * pitch))
            if column.notes:
                draw.text(
                    (left, top + row * pitch + height), _cut(column.notes[row], font, width), _INK, font
                )
    for row, name in enumerate(names):
        draw.text((_GROUP_GAP, top + row * pitch + (height - _LINE) // 2), name, _INK, font)
    return sheet


def _cell(column: Column, row: int, row_name: str, begins: bool) -> Cell:
    pixels: np.ndarray = column.images[row]
    kind = "jpeg" if max(pixels.shape[:2]) > _LARGEST_EXACT else "png"
    data = encoded(thumbnail(pixels, largest=_LARGEST_OF_PAGE), kind)
    alt = ", ".join(filter(None, [row_name, column.group, column.name]))
    return Cell(data, kind, alt, column.notes[row] if column.notes else None, begins)


def _picture(image: np.ndarray) -> Image.Image:
    picture = picture_of(image).convert("RGB")
    longer = max(picture.size)
    if longer > _LARGEST:
        return picture.reduce(-(-longer // _LARGEST))
    factor = max(1, _CELL // longer)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _cut(name: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, widest: int) -> str:
    name = " ".join(name.splitlines())
    if font.getlength(name) <= widest:
        return name
    while name and font.getlength(f"{name}...") > widest:
        name = name[:-1]
    return f"{name}..."
