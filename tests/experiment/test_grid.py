"""What is asked of a sweep, and the members that come of it."""

import pytest

from configs import digits_tcl
from tcl_jax.errors import UserError
from tcl_jax.experiment.grid import grid, parse_axes


@pytest.fixture
def config():
    return digits_tcl.get_config()


def test_every_combination_is_a_member_with_its_values(config):
    words = ["loss.k1=1,5e3", "train.learning_rate=0.01,0.1,0.123456789", "seed=7"]
    points = grid(config, parse_axes(words, config))
    assert len(points) == 6
    assert points[0].name == "k1=1_learning_rate=0.01_seed=7"
    assert points[-1].name == "k1=5000_learning_rate=0.123456789_seed=7"  # to the last digit
    found = {(p.config.loss.k1, p.config.train.learning_rate, p.config.seed) for p in points}
    assert found == {(k1, rate, 7) for k1 in (1.0, 5000.0) for rate in (0.01, 0.1, 0.123456789)}
    assert all(p.config.train.epochs == config.train.epochs for p in points)
    assert config.loss.k1 == digits_tcl.get_config().loss.k1  # the one given is as it was


MISTAKES = {
    "nothing": ([], "Nothing is given to sweep: name fields and values, as in --sweep=loss.k1=10,100,1000"),
    "no values": (["loss.k1"], "--sweep is 'loss.k1', expected a field and values"),
    "empty": (["loss.k1="], "--sweep is 'loss.k1=', expected a field and values"),
    "schedules": (
        ["train.schedule=cosine,linear"],
        "'train.schedule' cannot be swept, .* a run for each value",
    ),
    "norms": (["train.clip_norm=0,1"], "'train.clip_norm' cannot be swept, .* a run for each value"),
    "decays": (["train.layer_decay=0.5,1"], "'train.layer_decay' cannot be swept, .* a run for each value"),
    "another field": (["model.width=8,16"], "'model.width' cannot be swept, expected one of loss.k1"),
    "no number": (["loss.k1=10,many"], "'many' is given to --sweep for loss.k1, expected a number"),
    "part of a seed": (["seed=0.5"], "'0.5' is given to --sweep for seed, expected a whole number"),
    "twice": (["loss.k1=1", "loss.k1=2"], "loss.k1 is there twice in --sweep"),
    "value twice": (["loss.k1=10,1e1"], r"--sweep names a value of loss.k1 twice \(10,1e1\)"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_reported_in_one_sentence(config, mistake):
    words, sentence = MISTAKES[mistake]
    with pytest.raises(UserError, match=sentence):
        parse_axes(words, config)


@pytest.mark.parametrize(("loss", "field"), [("supcon", "loss.k1"), ("cross_entropy", "loss.temperature")])
def test_a_field_without_effect_on_the_loss_is_refused(config, loss, field):
    config.loss.name = loss
    with pytest.raises(UserError, match=f"{field} has no effect on the loss '{loss}'"):
        parse_axes([f"{field}=1,2"], config)
    assert parse_axes(["seed=1,2"], config) == {"seed": (1, 2)}
