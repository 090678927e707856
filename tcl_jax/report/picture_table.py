"""Pictures in rows and columns for a page: what a contact sheet is as a file of its own."""

import itertools
from collections.abc import Sequence

import numpy as np

from tcl_jax.report.contact_sheet import Column
from tcl_jax.report.html import Html, element, image, join, wide
from tcl_jax.report.thumbnails import encoded, thumbnail

PICTURES_STYLE = """
.pictures td, .pictures tbody th { border-bottom: 0; padding: .15rem .3rem .15rem 0; vertical-align: middle; }
.pictures thead th { font-weight: 400; font-size: .9rem; border-bottom: 0; padding: 0 .3rem 0 0; white-space: nowrap; }
.pictures .g { padding-left: 1rem; }
.pictures tbody th { max-width: 9rem; min-width: 3rem; padding-right: .8rem; }
.pictures img { display: block; width: 3.5rem; height: auto; image-rendering: pixelated; }
.pictures img.fine { image-rendering: auto; }
.pictures td { vertical-align: top; }
.pictures span { font-size: .8rem; line-height: 1.25; max-width: 3.5rem; overflow: hidden; overflow-wrap: anywhere;
  display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3; line-clamp: 3; }
"""

_LARGEST = 64  # pixels of a picture
_LARGEST_EXACT = 32


def picture_table(columns: Sequence[Column], row_names: Sequence[str], *, caption: str) -> Html:
    """The columns of a contact sheet as a table; it scrolls inside its own box where it is wide.

    Args:
      columns: at least one; those of a group follow each other.
      row_names: one for each image of a column.
      caption: above the table.
    """
    groups = [(name, len(list(some))) for name, some in itertools.groupby(column.group for column in columns)]
    begins = {0, *itertools.accumulate(count for _, count in groups)}
    classes = ["g" if number in begins else None for number in range(len(columns))]
    heads = [element("th", name, scope="colgroup", colspan=count, class_="g") for name, count in groups]
    names = [element("th", c.name, scope="col", class_=k) for c, k in zip(columns, classes, strict=True)]
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            *(
                element("td", _picture(column, row, name), class_=kind)
                for column, kind in zip(columns, classes, strict=True)
            ),
        )
        for row, name in enumerate(row_names)
    ]
    named = any(column.name for column in columns)
    head = [element("tr", element("td"), *heads), element("tr", element("td"), *names) if named else ""]
    content = element(
        "table",
        element("caption", caption),
        element("thead", *head),
        element("tbody", join(*rows)),
        class_="pictures",
    )
    return wide(content, label=caption)


def _picture(column: Column, row: int, row_name: str) -> Html:
    pixels: np.ndarray = column.images[row]
    fine = max(pixels.shape[:2]) > _LARGEST_EXACT
    kind = "jpeg" if fine else "png"
    data = encoded(thumbnail(pixels, largest=_LARGEST), kind)
    alt = ", ".join(filter(None, [row_name, column.group, column.name]))
    picture = image(data, alt=alt, kind=kind, **({"class": "fine"} if fine else {}))
    if not column.notes:
        return picture
    return join(picture, element("span", column.notes[row], title=column.notes[row]))
