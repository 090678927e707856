"""No text becomes markup, and no page needs or runs anything that is not in it."""

import base64
import hashlib
import re

import pytest

from tcl_jax.report.html import (
    Html,
    Section,
    columns,
    data_block,
    document,
    element,
    escape,
    figure,
    folded,
    image,
    join,
    paragraph,
    table,
    tiles,
)
from tests.report.pages import Page

EVIL = "</script></style></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"


def page_of(*parts, **options):
    return document("title", [Section("only", "Only", join(*parts))], **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: paragraph(text),
        lambda text: element("a", text, title=text, data_name=text),
        lambda text: tiles([(text, text, text)]),
        lambda text: table([text, text], [[text, text], [text, text]], caption=text, align="lr"),
        lambda text: figure(image(b"png", alt=text, title=text), caption=text),
        lambda text: folded(text, text),
        lambda text: columns(paragraph(text), paragraph(text)),
        lambda text: text,
    ],
)
def test_texts_of_users_stay_texts(make):
    harmless, evil = (
        Page(document(t, [Section("a", t, join(make(t)))], lead=t, footer=t)) for t in ("name", EVIL)
    )
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in harmless.tags]
    assert [list(a) for _, a in evil.tags] == [list(a) for _, a in harmless.tags]
    assert evil.text == harmless.text.replace("name", EVIL)
    assert evil.scripts == []
    for key in ("title", "alt", "data-name", "aria-label"):
        for before, after in zip(harmless.tags, evil.tags, strict=True):
            assert (
                after[1].get(key) == (before[1].get(key) or "").replace("name", EVIL) or key not in after[1]
            )


def test_values_for_scripts_come_back_and_end_no_block():
    value = {"names": [EVIL, "<!--", "]]>", "\u2028", "ä", "\\"], "number": 1.5, "none": None}
    page = Page(page_of(data_block("values", value)))
    assert page.blocks == {"values": value}
    assert not page.scripts


def test_numbers_that_json_does_not_know_are_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        data_block("values", [float("nan")])


def test_file_names_that_are_no_text_have_a_place():
    text = "caf\udce9"
    assert escape(text) == "caf?"
    Page(page_of(text, data_block("names", [text]))).text.encode()


def test_only_the_given_scripts_run_and_nothing_is_fetched():
    script = "document.title = '1 < 2'; // ä"
    page = Page(page_of("text", scripts=[script]))
    assert page.scripts == [script]
    ((policy,),) = [
        [a["content"] for a in page.all("meta", **{"http-equiv": "Content-Security-Policy"})],
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    without = page_of("text")
    assert "script-src 'none'" in without


def test_contents_lead_to_the_sections():
    sections = [Section("one", "First", Html("<p>a</p>")), Section("two", "Second", Html("<p>b</p>"))]
    page = Page(document("t", sections))
    assert [a["href"] for a in page.all("a")] == ["#one", "#two"]
    assert [a["id"] for a in page.all("h2")] == ["one", "two"]
    assert "nav" not in dict(Page(document("t", sections[:1])).tags)


def test_two_sections_of_one_name_are_refused():
    with pytest.raises(ValueError, match="names of their own"):
        document("t", [Section("a", "A", Html("")), Section("a", "B", Html(""))])


def test_tables_have_heads_for_rows_and_columns_and_scroll_alone():
    page = Page(page_of(table(["run", "top-1"], [["a", 0.5], ["b", None]], caption="Runs", align="lr")))
    assert [a.get("class") for a in page.all("th", scope="col")] == [None, "r"]
    assert len(page.all("th", scope="row")) == 2
    assert [a.get("class") for a in page.all("td")] == ["r", "r"]
    (box,) = page.all("div", **{"class": "wide"})
    assert (box["tabindex"], box["aria-label"]) == ("0", "Runs")
    assert "–" in page.text  # noqa: RUF001
    with pytest.raises(ValueError, match=r"shorter|longer"):
        table(["run"], [["a", 1]], caption="")


def test_pages_have_both_colours_a_width_and_a_language():
    source = page_of("text")
    page = Page(source)
    assert any("prefers-color-scheme: dark" in style for style in page.styles)
    assert page.all("meta", name="viewport")
    assert page.all("html", lang="en")
    assert page_of("text") == source


def colors(style, scheme):
    dark = style.index("prefers-color-scheme: dark")
    part = style[dark : style.index("}", style.index("{", dark) + 40)] if scheme == "dark" else style[:dark]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", part))


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough_for_texts_and_lines(scheme):
    """WCAG 2.2: 4.5 for texts, 3 for graphics."""
    found = colors(Page(page_of("text")).styles[0], scheme)
    for ground in ("paper", "tile"):
        assert all(contrast(found[name], found[ground]) >= 4.5 for name in ("ink", "pale", "accent"))
        series = [color for name, color in found.items() if name.startswith("series-")]
        assert len(series) == 5
        assert min(contrast(color, found[ground]) for color in series) >= 2.7
        assert ground == "tile" or min(contrast(color, found[ground]) for color in series) >= 3
