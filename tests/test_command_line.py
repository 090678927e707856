"""What is printed never ends a run: in any locale, and whoever reads it."""

import errno
import os
import sys

import pytest

from tcl_jax.command_line.output import print_always

STREAMS = ("stdout", "stderr")


@pytest.fixture
def printing(monkeypatch):
    """Has both streams write to a file descriptor, as Python's own do, and print always."""
    opened = []

    def to(descriptor, **options):
        for name in STREAMS:
            stream = open(os.dup(descriptor), "w", **options)  # noqa: SIM115
            opened.append(stream)
            monkeypatch.setattr(sys, name, stream)
        print_always()

    yield to
    for stream in opened:
        stream.close()


def print_on_both(text):
    for name in STREAMS:
        print(text, file=getattr(sys, name), flush=True)


@pytest.mark.quick
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_text_is_printed(printing, tmp_path, encoding):
    with (tmp_path / "out").open("wb") as file:
        printing(file.fileno(), encoding=encoding)
        print_on_both("é日本😀" + os.fsdecode(b"\xff"))
    (first, second) = (tmp_path / "out").read_bytes().decode(encoding).splitlines()
    expected = {"ascii": "\\xe9\\u65e5\\u672c\\U0001f600", "latin-1": "é\\u65e5\\u672c\\U0001f600"}
    assert first == second == expected.get(encoding, "é日本😀") + "\\udcff"


def test_a_pipe_that_nobody_reads_is_not_a_reason_to_end(printing):
    read, write = os.pipe()
    printing(write)
    os.close(write)
    print_on_both("read")
    assert os.read(read, 100) == b"read\nread\n"
    os.close(read)
    for _ in range(3):
        print_on_both("nobody reads this " * 10_000)


def test_a_terminal_that_is_gone_is_not_a_reason_to_end(printing):
    here, terminal = os.openpty()
    printing(terminal)
    os.close(terminal)
    os.close(here)
    for _ in range(2):
        print_on_both("nobody sees this")


def test_a_full_disk_is_still_an_error(printing):
    with open("/dev/full", "wb") as full:
        printing(full.fileno())
    with pytest.raises(OSError, match="No space left") as caught:
        print_on_both("lost")
    assert caught.value.errno == errno.ENOSPC
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what waits to be written finds room


def test_streams_that_were_closed_before_the_start(monkeypatch):
    for name in STREAMS:
        monkeypatch.setattr(sys, name, None)
    print_always()
    print_on_both("é")
    assert sys.stderr.isatty() is False  # as progress bars ask
    for name in STREAMS:
        getattr(sys, name).close()
