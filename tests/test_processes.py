"""How a process learns that it is one of several."""

import jax
import pytest

from tcl_jax import processes
from tcl_jax.errors import UserError


@pytest.fixture
def initialized(monkeypatch):
    """The options of every call of jax.distributed.initialize, which does nothing."""
    calls = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: calls.append(options))
    for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return calls


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # the batch script itself, not a task of srun
        ({"SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "Slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "Open MPI"),
    ],
)
def test_who_started_the_processes(environment, found):
    assert processes.detect(environment) == found


@pytest.mark.parametrize("platforms", [{}, {"JAX_PLATFORMS": "tpu,cpu"}, {"JAX_PLATFORMS": "cpu"}])
def test_a_machine_with_tpu_chips_and_their_library_is_a_tpu_unless_another_platform_is_asked(
    platforms, monkeypatch
):
    monkeypatch.setattr(
        processes.glob, "glob", lambda pattern: ["/dev/vfio/0"] * pattern.startswith("/dev/vf")
    )
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name == "libtpu")
    assert processes.detect(platforms) == (None if platforms.get("JAX_PLATFORMS") == "cpu" else "the TPU")
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    assert processes.detect({}) is None


def test_a_process_alone_starts_nothing(initialized):
    processes.start(None, None, None)
    processes.start(None, 1, None)
    assert initialized == []


def test_the_environment_is_left_to_jax_and_flags_are_not(initialized, monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    processes.start(None, 1, None)  # alone, whatever the environment says
    assert initialized == []
    processes.start(None, None, None)
    processes.start("host0:8476", 4, 3)
    assert initialized == [
        {},
        {
            "coordinator_address": "host0:8476",
            "num_processes": 4,
            "process_id": 3,
            "cluster_detection_method": "deactivate",
        },
    ]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("host0:8476", 2, None), "belong together, .* give all three, or none"),
        ((None, 2, 0), "belong together"),
        ((None, None, 0), "belong together"),
        (("host0", 2, 0), "--coordinator is 'host0', expected host:port"),
        ((":8476", 2, 0), "--coordinator is ':8476', expected host:port"),
        (("host0:8476", 2, 2), "--process_id is 2, expected 0 to 1"),
        (("host0:8476", 2, -1), "--process_id is -1, expected 0 to 1"),
    ],
)
def test_flags_that_do_not_fit_are_refused(initialized, flags, sentence):
    with pytest.raises(UserError, match=sentence):
        processes.start(*flags)
    assert initialized == []


def test_processes_that_do_not_meet_are_a_mistake_with_a_way_out(monkeypatch):
    def fail(**options):
        raise RuntimeError("DEADLINE_EXCEEDED")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    with pytest.raises(
        UserError, match=r"do not find each other, .* \(DEADLINE_EXCEEDED\): .* --num_processes=1"
    ):
        processes.start("host0:8476", 2, 0)


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("no run in caf\udce9", "no run in caf\\udce9"),  # a name of a file that is not UTF-8
        ("\ud800", "\\ud800"),
        ("日本 is not here", "日本 is not here"),
        ("x" * 1200, "x" * 1000),
    ],
)
def test_any_text_reaches_the_other_processes(monkeypatch, text, sent):
    monkeypatch.setattr(processes.multihost_utils, "process_allgather", lambda data: [data, data])
    assert processes._of_all(text) == [sent, sent]


def test_with_one_process_everything_is_the_plain_thing():
    marker = object()  # nothing that JSON knows: it is not sent anywhere
    assert processes.is_first()
    assert processes.on_first(lambda: marker) is marker
    assert processes.together(lambda: marker) is marker
