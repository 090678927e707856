"""What losses do to hard positives and hard negatives: two pictures, a CSV and tables.

    python -m examples.analysis
    python -m examples.analysis --temperature 0.5 --k1 10 100 --k2 1 10 --out analysis/warm

SupCon's and TCL's numbers are computed twice, by the formula and by autodiff of `tcl_jax.losses` in 64-bit;
docs/analysis.md explains.
"""

import argparse
import csv
import io
import math
import sys
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from etils import epath

from examples.analysis import conclusions, family, picture
from examples.analysis.responses import Curve, Setting, curve, disagreement
from examples.analysis.surroundings import Surroundings
from tcl_jax.errors import RunFailed, UserError
from tcl_jax.files import write_whole, writing

TOLERANCE = 1e-6  # of the largest response of a curve; in 64-bit some 1e-14 is reached
_FIXED_K1, _FIXED_K2 = 5000.0, 1.0  # the defaults of tcl_loss, for the coefficient that is not varied
_SIMILARITY = np.linspace(-1.0, 1.0, 81)
_COLUMNS = ("kind", "loss", "temperature", "k1", "k2", "similarity", "closed_form", "autodiff")


def main(arguments: Sequence[str]) -> None:
    """Compute, write and print all.

    Raises:
      UserError: a flag is not of its form, or the folder cannot be made.
      RunFailed: formula and autodiff differ by more than TOLERANCE, or a file cannot be written.
    """
    options = _parse(arguments)
    surroundings = Surroundings(options.positives, options.negatives)
    supcon = Setting("supcon", options.temperature, 0.0, 1.0)
    by_k1 = [Setting("tcl", options.temperature, k1, _FIXED_K2) for k1 in options.k1]
    by_k2 = [Setting("tcl", options.temperature, _FIXED_K1, k2) for k2 in options.k2]
    settings = list(dict.fromkeys([supcon, *by_k1, *by_k2]))
    curves = [
        curve(kind, _SIMILARITY, surroundings, setting)
        for kind in ("positive", "negative")
        for setting in settings
    ]
    worst = max(map(disagreement, curves))
    if not worst <= TOLERANCE:
        raise RunFailed(
            f"Formula and autodiff differ by {worst:.1e} of the largest response, expected at most {TOLERANCE:g}: "
            "nothing is written."
        )
    drawn, table = options.out / "gradient_response.png", options.out / "gradient_response.csv"
    all_losses = options.out / "loss_family.png"
    with writing(str(drawn)):
        drawn.write_bytes(picture.draw(surroundings, curves, by_k1, by_k2))
    with writing(str(all_losses)):
        all_losses.write_bytes(family.draw(surroundings, options.temperature))
    write_whole(table, rows_of_csv(curves))
    print(conclusions.report(surroundings, settings))
    print(f"\nFormula and autodiff differ by at most {worst:.1e} of the largest response of a curve.")
    print(f"Written: {drawn}, {all_losses} and {table}")


def rows_of_csv(curves: Sequence[Curve]) -> str:
    """One line for each similarity of each curve, under _COLUMNS; responses are dL_i/ds_ij, 17 digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for kind, setting, *columns in curves:
        for similarity, *responses in zip(*columns, strict=True):
            cells = (f"{x:.17g}" for x in responses)
            writer.writerow([kind, setting.loss, *(f"{x:g}" for x in setting[1:]), f"{similarity:g}", *cells])
    return text.getvalue()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(f"{message[0].upper()}{message[1:]}; --help lists the options.")

    parser = Parser(prog="python -m examples.analysis", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", default="analysis", help="folder of picture and CSV (default: analysis)")
    parser.add_argument("--temperature", type=float, default=0.1, help="0.01 to 10 (default: 0.1)")
    for name, default, fixed in (
        ("k1", [100.0, 1000.0, 5000.0, 50000.0], f"k2 = {_FIXED_K2:g}"),
        ("k2", [1.0, 2.0, 5.0, 20.0], f"k1 = {_FIXED_K1:g}"),
    ):
        shown = " ".join(f"{x:g}" for x in default)
        text = f"values of {name} that are drawn, at {fixed} (default: {shown})"
        parser.add_argument(f"--{name}", type=float, nargs="+", default=default, metavar="X", help=text)
    for name, count in (("positives", 12), ("negatives", 115)):
        text = f"{name} of the anchor, the moved one included (default: {count})"
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=text)
    options = parser.parse_args(arguments)
    _check(options)
    options.out = epath.Path(options.out)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--out is '{options.out}', which cannot be made ({error.strerror}): name a folder that can be written."
        ) from None
    return options


def _check(options: argparse.Namespace) -> None:
    if not 0.01 <= options.temperature <= 10.0:
        raise UserError(f"--temperature is {options.temperature:g}, expected a number from 0.01 to 10.")
    for name in ("k1", "k2"):
        values = getattr(options, name)
        for value in values:
            if not (math.isfinite(value) and 0.0 <= value <= 1e9):
                raise UserError(f"--{name} has {value:g}, expected numbers from 0 to 1e9.")
        if len(set(values)) < len(values) or len(values) > picture.MOST_LINES:
            raise UserError(
                f"--{name} has {len(values)} values ({' '.join(f'{x:g}' for x in values)}), expected at most "
                f"{picture.MOST_LINES} that differ: a panel has room for no more lines."
            )
    for name in ("positives", "negatives"):
        if not 1 <= getattr(options, name) <= 200:
            raise UserError(f"--{name} is {getattr(options, name)}, expected a number from 1 to 200.")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (UserError, RunFailed) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UserError) else 1)
