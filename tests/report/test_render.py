"""No text becomes markup, and no page needs or runs anything that is not in it."""

import base64
import hashlib
import re
from types import SimpleNamespace

import jinja2
import pytest
from markupsafe import Markup

from tcl_jax.report.contact_sheet import Cell, PictureTable
from tcl_jax.report.plots import PALETTE
from tcl_jax.report.render import environment, render
from tests.report.pages import EVIL, Page, page_with, section_page

PARTS = environment().get_template("parts.html").module


def comparison(**sections):
    return render(
        "comparison.html", title="t", runs=0, datasets=[], settings=0, several=False, sections=sections
    ).decode()


@pytest.mark.parametrize(
    "make",
    [
        lambda text: text,
        lambda text: PARTS.tile(text, text, text),
        lambda text: PARTS.table(text, [text, text], [[text, text], [text, text]], numbers_from=1),
        lambda text: PARTS.table(text, [text, text], [[text, text]], code=True),
        lambda text: PARTS.figures([SimpleNamespace(picture=SimpleNamespace(svg=text), caption=text)]),
        lambda text: PARTS.pictures(
            PictureTable(text, [(text, 1)], [(text, True)], [(text, [Cell(b"png", "png", text, text, True)])])
        ),
    ],
)
def test_texts_of_users_stay_texts(make):
    harmless, evil = (Page(page_with(make(text), title=text)) for text in ("name", EVIL))
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in harmless.tags]
    assert evil.text == harmless.text.replace("name", EVIL)
    assert evil.scripts == []
    for (_, before), (_, after) in zip(harmless.tags, evil.tags, strict=True):
        assert list(after) == list(before)
        for key in ("title", "alt", "aria-label"):
            assert after.get(key) == (before[key].replace("name", EVIL) if key in before else None)


def test_values_for_scripts_come_back_and_end_no_block():
    value = {"names": [EVIL, "<!--", "]]>", "\u2028", "ä", "\\"], "number": 1.5, "none": None}
    block = '<script type="application/json" id="values">{{ value|tojson }}</script>'
    page = Page(page_with(Markup(environment().from_string(block).render(value=value))))
    assert page.blocks == {"values": value}
    assert not page.scripts


def test_numbers_that_json_does_not_know_are_refused():
    with pytest.raises(ValueError, match="Out of range float"):
        environment().from_string("{{ value|tojson }}").render(value=[float("nan")])


def test_a_value_that_a_template_does_not_get_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="missing"):
        environment().from_string("{{ missing }}").render()


def test_file_names_that_are_not_text_have_a_place():
    assert Page(comparison(again="caf\udce9")).text.count("caf\\xe9") == 1


def test_only_the_scripts_of_ours_run_and_nothing_is_fetched():
    page = Page(page_with("text", scripts=["map.js"]))
    (script,) = page.scripts
    assert "use strict" in script
    ((policy,),) = [
        [a["content"] for a in page.all("meta", **{"http-equiv": "Content-Security-Policy"})],
    ]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "script-src 'none'" in page_with("text")


def test_contents_lead_to_the_sections():
    failures = {"rows": [], "failures": {"a": "b"}}
    page = Page(comparison(metrics=failures, again="text"))
    assert [a["href"] for a in page.all("a")] == ["#metrics", "#again"]
    assert [a["id"] for a in page.all("h2")] == ["metrics", "again"]
    assert "nav" not in dict(Page(section_page("comparison/again", "text")).tags)


def test_tables_have_heads_for_rows_and_columns_and_scroll_alone():
    page = Page(page_with(PARTS.table("Runs", ["run", "knn"], [["a", 0.5], ["b", None]], numbers_from=1)))
    assert [a.get("class") for a in page.all("th", scope="col")] == [None, "r"]
    assert len(page.all("th", scope="row")) == 2
    assert [a.get("class") for a in page.all("td")] == ["r", "r"]
    (box,) = page.all("div", **{"class": "wide"})
    assert (box["tabindex"], box["aria-label"]) == ("0", "Runs")
    assert "–" in page.text  # noqa: RUF001


def test_pages_have_both_colours_a_width_and_a_language():
    source = page_with("text")
    page = Page(source)
    assert any("prefers-color-scheme: dark" in style for style in page.styles)
    assert page.all("meta", name="viewport")
    assert page.all("html", lang="en")
    assert page_with("text") == source


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
    found = colors(Page(page_with("text")).styles[0], scheme)
    for ground in ("paper", "tile"):
        assert all(contrast(found[name], found[ground]) >= 4.5 for name in ("ink", "pale", "accent"))
        series = [color for name, color in found.items() if name.startswith("series-")]
        assert len(series) == 5
        assert min(contrast(color, found[ground]) for color in series) >= 2.7
        assert ground == "tile" or min(contrast(color, found[ground]) for color in series) >= 3


def test_plots_have_the_colours_of_the_page():
    light = colors(Page(page_with("text")).styles[0], "light")
    assert [light[f"series-{number}"] for number in range(len(PALETTE))] == list(PALETTE)
