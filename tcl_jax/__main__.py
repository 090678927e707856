"""The command `tcl-jax`, which is also `python -m tcl_jax`."""

import sys

from tcl_jax.errors import missing_package


def main() -> None:
    """Start the command; without the packages that it needs it ends with one sentence and exit code 2."""
    try:
        from tcl_jax.command_line import entry

        entry.run()
    except ModuleNotFoundError as error:
        package = missing_package(error)
        if package is None:
            raise
        print(
            f"error: The package '{package}' is not installed, which the command needs: pip install 'tcl_jax[train]'.",
            file=sys.stderr,
        )
        sys.exit(2)


if __name__ == "__main__":
    main()
