"""Reads a page as a browser would, and refuses what no page of ours may have; makes small pages and runs."""

import html.parser
import json
import re

from tcl_jax.report.comparison import ComparedRun
from tcl_jax.report.render import environment

EVIL = "</script></style></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;"

DIAGNOSTICS = {
    "counted": 1.0,
    "positive_similarity": 0.9,
    "negative_similarity": 0.1,
    "hard_positive_mass": 0.3,
    "hard_negative_mass": 0.2,
    "alignment": 0.1,
    "uniformity": -2.0,
    "rank": 9.5,
    "collapsed_loss": 4.8,
}

_VOID = {"meta", "img", "br", "hr", "link", "input"}
_FETCHING = {"src", "href", "xlink:href", "action", "data", "poster", "srcset", "background"}


class Page(html.parser.HTMLParser):
    """A page whose tags nest well, whose ids are its own, and which fetches nothing.

    Attributes:
      tags: (name, attributes) of all elements in order.
      text: what can be read, without scripts and styles.
      scripts: contents of those that are run.
      blocks: values of those that hold JSON, by id.
      styles: contents of all style sheets.
    """

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.tags, self.text, self.scripts, self.blocks, self.styles = [], "", [], {}, []
        self._open = []
        assert source.startswith("<!DOCTYPE html>\n")
        self.feed(source)
        self.close()
        assert self._open == []
        ids = self.ids()
        assert len(set(ids)) == len(ids)
        for name, attributes in self.tags:
            for key, value in attributes.items():
                assert not key.startswith("on"), f"{name} has a handler {key}"
                if key in _FETCHING:
                    assert re.match(r"data:image/(png|jpeg);base64,[\w+/=\s]+$|#", value), (
                        f"{name} {key}={value}"
                    )
                    assert not value.startswith("#") or value[1:] in ids, f"{name} refers to {value}"
                for reference in re.findall(r"url\(([^)]*)\)", value):
                    assert reference.strip("'\"#") in ids
        for style in self.styles:
            assert "url(" not in style
            assert "@import" not in style

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def all(self, name, /, **wanted):
        """The attributes of all elements of a name that have these attributes."""
        return [a for tag, a in self.tags if tag == name and wanted.items() <= a.items()]

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"{tag} names an attribute twice"
        self.tags.append((tag, attributes))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag

    def handle_data(self, data):
        where = self._open[-1] if self._open else ""
        if where == "script":
            attributes = self.tags[-1][1]
            if attributes.get("type") == "application/json":
                self.blocks[attributes["id"]] = json.loads(data)
            else:
                self.scripts.append(data)
        elif where == "style":
            self.styles.append(data)
        else:
            self.text += data


def page_with(body, *, title="title", styles=("page.css",), scripts=()):
    """A page without sections, with this body."""
    template = environment().from_string(
        '{% extends "page.html" %}{% block footer %}<footer>{{ body }}</footer>{% endblock %}'
    )
    return template.render(body=body, title=title, styles=styles, scripts=scripts, sections={})


def section_page(name, section, **values):
    """A page with one section, of the template `name` in "folder/name" of templates/."""
    folder, _, name = name.partition("/")
    return (
        environment()
        .get_template("page.html")
        .render(
            title="title",
            styles=["page.css"],
            scripts=[],
            folder=folder,
            titles={name: "Only"},
            sections={name: section},
            **values,
        )
    )


def compared(name, knn=0.5, records=(), probe=0.9, **config):
    """A run of a comparison."""
    results = {
        "config_name": "digits_tcl",
        "dataset": "digits",
        "metrics": {"linear_probe": probe, "knn": knn},
        "final_train_loss": 3.0,
        "params_sha256": "0" * 64,
    }
    config = {"loss.name": "tcl", "loss.k1": 10.0, "seed": 0, "data.data_dir": "", **config}
    return ComparedRun(name, config, results, records)
