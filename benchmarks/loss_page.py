"""The page of `benchmarks.loss`: tables of time, ratio, memory and compile time, the targets, and a picture."""

import importlib.util
import io
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import results
from benchmarks.results import Record, table

_PACKAGES = (
    "python",
    "jax",
    "jaxlib",
    "torch",
    "pytorch-metric-learning",
    "open-clip-torch",
    "optax",
    "numpy",
)

# Implementation by colour (Okabe and Ito's, which colour-blind readers can distinguish), loss by the kind of line.
_STYLES = {
    "products": dict(color="#000000", linestyle=":", marker=""),
    "tcl": dict(color="#0072B2", linestyle="-", marker="o"),
    "tcl_dense": dict(color="#009E73", linestyle="-", marker="s"),
    "tcl_torch": dict(color="#D55E00", linestyle="-", marker="^"),
    "supcon": dict(color="#0072B2", linestyle="--", marker="o"),
    "supcon_pml": dict(color="#E69F00", linestyle="--", marker="v"),
    "ntxent": dict(color="#0072B2", linestyle="-.", marker="o"),
    "ntxent_optax": dict(color="#CC79A7", linestyle="-.", marker="D"),
    "clip": dict(color="#0072B2", linestyle=(0, (1, 1)), marker="o"),
    "clip_open": dict(color="#56B4E9", linestyle=(0, (1, 1)), marker="P"),
    "siglip": dict(color="#0072B2", linestyle=(0, (3, 1, 1, 1, 1, 1)), marker="o"),
    "siglip_open": dict(color="#56B4E9", linestyle=(0, (3, 1, 1, 1, 1, 1)), marker="P"),
    "queue": dict(color="#0072B2", linestyle=(0, (8, 3)), marker="o"),
    "queue_pml": dict(color="#E69F00", linestyle=(0, (8, 3)), marker="v"),
}
_WITH_DENSE = ("tcl", "supcon", "clip", "siglip", "queue")  # ours whose dense form is there too


def page(record: Record) -> str:
    """Markdown: the tables, why cells are empty, how steady the machine was, and whether the targets are met."""
    reasons: list[str] = []
    every = list(record["titles"])
    square = [name for name in every if name not in record.get("queues", ())]
    tables = [
        ("Time, forward and backward", every, lambda found, _: _seconds(found["seconds"])),
        (
            "Ratio to the bare products of the same run",
            square,
            lambda found, bare: _ratio(found["seconds"], bare),
        ),
        ("Peak memory beyond the inputs", every, lambda found, _: _bytes(found["bytes"])),
    ]
    if _has_compile_times(record):
        tables.append(("Time to compile", every, lambda found, _: _seconds(found.get("compile_seconds"))))
    return results.page(
        "Losses with their gradients",
        record,
        _about(record),
        *(f"{title}:\n\n{_by_size(record, names, cell, reasons)}" for title, names, cell in tables),
        f"Rounds, and how evenly the machine ran:\n\n{_steadiness(record)}",
        "\n".join(f"[{number}] {reason}  " for number, reason in enumerate(reasons, 1)),
        "\n".join(f"- {line}" for line in targets(record)),
        record.get("note", ""),
        packages=[name for name in _PACKAGES if name in record["machine"]["versions"]],
    )


def targets(record: Record) -> list[str]:
    """The comparisons that the losses are judged by."""

    def ratio(size: str, one: str, other: str, field: str = "seconds") -> float | None:
        found = record["sizes"].get(size, {})
        seconds = [found.get(name, {}).get(field) for name in (one, other)]
        return seconds[0] / seconds[1] if all(seconds) else None

    lines = []
    if bare := ratio("8192", "tcl", "products"):
        lines.append(_verdict(f"n = 8,192: TCL takes {bare:.2f} x the bare products", bare <= 2, "at most 2"))
    if official := ratio("8192", "tcl_torch", "tcl"):
        text = f"n = 8,192: TCL is {official:.1f} x as fast as the official form in PyTorch"
        lines.append(_verdict(text, official >= 7, "at least 7"))
    for field, what, most in (("seconds", "takes", 1.1), ("compile_seconds", "compiles in", 2)):
        shares = [
            (share, f"{record['titles'][name]}, n = {int(size):,}")
            for size in record["sizes"]
            for name in _WITH_DENSE
            if (share := ratio(size, name, f"{name}_dense", field))
        ]
        if shares:
            share, where = max(shares)
            text = f"At worst a loss {what} {share:.2f} x the time of its dense form ({where})"
            lines.append(_verdict(text, share <= most, f"at most {most}"))
    return lines


