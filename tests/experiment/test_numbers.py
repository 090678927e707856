"""Every number of a config has its range, and every field a value of its kind."""

import re

import pytest

from configs import digits_tcl
from tcl_jax.config import defaults
from tcl_jax.errors import UserError
from tcl_jax.experiment.build import build_experiment
from tcl_jax.experiment.parts import check_numbers
from tcl_jax.fields import flat_items

INF, NAN = float("inf"), float("nan")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.getbasetemp() / "data")


NUMBERS = [
    field
    for field, default in flat_items(defaults())
    if isinstance(default, int | float) and not isinstance(default, bool)
]


@pytest.mark.parametrize("field", NUMBERS)
def test_every_number_is_refused_by_the_name_of_its_field(field):
    """Values that no field of its kind can have; the data are not needed to see it."""
    whole = isinstance(dict(flat_items(defaults()))[field], int)
    for value in (-2, None, *((True,) if whole else (NAN, INF, -INF, 1e300))):
        config = defaults()
        config.update_from_flattened_dict({field: value})
        with pytest.raises(
            UserError, match=rf"^{field} is {re.escape(str(value))}(\.0)?, expected .*\d"
        ) as caught:
            check_numbers(config)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "field",
    sorted(
        {
            "train.epochs",
            "probe.epochs",
            "train.batch_size",
            "probe.batch_size",
            "train.warmup_epochs",
            "train.micro_batch_size",
            "validation.images",
            "augment.crop_padding",
            "model.width",
            "model.projection_dim",
            "data.image_size",
            "data.train_images_of_class",
            "loss.queue_size",
            "seed",
        }
    ),
)
def test_a_huge_number_is_refused_before_it_takes_memory(field, data_dir):
    for value in (10**10, 2**63):
        config = digits_tcl.get_config()
        config.data.data_dir = data_dir
        config.update_from_flattened_dict({field: value})
        with pytest.raises(UserError, match=rf"^{field} is {value}, ") as caught:
            build_experiment(config)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["loss.name", "model.remat", "augment.views", "data.train_split", "log.to"])
def test_a_field_of_another_kind_without_a_value(field):
    config = defaults()
    config.update_from_flattened_dict({field: None})
    with pytest.raises(UserError, match=f"^{field} is None, expected a value"):
        check_numbers(config)


@pytest.mark.parametrize("field", ["augment.views", "evaluation.metrics", "log.to"])
def test_names_that_are_numbers(field):
    config = defaults()
    config.update_from_flattened_dict({field: (3,)})
    with pytest.raises(UserError, match=rf"^{field} is \(3,\), expected names"):
        check_numbers(config)
