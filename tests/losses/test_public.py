"""Values and gradients of public implementations, recorded by tests/golden/record_public.py, from calls of ours."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tcl_jax import losses
from tests.losses.reference import GOLDEN, relative_error

pytestmark = pytest.mark.xdist_group("golden")  # they share what is compiled

CASES = {}


def golden(name):
    with np.load(GOLDEN / f"public_{name}.npz") as file:
        return {key: file[key] for key in file.files} | dict(name=name)


def reads_as(*names):
    """Registers how the public function behind these files reads as a call of `implementation`, a module of losses."""

    def register(loss):
        CASES.update(dict.fromkeys(names, loss))
        return loss

    return register


def image_ids(embeddings):
    return np.tile(np.arange(len(embeddings) // 2, dtype=np.int32), 2)


def normalized(embeddings):
    return embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)


def positives_of(labels, other_labels=(), left_out=None):
    """|P_i| among the rows and other columns."""
    pair = ~np.eye(len(labels), dtype=bool)
    if left_out is not None:
        pair &= (left_out[:, None] != left_out) | (left_out < 0)
    in_batch = pair & (labels[:, None] == labels)
    outside = labels[:, None] == np.asarray(other_labels, labels.dtype)
    return in_batch.sum(1) + outside.sum(1)


# google-research/google-research, supcon/, multiplies by the temperature (scale_by_temperature).
VARIANTS = {
    "google_outside_all": ("outside", "all"),
    "google_outside_one_positive": ("outside", "one_positive"),
    "google_outside_only_negatives": ("outside", "negatives"),
    "google_inside_all": ("inside", "all"),
    "google_inside_only_negatives": ("inside", "negatives"),
}


@reads_as(*VARIANTS)
def google(implementation, case, embeddings, temperature):
    positives, denominator = VARIANTS[case["name"]]
    options = dict(temperature=temperature, positives=positives, denominator=denominator)
    return temperature * implementation.supcon_loss(embeddings, case["labels"], **options)


@reads_as("google_one_view")
def google_one_view(implementation, case, embeddings, temperature):
    """ONE_VIEW: the second views are columns only."""
    return temperature * implementation.supcon_loss(
        embeddings, case["labels"], temperature=temperature, references=(case["second_view"], case["labels"])
    )


@reads_as("google_single_view")
def google_single_view(implementation, case, embeddings, temperature):
    """With a single view it divides by |P_i| once more, and anchors without a positive count in the mean, with 0."""
    losses_of_rows = implementation.supcon_loss(
        embeddings, case["labels"], temperature=temperature, reduction="none"
    )
    return temperature * jnp.mean(losses_of_rows / np.maximum(positives_of(case["labels"]), 1))


@reads_as("sincere")
def sincere(implementation, case, embeddings, temperature):
    """tufts-ml: the same mean over anchors; NaN where an anchor has no positive, which ours leaves out."""
    return implementation.supcon_loss(
        embeddings, case["labels"], temperature=temperature, denominator="one_positive"
    )


@reads_as("supcontrast_probabilities", "supcontrast_multi_hot")
def supcontrast(implementation, case, embeddings, temperature):
    """HobbitLong: a mask of labels @ labels.T is our soft labels; the factor t / t_base has t_base = 0.07."""
    return (
        temperature / 0.07 * implementation.supcon_loss(embeddings, case["labels"], temperature=temperature)
    )


@reads_as("dcl")
def dcl(implementation, case, embeddings, temperature):
    """raminnakhli: only the first views are anchors. All rows are columns, with gradients."""
    losses_of_rows = implementation.supcon_loss(
        embeddings,
        image_ids(embeddings),
        temperature=temperature,
        denominator="negatives",
        reduction="none",
    )
    return jnp.mean(losses_of_rows[: len(embeddings) // 2])


@reads_as("lightly_dcl")
def lightly_dcl(implementation, case, embeddings, temperature):
    """lightly makes the rows unit length itself, so its gradients have no part along them."""
    return implementation.supcon_loss(
        normalized(embeddings), image_ids(embeddings), temperature=temperature, denominator="negatives"
    )


@reads_as("lightly_ntxent")
def lightly_ntxent(implementation, case, embeddings, temperature):
    return implementation.supcon_loss(normalized(embeddings), image_ids(embeddings), temperature=temperature)


@reads_as("lightly_memory_bank")
def lightly_memory_bank(implementation, case, embeddings, temperature):
    """The positive of a first view is its second view; all its negatives are in the bank, as in MoCo.

    The second views of other images are no columns at all for it, so each anchor has references of its own.
    """

    def of_one(row, second_view):
        references = jnp.concatenate([second_view[None], case["bank"]])
        return implementation.supcon_loss(
            row[None],
            np.array([1]),
            temperature=temperature,
            references=(references, (np.arange(len(references)) == 0).astype(np.int32)),
        )

    return jnp.mean(jax.vmap(of_one)(normalized(embeddings), case["second_view"]))


@reads_as("open_clip_clip")
def open_clip_clip(implementation, case, a, b, scale):
    return implementation.clip_loss(a, b, scale=scale)


@reads_as("open_clip_siglip")
def open_clip_siglip(implementation, case, a, b, scale, bias):
    return implementation.siglip_loss(a, b, scale=scale, bias=bias)


@reads_as("pml_two_towers")
def pml_two_towers(implementation, case, a, b, scale):
    """SupConLoss(a, ref_emb=b) and the other way round, in which pairs of the same index count, as in UniCL."""
    return implementation.clip_loss(a, b, labels=case["labels"], scale=scale)


# pytorch-metric-learning's NTXentLoss has one positive in each denominator, and its mean is over positive pairs: over
# anchors weighted by |P_i|. (At least by 1: a row without a positive is still a column of the others, but a row of
# weight 0 is not.) The mean of its SupConLoss is over anchors with a positive, as ours is.
def pml(implementation, case, embeddings, temperature, *, counts, **options):
    if "ntxent" in case["name"]:
        options |= dict(denominator="one_positive", weights=np.maximum(counts, 1.0))
    return implementation.supcon_loss(embeddings, case["labels"], temperature=temperature, **options)


@reads_as("pml_supcon_left_out", "pml_ntxent_left_out")
def pml_left_out(implementation, case, embeddings, temperature):
    """indices_tuple lists the pairs that are not left out."""
    counts = positives_of(case["labels"], left_out=case["left_out"])
    return pml(implementation, case, embeddings, temperature, counts=counts, left_out=case["left_out"])


@reads_as("pml_supcon_references", "pml_ntxent_references")
def pml_references(implementation, case, embeddings, temperature):
    """With ref_emb the rows meet the references only."""
    return against(implementation, case, embeddings, temperature, case["queue"], case["queue_labels"])


@reads_as("pml_supcon_memory_keys", "pml_ntxent_memory_keys")
def pml_memory_keys(implementation, case, embeddings, temperature):
    """CrossBatchMemory with enqueue_mask: keys take the place of the oldest rows before queries meet the memory."""
    kept = len(case["keys"])
    columns = np.concatenate([case["keys"], case["queue"][kept:]])
    labels = np.concatenate([case["labels"], case["queue_labels"][kept:]])
    return against(implementation, case, embeddings, temperature, columns, labels)


def against(implementation, case, embeddings, temperature, columns, column_labels):
    labels = case["labels"]
    left_out = np.zeros(len(labels), np.int32)  # no pairs among the rows
    counts = positives_of(labels, column_labels, left_out)
    references = columns, column_labels
    return pml(
        implementation,
        case,
        embeddings,
        temperature,
        counts=counts,
        left_out=left_out,
        references=references,
    )


@reads_as("pml_supcon_memory", "pml_ntxent_memory")
def pml_memory(implementation, case, embeddings, temperature):
    """CrossBatchMemory: the batch takes the place of the oldest rows, and an anchor meets all but its own copy.

    So its columns are the batch and the newer references, but copies have no gradient: only that by the anchor.
    """
    kept = len(embeddings)
    references = case["queue"][kept:], case["queue_labels"][kept:]
    counts = positives_of(case["labels"], references[1])

    def of_anchor(anchor):
        constant = lax.stop_gradient(embeddings)
        rows = jnp.where(jnp.arange(kept)[:, None] == anchor, embeddings, constant)
        options = dict(counts=counts, references=references, reduction="none")
        return pml(implementation, case, rows, temperature, **options)[anchor]

    values = lax.map(of_anchor, jnp.arange(kept))
    return jnp.average(values, weights=jnp.asarray(counts if "ntxent" in case["name"] else counts > 0, float))


def dense_supcon_loss(
    embeddings,
    labels,
    *,
    temperature,
    positives="outside",
    denominator="all",
    left_out=None,
    references=None,
    weights=None,
    reduction="mean",
):
    """`losses.supcon_loss` from the matrix of all pairs, with JAX's own derivative."""
    columns, column_labels = embeddings, labels
    pair = ~np.eye(len(labels), dtype=bool)
    if left_out is not None:
        pair &= (left_out[:, None] != left_out) | (left_out < 0)
    if references is not None:
        columns = jnp.concatenate([embeddings, references[0]])
        column_labels = np.concatenate([labels, references[1]])
        pair = np.concatenate([pair, np.ones((len(labels), len(references[1])), bool)], axis=1)
    is_soft = labels.ndim == 2
    same = labels @ column_labels.T if is_soft else labels[:, None] == column_labels
    positive = pair * same.astype(float)
    share = positive / np.maximum(positive.sum(1, keepdims=True), 1e-300)
    logits = embeddings @ columns.T / temperature
    negatives = jnp.sum((pair - positive) * jnp.exp(logits), axis=1, keepdims=True)
    denominators = {
        "all": jnp.sum(pair * jnp.exp(logits), axis=1, keepdims=True),
        "one_positive": jnp.exp(logits) + negatives,
        "negatives": negatives,
    }
    logs = logits - jnp.log(denominators[denominator])
    values = -jnp.sum(share * logs, axis=1)
    if positives == "inside":
        values = -jnp.log(jnp.sum(share * jnp.exp(logs), axis=1))
    if reduction == "none":
        return values
    return jnp.average(values, weights=(positive.sum(1) > 0) * (1.0 if weights is None else weights))


