"""Pages of one file that opens anywhere: nothing in them is fetched, and no text in them can become markup.

templates/ holds the pages, assets/ their style sheets and scripts. What a template puts into a page is escaped, unless
it is `Markup`.
"""

import base64
import functools
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tcl_jax.fields import metric_title
from tcl_jax.files import to_utf8
from tcl_jax.report.results import capitalized, duration, metric_details, named, number


def render(template: str, **values: Any) -> bytes:
    """A page as UTF-8, of a template of templates/ and the values that it puts in; None is shown as a dash."""
    return to_utf8(environment().get_template(template).render(**values))


@functools.cache
def environment() -> Environment:
    """What all templates can use."""
    made = Environment(
        loader=PackageLoader("tcl_jax.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: "\N{EN DASH}" if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    made.globals["asset"] = asset
    made.filters |= {
        "capitalized": capitalized,
        "data_uri": data_uri,
        "duration": duration,
        "metric_details": metric_details,
        "metric_title": metric_title,
        "named": named,
        "number": number,
        "sha256": lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode(),
        "thousands": "{:,}".format,
    }
    return made


def asset(name: str) -> Markup:
    """A file of assets/: source code of ours, never made of users' texts."""
    return Markup((resources.files("tcl_jax.report") / "assets" / name).read_text(encoding="utf-8"))


def data_uri(data: bytes, kind: str) -> str:
    """The bytes of a picture of this kind, png or jpeg, as an address that holds them."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