def pictures(record: Record) -> dict[str, bytes]:
    """PNG of time and memory against n, where matplotlib is installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return {}
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5.5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [int(size) for size in record["sizes"]]
    for axes, field, scale, title in (
        (left, "seconds", 1.0, "Seconds, forward and backward"),
        (right, "bytes", 1e-6, "Peak memory beyond the inputs, MB"),
    ):
        for name, style in _STYLES.items():
            found = [methods[name].get(field) for methods in record["sizes"].values()]
            points = [(n, value * scale) for n, value in zip(sizes, found, strict=True) if value]
            if points:
                axes.plot(*zip(*points, strict=True), **style, label=record["titles"][name], markersize=5)
        axes.set(xscale="log", yscale="log", xlabel="n, rows in the batch or in the queue", title=title)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        axes.minorticks_off()
        axes.grid(color="#DDDDDD", linewidth=0.6)
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside right center", frameon=False, handlelength=5
    )
    figure.suptitle(
        f"Contrastive losses on {record['machine']['device']}, {record['width']} columns, {record['dtype']}; "
        "lines end where a method no longer fits or takes too long"
    )
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return {"curves": png.getvalue()}


def _about(record: Record) -> str:
    on_gpu = record["machine"]["platform"] == "gpu"
    measured = (
        "of PyTorch the peak of its allocator"
        if on_gpu
        else "otherwise measured in a process of its own (growth of the resident set)"
    )
    rounds = [len(runs) for times in _all_seconds(record) for runs in times]
    count = " to ".join(str(x) for x in sorted({min(rounds), max(rounds)})) if rounds else "no"
    return (
        f"{'Memory of the host' if on_gpu else 'Both frameworks use all cores; memory'}: "
        f"{record['machine']['memory_gb']} GB; the loads are averages over a minute and include this benchmark.\n\n"
        f"Best of {count} rounds in which the methods take turns. {record['width']} columns, {record['dtype']} "
        f"inputs, all computed in float32; {record['classes']} random classes. The official form is TCL written for "
        "this benchmark in PyTorch, with full n x n arrays in the style of SupContrast; PyTorch runs eagerly. The bare "
        "products are the 6 n^2 d operations of a loss and its gradient without symmetry, in blocks of 512 rows, and "
        "nothing else: tcl_jax visits each pair once for both directions and needs 4 n^2 d. Memory: for JAX "
        f"{'' if on_gpu else 'on a CPU '}temporaries and output as compiled, {measured}."
        f"{_about_further(record) if 'batch' in record else ''}"
    )


def _about_further(record: Record) -> str:
    """Of records since there are two towers, queues, few rows and times to compile."""
    few, turn = record["rows_per_class"], f"{record['turn_seconds'] * 1e3:g} ms"
    return (
        "\n\nCLIP and SigLIP: n rows in each tower, the gradient by both. A queue: the rows of a batch of "
        f"{record['batch']} meet each other and n further rows, which have no gradient; pytorch-metric-learning gets "
        "them as its CrossBatchMemory passes them on, but with the gradient by the columns of the batch, as ours has "
        f"it. There are at most n / {few} classes. Runs shorter than {turn} are repeated for as long, and their mean "
        "counts as a run. To compile: tracing, lowering and compiling, once, without a cache."
    )


def _by_size(
    record: Record, names: Sequence[str], cell: Callable[[Any, Any], str], reasons: list[str]
) -> str:
    """A row for each method and a column for each size; `reasons` gets those of the empty cells."""

    def text(name: str, methods: Record) -> str:
        if reason := methods[name].get("left_out"):
            if reason not in reasons:
                reasons.append(reason)
            return f"- [{reasons.index(reason) + 1}]"
        return cell(methods[name], methods["products"].get("seconds"))

    rows = [
        [record["titles"][name], *(text(name, methods) for methods in record["sizes"].values())]
        for name in names
    ]
    return table(_heads(record), rows)


def _steadiness(record: Record) -> str:
    """How many rounds there were, and how far runs of the same work were apart: what a ratio may be wrong by."""
    timed = _all_seconds(record)
    spread = [[max(runs) / min(runs) for runs in times] for times in timed]
    rows = [
        ["rounds", *(str(max(map(len, times), default=0)) for times in timed)],
        [
            "slowest run over fastest, median of the methods",
            *(f"{statistics.median(ratios):.1f}" if ratios else "-" for ratios in spread),
        ],
    ]
    return table(_heads(record), rows)


def _has_compile_times(record: Record) -> bool:
    return any(
        "compile_seconds" in found for methods in record["sizes"].values() for found in methods.values()
    )


def _heads(record: Record) -> list[str]:
    return ["n", *(f"{int(size):,}" for size in record["sizes"])]


def _all_seconds(record: Record) -> list[list[list[float]]]:
    """For each size and each method that was timed, the seconds of its runs."""
    return [
        [found["all_seconds"] for found in methods.values() if "all_seconds" in found]
        for methods in record["sizes"].values()
    ]


def _verdict(text: str, met: bool, wanted: str) -> str:
    return f"{text}; wanted {wanted}: {'met' if met else 'MISSED'}."


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


def _ratio(value: float, bare: float | None) -> str:
    return f"{value / bare:.2f}" if bare else "-"


def _bytes(value: int | None) -> str:
    if value is None:
        return "-"
    if value < 1e6:
        return f"{value / 1e3:,.0f} kB"
    return f"{value / 1e6:,.0f} MB" if value < 1e9 else f"{value / 1e9:.2f} GB"
