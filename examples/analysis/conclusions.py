"""What the responses say: where TCL's is stronger than SupCon's, and by how much."""

from collections.abc import Sequence

import numpy as np

from examples.analysis.responses import Setting, closed_form_curve
from examples.analysis.surroundings import Kind, Pairs, Surroundings

_GRID = np.linspace(-1.0, 1.0, 4001)
_ROUNDING = 1e-12  # of the largest response; what differs by less is equal

# Batches of other temperatures and numbers of positives, with the coefficients that `tcl_loss` has by default.
_OTHER_TEMPERATURES = (0.05, 0.1, 0.2, 0.5)
_OTHER_NUM_POSITIVES = (1, 12, 100)


def supcon_of(setting: Setting) -> Setting:
    """SupCon at the setting's temperature."""
    return Setting("supcon", setting.temperature, 0.0, 1.0)


def stronger_where(kind: Kind, surroundings: Surroundings, setting: Setting) -> list[tuple[float, float]]:
    """Ranges of the moved pair's similarity where the response is larger in size than SupCon's; to 0.0005."""
    ours, supcon = (
        np.abs(closed_form_curve(kind, _GRID, surroundings, each)) for each in (setting, supcon_of(setting))
    )
    stronger = ours > supcon + _ROUNDING * max(ours.max(), supcon.max())
    edges = np.flatnonzero(np.diff(np.concatenate([[False], stronger, [False]]).astype(int)))
    return [(float(_GRID[a]), float(_GRID[b - 1])) for a, b in edges.reshape(-1, 2)]


def k1_share(pairs: Pairs, setting: Setting) -> float:
    """Share of D_i that its terms k1 exp(-s_ip) make up, 0 to 1.

    The responses of an anchor add up to -(1 + 1/t) times this share. For SupCon it is 0, and pull and push cancel.
    """
    _, t, k1, k2 = setting
    # All divided by exp(1/t), so that no exponential overflows.
    parts = k1 * np.exp(-pairs.positives - 1.0 / t), np.exp((pairs.positives - 1.0) / t)
    from_k1, attraction = (float(np.sum(part)) for part in parts)
    return from_k1 / (from_k1 + attraction + k2 * float(np.sum(np.exp((pairs.negatives - 1.0) / t))))


def break_even_k2(pairs: Pairs, setting: Setting) -> float:
    """The k2 above which every negative of the anchor is pushed harder than by SupCon, and below which none is.

        k2 / D_i > 1 / D_i(SupCon)   if and only if   k2 > 1 + k1 sum_P exp(-s_ip) / sum_P exp(s_ip / t)

    The negatives have no part in it: D_i holds them with the same k2.
    """
    _, t, k1, _ = setting
    return 1.0 + float(k1 * np.sum(np.exp(-pairs.positives)) / np.sum(np.exp(pairs.positives / t)))


def report(surroundings: Surroundings, settings: Sequence[Setting]) -> str:
    """Tables of what is drawn, ready to print; settings: SupCon first."""
    return "\n\n".join(
        (
            "Positives: pull -dL/ds on one at similarity s (in brackets: times SupCon's), and where the response is\n"
            "larger in size than SupCon's. Share: of D_i that k1's terms make up, the moved pair at 0.\n"
            + _positives(surroundings, settings),
            "Negatives: push dL/ds on one at similarity s, times SupCon's. Above the k2 in the last column\n"
            "every negative of the anchor is pushed harder than by SupCon, below it none is.\n"
            + _negatives(surroundings, settings),
            "Other batches, k1 = 5000 and k2 = 1: the pull at s = 0 times SupCon's, where the response to a\n"
            "positive is larger in size, the share of D_i, the push on a negative at 0.5 times SupCon's, and\n"
            "the k2 that makes them even.\n" + _other_batches(surroundings.num_negatives),
        )
    )


def _positives(surroundings: Surroundings, settings: Sequence[Setting]) -> str:
    places = np.array([-0.5, 0.0, 0.5, 1.0])
    supcon = -closed_form_curve("positive", places, surroundings, settings[0])
    rows = [["loss", "k1", "k2", "share", *(f"s = {place:g}" for place in places), "stronger"]]
    for setting in settings:
        pull = -closed_form_curve("positive", places, surroundings, setting)
        share = k1_share(surroundings.pairs("positive", np.array(0.0)), setting)
        cells = [f"{x:.3f} ({x / y:.2f})" for x, y in zip(pull, supcon, strict=True)]
        rows.append([*_names(setting), f"{share:.0%}", *cells, _ranges("positive", surroundings, setting)])
    return _table(rows)


def _negatives(surroundings: Surroundings, settings: Sequence[Setting]) -> str:
    places = np.array([0.0, 0.5, 0.9])
    supcon = closed_form_curve("negative", places, surroundings, settings[0])
    rows = [["loss", "k1", "k2", *(f"s = {place:g}" for place in places), "stronger", "even at k2"]]
    for setting in settings:
        push = closed_form_curve("negative", places, surroundings, setting)
        even = break_even_k2(surroundings.pairs("negative", np.array(0.0)), setting)
        cells = [f"{x:.2f}" for x in push / supcon]
        rows.append([*_names(setting), *cells, _ranges("negative", surroundings, setting), f"{even:.3g}"])
    return _table(rows)


def _other_batches(num_negatives: int) -> str:
    rows = [["temperature", "positives", "pull", "stronger", "share", "push", "even at k2"]]
    for temperature in _OTHER_TEMPERATURES:
        for num_positives in _OTHER_NUM_POSITIVES:
            surroundings = Surroundings(num_positives, num_negatives)
            setting = Setting("tcl", temperature, 5000.0, 1.0)
            pull = _ratio("positive", 0.0, surroundings, setting)
            push = _ratio("negative", 0.5, surroundings, setting)
            around = surroundings.pairs("negative", np.array(0.5))
            cells = [f"{temperature:g}", f"{num_positives}", f"{pull:.2f}"]
            cells += [_ranges("positive", surroundings, setting), f"{k1_share(around, setting):.0%}"]
            rows.append([*cells, f"{push:.3f}", f"{break_even_k2(around, setting):.3g}"])
    return _table(rows)


def _ratio(kind: Kind, similarity: float, surroundings: Surroundings, setting: Setting) -> float:
    """A response divided by SupCon's."""
    place = np.array([similarity])
    ours, supcon = (
        closed_form_curve(kind, place, surroundings, each)[0] for each in (setting, supcon_of(setting))
    )
    return float(ours / supcon)


def _names(setting: Setting) -> list[str]:
    return ["SupCon", "", ""] if setting.loss == "supcon" else ["TCL", f"{setting.k1:g}", f"{setting.k2:g}"]


def _ranges(kind: Kind, surroundings: Surroundings, setting: Setting) -> str:
    ranges = stronger_where(kind, surroundings, setting)
    if ranges == [(-1.0, 1.0)]:
        return "everywhere"
    return " and ".join(f"{low:.2f} to {high:.2f}" for low, high in ranges) or "nowhere"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(f"  {line}" for line in lines)
