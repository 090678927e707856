"""Values and gradients of public code, recorded by tests/golden/record_public.py, as calls of our losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tcl_jax.losses import clip_loss, ntxent_loss, siglip_loss, supcon_loss
from tests.losses.reference import GOLDEN, relative_error
from tests.marks import slow

pytestmark = pytest.mark.xdist_group("golden")  # they share what is compiled

CASES = {}


def golden(name):
    with np.load(GOLDEN / f"public_{name}.npz") as file:
        return {key: file[key] for key in file.files} | dict(name=name)


def reads_as(*names):
    """Registers how the public function behind these files reads as ours: (case, embeddings, ...) -> scalar.

    `options` holds what is only passed on to our loss: temperature, or scale and bias, and block_size.
    """

    def register(loss):
        CASES.update(dict.fromkeys(names, loss))
        return loss

    return register


def image_ids(embeddings):
    return np.tile(np.arange(len(embeddings) // 2), 2)


def normalized(embeddings):
    return embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)


def positives_of(labels, other_labels=(), left_out=None):
    """|P_i| among the rows and other columns."""
    pair = ~np.eye(len(labels), dtype=bool)
    if left_out is not None:
        pair &= (left_out[:, None] != left_out) | (left_out < 0)
    among_rows = pair & (labels[:, None] == labels)
    among_others = labels[:, None] == np.asarray(other_labels, labels.dtype)
    return among_rows.sum(1) + among_others.sum(1)


# google-research/google-research, supcon/, multiplies by the temperature (scale_by_temperature).
VARIANTS = {
    "google_outside_all": dict(positives="outside", denominator="all"),
    "google_outside_one_positive": dict(positives="outside", denominator="one_positive"),
    "google_outside_only_negatives": dict(positives="outside", denominator="negatives"),
    "google_inside_all": dict(positives="inside", denominator="all"),
    "google_inside_one_positive": dict(positives="inside", denominator="one_positive"),
    "google_inside_only_negatives": dict(positives="inside", denominator="negatives"),
}


@reads_as(*VARIANTS)
def google(case, embeddings, **options):
    return options["temperature"] * supcon_loss(
        embeddings, case["labels"], **VARIANTS[case["name"]], **options
    )


@reads_as("google_one_view")
def google_one_view(case, embeddings, **options):
    """ONE_VIEW: the second views are columns only."""
    references = case["second_view"], case["labels"]
    return options["temperature"] * supcon_loss(embeddings, case["labels"], references=references, **options)


@reads_as("google_single_view")
def google_single_view(case, embeddings, **options):
    """With a single view it divides by |P_i| once more, and anchors without a positive count in the mean, with 0."""
    losses_of_rows = supcon_loss(embeddings, case["labels"], reduction="none", **options)
    return options["temperature"] * jnp.mean(losses_of_rows / np.maximum(positives_of(case["labels"]), 1))


@reads_as("sincere")
def sincere(case, embeddings, **options):
    """tufts-ml: the same mean over anchors; NaN where an anchor has no positive, which ours leaves out."""
    return supcon_loss(embeddings, case["labels"], denominator="one_positive", **options)


@reads_as("supcontrast_probabilities", "supcontrast_multi_hot")
def supcontrast(case, embeddings, **options):
    """HobbitLong: a mask of labels @ labels.T is our soft labels; the factor t / t_base has t_base = 0.07."""
    return options["temperature"] / 0.07 * supcon_loss(embeddings, case["labels"], **options)


@reads_as("dcl")
def dcl(case, embeddings, **options):
    """raminnakhli: only the first views are anchors. All rows are columns, with gradients."""
    options |= dict(denominator="negatives", reduction="none")
    return jnp.mean(supcon_loss(embeddings, image_ids(embeddings), **options)[: len(embeddings) // 2])


@reads_as("hcl")
def hcl(case, embeddings, **options):
    """joshr17: two views, tau_plus = 0."""
    return supcon_loss(embeddings, image_ids(embeddings), hardness=case["hardness"], **options)


# lightly makes the rows unit length itself, so its gradients have no part along them.
@reads_as("lightly_dcl")
def lightly_dcl(case, embeddings, **options):
    return supcon_loss(normalized(embeddings), image_ids(embeddings), denominator="negatives", **options)


@reads_as("lightly_ntxent")
def lightly_ntxent(case, embeddings, **options):
    return ntxent_loss(normalized(embeddings), **options)


@reads_as("lightly_memory_bank")
def lightly_memory_bank(case, embeddings, **options):
    """The positive of a first view is its second view; all its negatives are in the bank, as in MoCo.

    The second views of other images are no columns at all for it, so each anchor has references of its own.
    """

    def of_one(row, second_view):
        columns = jnp.concatenate([second_view[None], case["bank"]])
        references = columns, np.arange(len(columns))
        return supcon_loss(row[None], np.zeros(1, int), references=references, **options)

    return jnp.mean(jax.vmap(of_one)(normalized(embeddings), case["second_view"]))


@reads_as("open_clip_clip")
def open_clip_clip(case, a, b, **options):
    return clip_loss(a, b, **options)


@reads_as("open_clip_siglip")
def open_clip_siglip(case, a, b, **options):
    return siglip_loss(a, b, **options)


@reads_as("pml_two_towers")
def pml_two_towers(case, a, b, **options):
    """SupConLoss(a, ref_emb=b) and the other way round, in which pairs of the same index count, as in UniCL."""
    return clip_loss(a, b, labels=case["labels"], **options)


# pytorch-metric-learning's NTXentLoss has one positive in each denominator, and its mean is over positive pairs: over
# anchors weighted by |P_i|. (At least by 1: a row without a positive is still a column of the others, but a row of
# weight 0 is not.) The mean of its SupConLoss is over anchors with a positive, as ours is.
def pml(case, embeddings, counts, **options):
    if "ntxent" in case["name"]:
        options |= dict(denominator="one_positive", weights=np.maximum(counts, 1.0))
    return supcon_loss(embeddings, case["labels"], **options)


@reads_as("pml_supcon_left_out", "pml_ntxent_left_out")
def pml_left_out(case, embeddings, **options):
    """indices_tuple lists the pairs that are not left out."""
    left_out = case["left_out"]
    counts = positives_of(case["labels"], left_out=left_out)
    return pml(case, embeddings, counts, left_out=left_out, **options)


@reads_as("pml_supcon_references", "pml_ntxent_references")
def pml_references(case, embeddings, **options):
    """With ref_emb the rows meet the references only."""
    references = case["queue"], case["queue_labels"]
    left_out = np.zeros(len(embeddings), int)
    counts = positives_of(case["labels"], references[1], left_out)
    return pml(case, embeddings, counts, references=references, left_out=left_out, **options)


@reads_as("pml_supcon_memory_keys", "pml_ntxent_memory_keys")
def pml_memory_keys(case, embeddings, **options):
    """CrossBatchMemory with enqueue_mask: keys take the place of the oldest rows before queries meet the memory."""
    queue, queue_labels = case["queue"].copy(), case["queue_labels"].copy()
    queue[: len(embeddings)], queue_labels[: len(embeddings)] = case["keys"], case["labels"]
    return pml_references(case | dict(queue=queue, queue_labels=queue_labels), embeddings, **options)


@reads_as("pml_supcon_memory", "pml_ntxent_memory")
def pml_memory(case, embeddings, **options):
    """CrossBatchMemory: the batch takes the place of the oldest rows, and an anchor meets all but its own copy.

    So its columns are the batch and the newer references, but copies have no gradient: only that by the anchor.
    """
    n = len(embeddings)
    references = case["queue"][n:], case["queue_labels"][n:]
    counts = positives_of(case["labels"], references[1])

    def of_anchor(anchor):
        is_anchor = jnp.arange(n)[:, None] == anchor
        rows = jnp.where(is_anchor, embeddings, lax.stop_gradient(embeddings))
        return pml(case, rows, counts, references=references, reduction="none", **options)[anchor]

    weights = counts if "ntxent" in case["name"] else counts > 0
    return jnp.average(lax.map(of_anchor, jnp.arange(n)), weights=jnp.asarray(weights, float))


def test_every_file_is_read():
    assert sorted(CASES) == sorted(path.stem.removeprefix("public_") for path in GOLDEN.glob("public_*.npz"))


# One case of each kind.
KINDS = (
    "google_inside_all",
    "sincere",
    "supcontrast_probabilities",
    "open_clip_clip",
    "open_clip_siglip",
    "pml_two_towers",
    "pml_ntxent_left_out",
    "pml_ntxent_references",
)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("name", "block_size"),
    [(x, None) for x in KINDS]
    + slow(*((x, None) for x in CASES if x not in KINDS), *((x, 5) for x in KINDS)),
)
def test_value_and_gradients(name, block_size):
    case = golden(name)
    expected = {key.removeprefix("gradient_"): x for key, x in case.items() if key.startswith("gradient_")}
    bound = 1e-5 if case["value"].dtype == np.float32 else 1e-12
    with jax.enable_x64(True):
        inputs = {key: jnp.asarray(case[key], jnp.float64) for key in expected}
        run = jax.jit(jax.value_and_grad(lambda inputs: CASES[name](case, block_size=block_size, **inputs)))
        value, gradients = run(inputs)
    assert relative_error(value, case["value"]) <= bound
    for key, gradient in expected.items():
        assert relative_error(gradients[key], gradient) <= bound, key
