"""What a run of the benchmark leaves to read: JSON, Markdown and a picture."""

import importlib.util
import json
import pathlib
import statistics
from collections.abc import Callable
from typing import Any

Record = dict[str, Any]

# Implementation by colour (Okabe and Ito's, which colour-blind readers tell apart), loss by the kind of line.
_STYLES = {
    "products": dict(color="#000000", linestyle=":", marker=""),
    "tcl": dict(color="#0072B2", linestyle="-", marker="o"),
    "tcl_dense": dict(color="#009E73", linestyle="-", marker="s"),
    "tcl_torch": dict(color="#D55E00", linestyle="-", marker="^"),
    "supcon": dict(color="#0072B2", linestyle="--", marker="o"),
    "supcon_pml": dict(color="#E69F00", linestyle="--", marker="v"),
    "ntxent": dict(color="#0072B2", linestyle="-.", marker="o"),
    "ntxent_optax": dict(color="#CC79A7", linestyle="-.", marker="D"),
}


def write(record: Record, folder: pathlib.Path, prefix: str) -> None:
    """All files of a run, over those of an earlier one; the picture where matplotlib is installed."""
    (folder / f"{prefix}.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / f"{prefix}.md").write_text(markdown(record) + "\n")
    if importlib.util.find_spec("matplotlib"):
        draw(record, folder / f"{prefix}.png")


def markdown(record: Record) -> str:
    """Tables of time, ratio and memory, what stands behind a dash, and what the figures say."""
    reasons: list[str] = []
    tables = [
        ("Time, forward and backward", lambda f, _: _seconds(f["seconds"])),
        ("Ratio to the bare products of the same run", lambda f, bare: _ratio(f["seconds"], bare)),
        ("Peak memory beyond the inputs", lambda f, _: _bytes(f["bytes"])),
    ]
    parts = [_heading(record)]
    parts += [f"{title}:\n\n{_table(record, cell, reasons)}" for title, cell in tables]
    parts.append(f"Rounds, and how evenly the machine ran:\n\n{_steadiness(record)}")
    parts.append("\n".join(f"[{i}] {reason}  " for i, reason in enumerate(reasons, 1)))
    parts.append("\n".join(f"- {line}" for line in conclusions(record)))
    return "\n\n".join(part for part in parts if part)


def conclusions(record: Record) -> list[str]:
    """The three comparisons that the losses are judged by."""

    def seconds(size: str, name: str) -> float | None:
        return record["sizes"].get(size, {}).get(name, {}).get("seconds")

    lines = []
    ours, bare, official = (seconds("8192", name) for name in ("tcl", "products", "tcl_torch"))
    if ours and bare:
        lines.append(_verdict("n = 8,192: TCL takes {:.2f} x the bare products", ours / bare, "at most", 2.0))
    if ours and official:
        text = "n = 8,192: TCL is {:.1f} x as fast as the official form in PyTorch"
        lines.append(_verdict(text, official / ours, "at least", 7.0))
    against_dense = {
        int(size): seconds(size, "tcl") / seconds(size, "tcl_dense")
        for size in record["sizes"]
        if int(size) >= 2048 and seconds(size, "tcl") and seconds(size, "tcl_dense")
    }
    if against_dense:
        worst = max(against_dense, key=against_dense.__getitem__)
        text = f"From n = 2,048 up, TCL takes {{:.2f}} x its dense form at worst (n = {worst:,})"
        lines.append(_verdict(text, against_dense[worst], "at most", 1.1))
    return lines


def draw(record: Record, file: pathlib.Path) -> None:
    """Time and memory against n, both on logarithmic axes; the lines carry their names."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(15, 6.2), dpi=120, layout="constrained")
    for axes, field, scale, title in (
        (panels[0], "seconds", 1.0, "Seconds, forward and backward"),
        (panels[1], "bytes", 1e-6, "Peak memory beyond the inputs, MB"),
    ):
        ends = {}
        for name, style in _STYLES.items():
            points = [
                (int(size), figures[name][field] * scale)
                for size, figures in record["sizes"].items()
                if figures[name].get(field)
            ]
            if points:
                axes.plot(*zip(*points, strict=True), **style, markersize=5, linewidth=1.8)
                ends[name] = points[-1]
        sizes = [int(size) for size in record["sizes"]]
        axes.set(xscale="log", yscale="log", xlabel="n, rows in the batch")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.set_title(title, loc="left", fontweight="bold")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        axes.minorticks_off()
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        _label_ends(axes, ends, record["titles"])
    device = record["machine"]["device"]
    figure.suptitle(
        f"Contrastive losses on {device}, {record['width']} columns, {record['dtype']}; lines end where a method "
        "no longer fits or takes too long",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    try:
        figure.savefig(file)
    finally:
        plt.close(figure)


def _label_ends(axes: Any, ends: dict[str, tuple[int, float]], titles: dict[str, str]) -> None:
    """Names at the ends of the lines, in their order and joined to them.

    Those of the lines that reach the largest n stand in a column beside the panel. Others stand above the highest of
    the lines that end at the same n, where there is nothing but paper.
    """
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom, top * (top / bottom) ** 0.16)
    to_axes = axes.transData + axes.transAxes.inverted()
    places = {name: to_axes.transform(end) for name, end in ends.items()}
    right = max(size for size, _ in ends.values())
    for size in {size for size, _ in ends.values()}:
        names = sorted((name for name in ends if ends[name][0] == size), key=lambda name: places[name][1])
        wanted = [places[name][1] for name in names]
        if size < right:
            wanted = [wanted[-1] + 0.045] * len(names)
        for name, height in zip(names, _apart(wanted, 0.055), strict=True):
            beside = 1.05 if size == right else places[name][0] + (0.03 if len(names) > 1 else -0.01)
            _label(axes, titles[name], _STYLES[name]["color"], ends[name], (beside, height))


def _apart(wanted: list[float], least: float) -> list[float]:
    """Ascending heights near the wanted ones, at least so far apart and not above the panel."""
    heights: list[float] = []
    for height in wanted:
        heights.append(max(height, heights[-1] + least) if heights else height)
    ceiling = 0.97
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], ceiling)
        ceiling = heights[i] - least
    return heights


def _label(axes: Any, text: str, color: str, point: tuple[int, float], place: tuple[float, float]) -> None:
    line = dict(arrowstyle="-", color=color, linewidth=0.6, alpha=0.6, relpos=(0, 0.5))
    axes.annotate(
        text,
        xy=point,
        xytext=place,
        textcoords="axes fraction",
        color=color,
        va="center",
        fontsize=10,
        arrowprops=line,
        annotation_clip=False,
    )


def _heading(record: Record) -> str:
    machine = record["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    measured = "the framework's allocator" if machine["platform"] == "gpu" else "growth of the resident set"
    rounds = [
        len(figures["products"]["all_seconds"])
        for figures in record["sizes"].values()
        if "all_seconds" in figures["products"]
    ]
    count = " to ".join(str(x) for x in sorted({min(rounds), max(rounds)})) if rounds else "no"
    return (
        "# Losses with their gradients\n\n"
        f"    {record['command']}\n\n"
        f"{record['date']}; {machine['device']} ({machine['processor']}), {machine['cores']} cores (all used by both "
        f"frameworks), {machine['memory_gb']} GB; load {record['load_before']} before and {record['load_after']} after "
        f"(1-minute averages, this benchmark included). {versions}.\n\n"
        f"Best of {count} rounds in which the methods take turns. {record['width']} columns, {record['dtype']} "
        f"inputs, all computed in float32; {record['classes']} random classes. The official form is TCL written for "
        "this benchmark in PyTorch, with full n x n arrays in the style of SupContrast; PyTorch runs eagerly. The bare "
        "products are the 6 n^2 d operations of a loss and its gradient without symmetry, in blocks of 512 rows, and "
        "nothing else: tcl_jax visits each pair once for both directions and needs 4 n^2 d. Memory: for JAX on a CPU "
        f"temporaries and output as compiled, otherwise measured in a process of its own ({measured})."
    )


def _table(record: Record, cell: Callable[[Any, Any], str], reasons: list[str]) -> str:
    sizes = record["sizes"]
    rows = [["n", *(f"{int(size):,}" for size in sizes)], ["---", *("---:" for _ in sizes)]]
    for name, title in record["titles"].items():
        row = [title]
        for figures in sizes.values():
            left_out = figures[name].get("left_out")
            if left_out:
                if left_out not in reasons:
                    reasons.append(left_out)
                row.append(f"- [{reasons.index(left_out) + 1}]")
            else:
                row.append(cell(figures[name], figures["products"].get("seconds")))
        rows.append(row)
    return _rows(rows)


def _steadiness(record: Record) -> str:
    """How many rounds there were, and how far runs of the same work were apart: what a ratio may be wrong by."""
    timed = [
        [f["all_seconds"] for f in figures.values() if "all_seconds" in f]
        for figures in record["sizes"].values()
    ]
    rows = [
        ["n", *(f"{int(size):,}" for size in record["sizes"])],
        ["---", *("---:" for _ in timed)],
        ["rounds", *(str(max(map(len, runs), default=0)) for runs in timed)],
        [
            "slowest run over fastest, median of the methods",
            *(f"{statistics.median(max(x) / min(x) for x in runs):.1f}" if runs else "-" for runs in timed),
        ],
    ]
    return _rows(rows)


def _rows(rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _verdict(text: str, value: float, bound: str, wanted: float) -> str:
    met = value <= wanted if bound == "at most" else value >= wanted
    return f"{text.format(value)}; wanted {bound} {wanted:g}: {'met' if met else 'MISSED'}."


def _seconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _ratio(value: float, bare: float | None) -> str:
    return f"{value / bare:.2f}" if bare else "-"


def _bytes(value: int | None) -> str:
    if value is None:
        return "unknown"
    return f"{value / 1e6:,.0f} MB" if value < 1e9 else f"{value / 1e9:.2f} GB"
