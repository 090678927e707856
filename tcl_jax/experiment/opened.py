"""A run at work: its folder is held, its settings are those of the folder, and its state is that of its checkpoint."""

import contextlib
import dataclasses
from collections.abc import Iterator

from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Experiment
from tcl_jax.processes import is_first, on_first
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.metrics_log import MetricsLog, NoLog
from tcl_jax.run.stored import Position
from tcl_jax.run.workdir import ConfigFile, Workdir
from tcl_jax.train.member import Member, Outcome
from tcl_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class Run:
    """A run and how far it is.

    Attributes:
      name: of its config, for people.
      experiment: what it is made of.
      workdir: its folder, which this process holds.
      checkpoints: its own.
      state: of the checkpoint that was read; None where there is none.
      position: of that state.
    """

    name: str
    experiment: Experiment
    workdir: Workdir
    checkpoints: Checkpoints
    state: TrainState | None
    position: Position

    @property
    def step(self) -> int:
        """Updates done so far."""
        return 0 if self.state is None else int(self.state.step)

    def at(self, outcome: Outcome) -> "Run":
        """The run where training has left it."""
        return dataclasses.replace(self, state=outcome.state, position=outcome.position)

    def begun(self) -> TrainState:
        """Its state, or where there is none that before the first step."""
        if self.state is not None:
            return self.state
        return self.experiment.program.initial_state(self.experiment.settings.seed)

    def evaluable(self) -> TrainState:
        """Its state.

        Raises:
          UserError: it has none yet.
        """
        if self.state is None:
            raise UserError(
                f"The run in {self.workdir.path} has no checkpoint yet: train it with --mode=train."
            )
        return self.state

    def as_member(self, name: str, log: MetricsLog | NoLog) -> Member:
        """The run for the training loop."""
        settings = self.experiment.settings
        return Member(
            name=name,
            hyper=settings.hyper,
            learning_rates=settings.learning_rates,
            examples=settings.split.train,
            validation=self.experiment.validation,
            log=log,
            checkpoints=self.checkpoints,
            records=log.kept,
        )

    @contextlib.contextmanager
    def logging(self) -> Iterator[MetricsLog | NoLog]:
        """The log of the run from its state on, in the first process; in the others one that does nothing."""
        if not is_first():
            yield NoLog()
            return
        with MetricsLog(
            self.workdir.metrics,
            after_step=self.step,
            sinks=self.experiment.program.parts.sinks,
            name=self.name,
            config=self.experiment.config.to_dict(),
        ) as log:
            yield log


@contextlib.contextmanager
def hold(
    name: str,
    config: ConfigDict,
    workdir: Workdir,
    *,
    config_file: ConfigFile | None = None,
    experiment: Experiment | None = None,
) -> Iterator[None]:
    """While entered, the folder is that of the run called `name` with `config`, and of no other process.

    Args:
      config_file: where the config is from; None keeps what is known.
      experiment: of the run, whose encoder and data are then described in the folder.

    Raises:
      UserError: the folder holds a run with another config, is in use, or cannot be written.
    """
    encoder = data = None
    if experiment is not None:
        encoder, data = experiment.describe_encoder(name), experiment.beginning
    with workdir.locked():
        on_first(lambda: workdir.claim(name, config, config_file=config_file, encoder=encoder, data=data))
        yield


@contextlib.contextmanager
def open_run(
    name: str,
    experiment: Experiment,
    workdir: Workdir,
    *,
    config_file: ConfigFile | None = None,
    checkpoint: str = "latest",
) -> Iterator[Run]:
    """Hold the folder of a run, and read its checkpoint; leaving ends all writing.

    Args:
      name, config_file: as for `hold`.
      checkpoint: "latest", or "best" by the metric of held-out images.

    Raises:
      UserError: as for `hold`, or there is a checkpoint but none that is the best.
      RunFailed: its checkpoints cannot be read.
    """
    with (
        hold(name, experiment.config, workdir, config_file=config_file, experiment=experiment),
        Checkpoints(workdir.checkpoints) as checkpoints,
    ):
        restore = checkpoints.restore_best if checkpoint == "best" else checkpoints.restore_latest
        restored = restore(experiment.program.state_shapes(), experiment.mesh)
        if restored is None and checkpoint == "best" and checkpoints.latest_step() is not None:
            raise UserError(
                f"The run in {workdir.path} has no best checkpoint, as none was made at the end of an epoch with "
                "validation.images above 0: evaluate the latest with --checkpoint=latest."
            )
        state, position = restored or (None, Position())
        yield Run(name, experiment, workdir, checkpoints, state, position)