def dense_clip_loss(a, b, *, labels=None, scale):
    ids = np.arange(len(a)) if labels is None else labels
    same = ids[:, None] == ids
    share = same / same.sum(axis=1)
    logits = scale * a @ b.T
    both = jax.nn.log_softmax(logits, axis=1) + jax.nn.log_softmax(logits, axis=0)
    return -jnp.sum(share * both) / 2 / len(a)


def dense_siglip_loss(a, b, *, scale, bias):
    sign = 2 * np.eye(len(a)) - 1
    return -jnp.sum(jax.nn.log_sigmoid(sign * (scale * a @ b.T + bias))) / len(a)


WRITTEN_OUT = types.SimpleNamespace(
    supcon_loss=dense_supcon_loss, clip_loss=dense_clip_loss, siglip_loss=dense_siglip_loss
)
TILES = types.SimpleNamespace(
    **{name: functools.partial(getattr(losses, name), block_size=5) for name in vars(WRITTEN_OUT)}
)


def test_every_file_is_read():
    assert sorted(CASES) == sorted(path.stem.removeprefix("public_") for path in GOLDEN.glob("public_*.npz"))


# Every case with all pairs at once and with the formula written out; in tiles, one case of each kind.
IMPLEMENTATIONS = {"whole": losses, "tiles": TILES, "written_out": WRITTEN_OUT}
IN_TILES = (
    "google_inside_all",
    "sincere",
    "supcontrast_probabilities",
    "open_clip_clip",
    "open_clip_siglip",
    "pml_two_towers",
    "pml_ntxent_left_out",
    "pml_ntxent_references",
)
RUNS = [(name, way) for name in CASES for way in IMPLEMENTATIONS if way != "tiles" or name in IN_TILES]


@pytest.mark.quick
@pytest.mark.parametrize(("name", "way"), RUNS)
def test_value_and_gradients(name, way):
    case = golden(name)
    expected = {key.removeprefix("gradient_"): x for key, x in case.items() if key.startswith("gradient_")}
    bound = 1e-5 if case["value"].dtype == np.float32 else 1e-12
    with jax.enable_x64(True):
        inputs = {key: jnp.asarray(case[key], jnp.float64) for key in expected}
        run = jax.jit(jax.value_and_grad(lambda inputs: CASES[name](IMPLEMENTATIONS[way], case, **inputs)))
        value, gradients = run(inputs)
    assert relative_error(value, case["value"]) <= bound
    for key, gradient in expected.items():
        assert relative_error(gradients[key], gradient) <= bound, key
