"""The page that compares runs: their figures with the spread over seeds, and their curves over each other."""

from collections.abc import Mapping, Sequence

from tcl_jax.report.comparison import Group, curve_of, to_csv, to_markdown, to_rows
from tcl_jax.report.figures import Picture, Series, curves
from tcl_jax.report.heat_map import draw_heat_map, heat_maps
from tcl_jax.report.html import Html, Section, columns, document, element, figure, join, paragraph, table

_CURVES = {"validation_knn": "kNN of held-out images, top-1", "loss": "training loss"}
_MOST_CURVES = 12  # more over each other tell nothing


def comparison_files(
    title: str, groups: Sequence[Group], *, failures: Mapping[str, str], again: str
) -> dict[str, bytes]:
    """The files of a comparison by name: index.html, which needs none of the others; CSV, Markdown and pictures.

    Args:
      failures: why runs have no figures, by name.
      again: the command that makes the comparison again.
    """
    pictures: dict[str, Picture] = {}
    sections = [Section("figures", "Figures", _figures(groups, failures))]
    maps = heat_maps(groups) if groups else []
    if maps:
        for one in maps:
            pictures[one.name] = draw_heat_map(one)
        shown = [figure(pictures[one.name].svg, caption=one.title) for one in maps]
        sections.append(Section("heat-maps", "Over the settings", columns(*shown)))
    drawn_curves = []
    for name, label in _CURVES.items():
        series = [
            Series(group.label, epochs, [s.mean for s in found], *_band(found))
            for group in groups[:_MOST_CURVES]
            for epochs, found in [curve_of(group, name)]
            if epochs
        ]
        if series:
            pictures[name] = curves(series, name=name.replace("_", "-"), x_label="epoch", y_label=label)
            drawn_curves.append(figure(pictures[name].svg, caption=_curve_caption(groups)))
    if drawn_curves:
        sections.append(Section("curves", "Curves", columns(*drawn_curves)))
    sections.append(Section("again", "Made by", element("pre", element("code", again))))
    files = {"index.html": document(title, sections, lead=_lead(groups)).encode()}
    if groups:
        files |= {"comparison.csv": to_csv(groups).encode(), "comparison.md": to_markdown(groups).encode()}
    return files | {f"{name}.png": drawn.png for name, drawn in pictures.items()}


def _lead(groups: Sequence[Group]) -> Html:
    runs = [run for group in groups for run in group.runs]
    data = ", ".join(dict.fromkeys(run.results["dataset"] for run in runs))
    return paragraph(f"{len(runs)} runs on {data or 'no data'} with {len(groups)} different settings.")


def _figures(groups: Sequence[Group], failures: Mapping[str, str]) -> Html:
    parts = []
    if groups:
        heads, rows = to_rows(groups)
        caption = "Accuracies of the test images"
        if _several(groups):
            caption += ", mean ± standard deviation over the runs"
        parts.append(table(heads, rows, caption=caption, align="ll".ljust(len(heads), "r")))
        if len({group.settings.get("loss.name") for group in groups}) > 1:
            parts.append(
                paragraph("Training losses of different objectives cannot be compared with each other.")
            )
    if failures:
        rows = [[name, reason] for name, reason in failures.items()]
        parts.append(table(["run", "why"], rows, caption="Runs without figures"))
    return join(*parts)


def _curve_caption(groups: Sequence[Group]) -> str:
    caption = "Mean over seeds; the band is one standard deviation to each side." if _several(groups) else ""
    if len(groups) > _MOST_CURVES:
        caption = f"The first {_MOST_CURVES} of {len(groups)} settings. {caption}"
    return caption


def _several(groups: Sequence[Group]) -> bool:
    return any(len(group.runs) > 1 for group in groups)


def _band(found: Sequence) -> tuple[list[float] | None, list[float] | None]:
    if all(s.std is None for s in found):
        return None, None
    deviations = [s.std or 0.0 for s in found]
    means = [s.mean for s in found]
    return (
        [m - d for m, d in zip(means, deviations, strict=True)],
        [m + d for m, d in zip(means, deviations, strict=True)],
    )
