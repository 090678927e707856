"""The page that compares runs: their metrics with the spread over seeds, and their curves over each other."""

from collections.abc import Mapping, Sequence

from tcl_jax.fields import metric_title
from tcl_jax.files import to_utf8
from tcl_jax.report.comparison import Group, Spread, curve_of, to_csv, to_markdown, to_rows
from tcl_jax.report.heat_map import draw_heat_map, heat_maps
from tcl_jax.report.page_curves import VALIDATION, Captioned, numeric_keys
from tcl_jax.report.plots import Series, curves
from tcl_jax.report.render import render
from tcl_jax.report.results import capitalized

_MOST_CURVES = 12  # more over each other cannot be followed


def comparison_files(
    title: str, groups: Sequence[Group], *, failures: Mapping[str, str], again: str
) -> dict[str, bytes]:
    """The files of a comparison by name: index.html, which needs none of the others, CSV and Markdown.

    Args:
      failures: why runs have no results, by name.
      again: the command that makes the comparison again.
    """
    runs = [run for group in groups for run in group.runs]
    heads, rows = to_rows(groups)
    objectives = len({group.settings.get("loss.name") for group in groups})
    figures = _curves(groups)
    sections = {
        "metrics": {"heads": heads, "rows": rows, "objectives": objectives, "failures": failures},
        "heat-maps": [Captioned(draw_heat_map(one), one.title) for one in heat_maps(groups)],
        "curves": figures
        and {"figures": figures, "shown": min(len(groups), _MOST_CURVES), "total": len(groups)},
        "again": again,
    }
    html = render(
        "comparison.html",
        title=title,
        runs=len(runs),
        datasets=list(dict.fromkeys(run.results["dataset"] for run in runs)),
        settings=len(groups),
        several=any(len(group.runs) > 1 for group in groups),
        sections={name: section for name, section in sections.items() if section},
    )
    tables = {"comparison.csv": to_csv(groups), "comparison.md": to_markdown(groups)} if groups else {}
    return {"index.html": html} | {name: to_utf8(text) for name, text in tables.items()}


def _curves(groups: Sequence[Group]) -> list[Captioned]:
    records = [record for group in groups for run in group.runs for record in run.records]
    held_out = [key for key in numeric_keys(records) if key.startswith(VALIDATION)]
    labels = {key: f"{metric_title(key.removeprefix(VALIDATION))} of held-out images" for key in held_out}
    drawn = []
    for number, (key, label) in enumerate((labels | {"loss": "training loss"}).items()):
        series = [
            Series(group.label, epochs, [s.mean for s in found], *_band(found))
            for group in groups[:_MOST_CURVES]
            for epochs, found in [curve_of(group, key)]
            if epochs
        ]
        if series:
            picture = curves(series, name=f"curve-{number}", x_label="epoch", y_label=label)
            drawn.append(Captioned(picture, f"{capitalized(label)} in each epoch."))
    return drawn


def _band(found: Sequence[Spread]) -> tuple[list[float] | None, list[float] | None]:
    if all(s.std is None for s in found):
        return None, None
    return [s.mean - (s.std or 0.0) for s in found], [s.mean + (s.std or 0.0) for s in found]
