"""Pages of one file that opens anywhere: nothing in them is fetched, and no text in them can become markup.

Markup is of the type `Html`; any other value is text and is escaped where it is put into a page.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from tcl_jax.report.style import STYLE


class Html(str):
    """Text that is markup already."""


class Section(NamedTuple):
    """A part of a page with a heading, to which the list of contents leads.

    Attributes:
      name: its id in the page, of letters, digits and "-"; no two sections share one.
      title: the heading.
      body: below it.
    """

    name: str
    title: str
    body: Html


def escape(value: object) -> Html:
    """A value as markup, for content and for attributes in double quotes; None is a dash, `Html` stays as it is.

    >>> escape('<b title="1">'), escape(Html("<br>"))
    ('&lt;b title=&quot;1&quot;&gt;', '<br>')
    """
    if isinstance(value, Html):
        return value
    text = "\N{EN DASH}" if value is None else str(value)
    # A file name may hold bytes that are no text, which no page could hold.
    return Html(html.escape(text.encode(errors="replace").decode()))


def join(*parts: object) -> Html:
    """The parts as markup, one after the other."""
    return Html("\n".join(escape(part) for part in parts))


def element(tag: str, *content: object, **attributes: object) -> Html:
    """<tag attributes>content</tag>.

    Args:
      attributes: by name, of which a last "_" is dropped and others become "-"; those that are None are left out.

    >>> element("a", "1 < 2", href="#one", aria_label='"', class_=None)
    '<a href="#one" aria-label="&quot;">1 &lt; 2</a>'
    """
    named = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Html(f"<{tag}{named}>{''.join(escape(part) for part in content)}</{tag}>")


def paragraph(*content: object) -> Html:
    """A paragraph of text."""
    return element("p", *content)


def tiles(figures: Sequence[tuple[object, object, object]]) -> Html:
    """Headline figures side by side, each as (name, figure, note); a note of "" is left out."""
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", name),
                element("dd", figure),
                element("dd", note) if note != "" else "",
            )
            for name, figure, note in figures
        ),
        class_="tiles",
    )


def table(
    heads: Sequence[object], rows: Sequence[Sequence[object]], *, caption: str, align: str = ""
) -> Html:
    """A table whose first column names its rows; a wide one scrolls inside its own box.

    Args:
      heads: of the columns.
      rows: as many values in each.
      caption: above the table, and what a screen reader calls it.
      align: a letter for each column, "l" or "r"; columns beyond the letters are "l".
    """
    classes = ["r" if letter == "r" else None for letter in align.ljust(len(heads), "l")]
    head = [element("th", text, scope="col", class_=c) for text, c in zip(heads, classes, strict=True)]
    body = [
        element(
            "tr",
            *(
                element("td", value, class_=c) if number else element("th", value, scope="row", class_=c)
                for number, (value, c) in enumerate(zip(row, classes, strict=True))
            ),
        )
        for row in rows
    ]
    content = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *head)),
        element("tbody", *body),
    )
    return wide(content, label=caption)


def wide(content: Html, *, label: str) -> Html:
    """A box in which content wider than the page scrolls, also by keyboard."""
    return element("div", content, class_="wide", role="region", tabindex="0", aria_label=label)


def figure(picture: Html, *, caption: object) -> Html:
    """A picture with a text below it."""
    return element("figure", picture, element("figcaption", caption))


def columns(*parts: Html) -> Html:
    """Parts side by side where the page is wide enough, else below each other."""
    return element("div", *parts, class_="columns")


def folded(summary: object, *content: object) -> Html:
    """Content that is shown when its summary is clicked."""
    return element("details", element("summary", summary), *content)


def image(data: bytes, *, alt: str, kind: str = "png", **attributes: object) -> Html:
    """A picture of which `data` are the bytes of a file of this kind: png or jpeg."""
    named = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return Html(f'<img src="{data_uri(data, kind)}" alt="{escape(alt)}"{named}>')


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a picture of this kind, png or jpeg, as an address that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def data_block(name: str, value: Any) -> Html:
    """Values for a script of the page, which finds them as JSON by the id `name`.

    Nothing in them ends the block, for "<" and ">" are written as escapes of JSON.

    >>> data_block("names", ["</script>"])
    '<script type="application/json" id="names">["\\\\u003c/script\\\\u003e"]</script>'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="{escape(name)}">{text}</script>')


def document(
    title: str,
    sections: Sequence[Section],
    *,
    lead: object = "",
    footer: object = "",
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> str:
    """A whole page: title, lead, list of contents, sections, footer.

    The page forbids the browser to fetch anything and to run any script but these.

    Args:
      lead: between the title and the list of contents: a sentence, headline figures.
      styles: style sheets of parts of the page, after the one that all pages share.
      scripts: JavaScript, run when the page is there. It is source code of ours and never made of users' texts.

    Raises:
      ValueError: two sections have one name.
    """
    names = [section.name for section in sections]
    if len(set(names)) < len(names):
        raise ValueError(f"The sections {names} do not have names of their own.")
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {hashes}"
    contents = element(
        "nav",
        element("ul", *(element("li", element("a", s.title, href=f"#{s.name}")) for s in sections)),
        aria_label="Contents",
    )
    body = [element("section", element("h2", s.title, id=s.name), "\n", s.body) for s in sections]
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        element("title", title),
        *(f"<style>{style}</style>" for style in (STYLE, *styles)),
    ]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        *head,
        "</head>",
        "<body>",
        element("header", element("h1", title), "\n", lead),
        contents if len(sections) > 1 else "",
        element("main", Html("\n".join(body))),
        element("footer", footer) if footer != "" else "",
        *(f"<script>{script}</script>" for script in scripts),
        "</body>",
        "</html>",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
