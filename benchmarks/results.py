"""What a benchmark leaves: its record as JSON, and a page that is made of the record alone."""

import json
import os
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import flags
from etils import epath

from benchmarks import machine
from tcl_jax.files import write_whole_bytes

Record = dict[str, Any]

FOLDER = pathlib.Path(__file__).parent / "results"
OUTPUT = flags.DEFINE_string("output", str(FOLDER), "Folder for the record, its page and its pictures.")

# Where data and results are differs between machines, and changes nothing that is measured.
_FOLDER_OPTIONS = ("--config.data.data_dir", "--data_dir", "--runs", "--output")


def start(folder: str | pathlib.Path) -> Record:
    """The record of a benchmark that begins now and will be written into `folder`.

    Raises:
      SystemExit: the folder cannot be written.
    """
    check_folder(folder)
    return {"command": command(), "date": time.strftime("%Y-%m-%d"), "load_before": machine.load()}


def check_folder(folder: str | pathlib.Path) -> None:
    """Raises a SystemExit where the folder cannot be written, which is better known before hours of work."""
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(
            f"error: --output is '{folder}', which is not a folder: {error.strerror}."
        ) from error
    if not os.access(folder, os.W_OK):
        raise SystemExit(f"error: --output is '{folder}', a folder that cannot be written.")


def write(
    record: Record,
    make_page: Callable[[Record], str],
    folder: str | pathlib.Path,
    name: str,
    draw: Callable[[Record], Mapping[str, bytes]] = lambda record: {},
) -> str:
    """Write the record, with the machine, its page and its pictures, and return the page."""
    # The machine last: asking JAX for its devices takes their memory, which commands of main.py may need before.
    record |= {"machine": machine.describe(), "load_after": machine.load()}
    return write_files(record, make_page, folder, name, draw)


def write_files(
    record: Record,
    make_page: Callable[[Record], str],
    folder: str | pathlib.Path,
    name: str,
    draw: Callable[[Record], Mapping[str, bytes]],
) -> str:
    """Write name.json, name.md and a name_<what>.png for each picture by its <what>, and return the page."""
    files = {f"{name}_{what}.png": png for what, png in draw(record).items()}
    text = with_pictures(make_page(record), list(files))
    files |= {f"{name}.json": (json.dumps(record, indent=1) + "\n").encode(), f"{name}.md": text.encode()}
    for file, content in files.items():
        write_whole_bytes(epath.Path(folder) / file, content)
    return text


def with_pictures(text: str, files: Sequence[str]) -> str:
    """A page with links to the pictures beside it."""
    return text + "".join(f"\n![{file}]({file})\n" for file in files)


def page(title: str, record: Record, *parts: str, packages: Sequence[str] = ("jax",)) -> str:
    """Markdown: the title, the command, when and where it ran, then the parts that are not empty.

    Args:
      packages: whose versions matter.
    """
    computer = record["machine"]
    load = (
        f"; load {record['load_before']} before and {record['load_after']} after"
        if "load_after" in record
        else ""
    )
    ran_on = f"{record['date']}; {machine_of(record, packages, computer['versions'])}{load}."
    return text_of(f"# {title}", f"    {record['command']}", ran_on, *parts)


def machine_of(record: Record, packages: Sequence[str], versions: Mapping[str, str]) -> str:
    """The machine of a record and the versions of some packages, in words."""
    computer = record["machine"]
    count = f"{record['devices']} x " if "devices" in record else ""
    found = ", ".join(f"{name} {versions[name]}" for name in packages)
    cores = f"{computer['cores']} core{'s' * (computer['cores'] != 1)}"
    return f"{count}{computer['device']} ({computer['processor']}), {cores}, {found}"


def text_of(*parts: str) -> str:
    """Markdown of the parts that are not empty."""
    return "\n\n".join(filter(None, parts)) + "\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A table in Markdown; the first `texts` columns are texts, the others numbers.

    >>> print(table(["", "time"], [["a step", "1 ms"]]))
    | | time |
    | --- | ---: |
    | a step | 1 ms |
    """
    rule = ["---"] * texts + ["---:"] * (len(heads) - texts)
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in row) for row in (heads, rule, *rows)
    )


def command() -> str:
    """What to type for the same benchmark on another machine."""
    kept, words = [], iter(sys.argv[1:])
    for word in words:
        if word.partition("=")[0] not in _FOLDER_OPTIONS:
            kept.append(word)
        elif "=" not in word:
            next(words, None)  # the folder is a word of its own
    return shlex.join(["python", "-m", f"benchmarks.{pathlib.Path(sys.argv[0]).stem}", *kept])
