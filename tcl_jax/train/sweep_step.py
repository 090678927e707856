"""The step of many runs that differ in traced values alone: one compiled program makes the steps of all."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.data import Batch
from tcl_jax.parallel import DATA_AXIS
from tcl_jax.train.state import Hyper, TrainState
from tcl_jax.train.step import DeviceStep, TrainStep

Metrics = dict[str, jax.Array]


class SweepStep(Protocol):
    """How the members of a sweep share the devices. Each makes the step that it makes alone."""

    def start(self, states: Sequence[TrainState]) -> Any:
        """The states of all members, which are of one step, in the form that `__call__` takes, which donates them."""

    def __call__(
        self, states: Any, batches: Sequence[Batch], hypers: Sequence[Hyper]
    ) -> tuple[Any, list[Metrics]]:
        """One step of each member: the new states, and the metrics of each. The old states are donated.

        Args:
          batches: of each member, on the devices; either one for all (the same object) or each its own.
          hypers: of each member, with one value of diagnose.
        """

    def member(self, states: Any, number: int) -> TrainState:
        """The state of one member; it is used before the next step."""


class OneByOne:
    """The members one after the other, by the program of a single run: to the last bit what each is alone.

    The fastest way on a CPU, which a single member keeps busy (`python -m benchmarks.sweep` compares them).
    """

    def __init__(self, step: TrainStep):
        self._step = step

    def start(self, states: Sequence[TrainState]) -> list[TrainState]:
        """See `SweepStep`."""
        return list(states)

    def __call__(
        self, states: list[TrainState], batches: Sequence[Batch], hypers: Sequence[Hyper]
    ) -> tuple[list[TrainState], list[Metrics]]:
        """See `SweepStep`."""
        done = [self._step(*member) for member in zip(states, batches, hypers, strict=True)]
        return [state for state, _ in done], [metrics for _, metrics in done]

    def member(self, states: list[TrainState], number: int) -> TrainState:
        """See `SweepStep`."""
        return states[number]


class AtOnce:
    """Each operation for all members together, for devices that one member leaves idle.

    The compiler orders floating-point operations anew, so that a member agrees with its single run up to rounding.
    """

    def __init__(self, device_step: DeviceStep, mesh: Mesh):
        self._replicated = NamedSharding(mesh, P())

        def sweep_step(
            states: TrainState, batches: Batch | list[Batch], hyper: Hyper
        ) -> tuple[TrainState, list[dict[str, jax.Array]]]:
            common = batches if isinstance(batches, Batch) else None
            own = None if common else jax.tree.map(lambda *parts: jnp.stack(parts), *batches)

            def one(state: Any, settings: Any, batch: Any) -> tuple[Any, dict[str, jax.Array]]:
                hyper_of_one = Hyper(*settings)._replace(diagnose=hyper.diagnose)
                after, metrics = device_step(TrainState(states.step, *state), common or batch, hyper_of_one)
                return after[1:], metrics

            after, metrics = jax.vmap(one)(states[1:], hyper[:-1], own)
            # Each number an array of its own: the host reads them one member at a time.
            members = len(hyper.seed)
            each = [jax.tree.map(lambda x, number=number: x[number], metrics) for number in range(members)]
            return TrainState(states.step + 1, *after), each

        mapped = jax.shard_map(sweep_step, mesh=mesh, in_specs=(P(), P(DATA_AXIS), P()), out_specs=(P(), P()))
        self._step = jax.jit(mapped, donate_argnums=0)

    def start(self, states: Sequence[TrainState]) -> TrainState:
        """The members along a new first axis of each array, but for the step, which is the same for all."""

        def stack(states: Sequence[TrainState]) -> TrainState:
            own = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(state[1:] for state in states))
            return TrainState(states[0].step, *own)

        return jax.jit(stack, out_shardings=self._replicated)(list(states))

    def __call__(
        self, states: TrainState, batches: Sequence[Batch], hypers: Sequence[Hyper]
    ) -> tuple[TrainState, list[Metrics]]:
        """See `SweepStep`."""
        settings = Hyper(*map(np.stack, zip(*hypers, strict=True)))._replace(diagnose=hypers[0].diagnose)
        shared = all(batch is batches[0] for batch in batches)
        return self._step(states, batches[0] if shared else list(batches), settings)

    def member(self, states: TrainState, number: int) -> TrainState:
        """See `SweepStep`."""
        return _take(states, number)


@jax.jit
def _take(states: TrainState, number: Any) -> TrainState:
    return TrainState(states.step, *jax.tree.map(lambda x: x[number], states[1:]))
