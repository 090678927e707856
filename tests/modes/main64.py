"""main.py in 64-bit: `python -m tests.modes.main64 --config=...`, with every flag of main.py."""

import functools
import runpy

import jax
import jax.numpy as jnp


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    from tcl_jax.experiment import parts, program  # what these hold of arrays is made after the choice

    parts.make_encoder = functools.partial(parts.make_encoder, param_dtype=jnp.float64)
    program.with_head = functools.partial(program.with_head, param_dtype=jnp.float64)
    runpy.run_path("main.py", run_name="__main__")


if __name__ == "__main__":
    main()
