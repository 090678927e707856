"""A trained encoder, with all that is needed to use it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tcl_jax.models import ContrastiveModel
from tcl_jax.models.description import EncoderDescription
from tcl_jax.models.layout import of_encoder


class TrainedEncoder(NamedTuple):
    """An encoder, its head where there is one, and their description.

    Attributes:
      model: encoder and head.
      variables: of the model; those of the head may be missing.
    """

    model: ContrastiveModel
    variables: Mapping[str, Any]
    description: EncoderDescription

    @property
    def encoder_variables(self) -> dict[str, Any]:
        """The variables of the encoder alone."""
        return of_encoder(self.variables)

    @property
    def has_projection(self) -> bool:
        """Whether there is a projection head: not after training with cross-entropy."""
        return self.description.head == "projection" and "head" in self.variables["params"]
