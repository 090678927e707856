"""Records public_*.npz: values and gradients of public code for the losses, on small seeded batches.

    python3.11 -m venv public && public/bin/pip install torch==2.14.1 lightly==1.6.0 open-clip-torch==3.3.0 \
        pytorch-metric-learning==2.9.0 tensorflow-cpu==2.21.0 tf-keras==2.21.0 six==1.17.0
    public/bin/python tests/golden/record_public.py --google DIR --sincere DIR --supcontrast DIR --dcl DIR \
        --hcl DIR

The folders are checkouts of code that is not in a package index:

    --google       google-research/google-research, commit 0c1bbe5fc971a1de1a427debc814e66ab4f1e7fa, its folder supcon
    --sincere      tufts-ml/SupContrast, commit f307724805294e5274b444604cb9257f80f3f207
    --supcontrast  HobbitLong/SupContrast, commit 66a8fe53880d6a1084b2e4e0db0a019024d6d41a
    --dcl          raminnakhli/Decoupled-Contrastive-Learning, commit 0b9b76db81c465a6489598553facab7686927b13
    --hcl          joshr17/HCL, commit 7b4647fac271c78a2a9d619fe3f2929ecfaf33df

A file holds the inputs by name, `value`, `gradient_NAME` for each input that was differentiated, and `source`: the
function, its version and options. All is float64 but the code of google-research, which casts to float32. Views are
stacked view by view. How each function reads as a call of ours is in tests/losses/test_public.py.
"""

import argparse
import ast
import os
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np

RNG = np.random.default_rng(17)
IMAGES, D = 6, 3
ROWS = RNG.normal(size=(2 * IMAGES + 8, D))
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
FIRST, SECOND, QUEUE = np.split(ROWS, [IMAGES, 2 * IMAGES])
CLASSES = np.array([0, 0, 1, 1, 1, 2])
BATCH = dict(embeddings=np.concatenate([FIRST, SECOND]), temperature=0.2)
ONE_VIEW = dict(embeddings=FIRST, temperature=0.2)
TOWERS = dict(a=FIRST, b=SECOND, scale=5.0)
QUEUED = dict(queue=QUEUE, queue_labels=np.array([0, 1, 1, 2, 0, 3, 1, 3]))


def save(name, source, value, inputs, gradients, constants):
    gradients = {f"gradient_{key}": np.asarray(x) for key, x in gradients.items()}
    path = Path(__file__).parent / f"public_{name}.npz"
    np.savez_compressed(path, source=source, value=value, **inputs, **gradients, **constants)


def record(name, source, loss, inputs, **constants):
    """loss(**inputs, **constants) of PyTorch, and its gradients by the inputs."""
    import torch

    leaves = {key: torch.tensor(x, dtype=torch.float64, requires_grad=True) for key, x in inputs.items()}
    value = loss(**leaves, **{key: torch.from_numpy(x) for key, x in constants.items()})
    gradients = torch.autograd.grad(value, list(leaves.values()))
    save(name, source, value.detach().numpy(), inputs, dict(zip(leaves, gradients, strict=True)), constants)


def record_google(folder):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # it is older than Keras 3
    sys.path.insert(0, folder)
    import tensorflow as tf

    enums, losses = import_module("supcon.enums"), import_module("supcon.losses")

    def record_tf(name, inputs, constants, **options):
        inputs, constants = ({key: np.float32(x) for key, x in part.items()} for part in (inputs, constants))
        leaves = {key: tf.constant(x) for key, x in inputs.items()}
        with tf.GradientTape() as tape:
            tape.watch(leaves)
            views = tf.concat([leaves["embeddings"], *constants.values()], 0)
            features = tf.transpose(tf.reshape(views, [-1, IMAGES, D]), [1, 0, 2])
            each = losses.contrastive_loss(features, tf.one_hot(CLASSES, 3), leaves["temperature"], **options)
            value = tf.reduce_mean(each)
        chosen = ", ".join(map(str, options.values()))
        source = f"google-research 0c1bbe5, tensorflow {tf.__version__}: contrastive_loss, {chosen}"
        constants["labels"] = np.resize(CLASSES, len(inputs["embeddings"]))
        save(f"google_{name}", source, value, inputs, tape.gradient(value, leaves), constants)

    for place in enums.LossSummationLocation:
        for mode in enums.LossDenominatorMode:
            name = f"{place.name}_{mode.name}".lower()
            record_tf(name, BATCH, {}, summation_location=place, denominator_mode=mode)
    one_view = enums.LossContrastMode.ONE_VIEW
    record_tf("one_view", ONE_VIEW, dict(second_view=SECOND), contrast_mode=one_view)
    record_tf("single_view", ONE_VIEW, {})


def of_two_views(loss):
    return lambda embeddings, temperature: loss(temperature)(*embeddings.split(IMAGES))


def record_checkouts(*folders):
    sys.path[:0] = folders  # the second has another losses.py
    sincere, supcon = import_module("revised_losses").SINCERELoss, import_module("losses").SupConLoss

    def of_labels(embeddings, temperature, labels):
        return sincere(temperature)(embeddings, labels)

    def of_mask(embeddings, temperature, labels):
        return supcon(temperature)(embeddings[:, None], mask=labels @ labels.T)

    record("sincere", "tufts-ml f307724: SINCERELoss", of_labels, BATCH, labels=np.tile(CLASSES, 2))
    # The mask is cast to float32: every y_i . y_j of these is exact there.
    probabilities = RNG.multinomial(8, np.ones(4) / 4, 2 * IMAGES) / 8
    multi_hot = np.array([RNG.permutation([1] * k + [0] * (6 - k)) / k**0.5 for k in [4, 4, 1] * 4])
    source = "HobbitLong 66a8fe5: SupConLoss, base_temperature=0.07, mask=labels @ labels.T"
    record("supcontrast_probabilities", source, of_mask, BATCH, labels=probabilities)
    record("supcontrast_multi_hot", source, of_mask, BATCH, labels=multi_hot)
    record("dcl", "raminnakhli 0b9b76d: DCL, weight_fn=None", of_two_views(import_module("dcl").DCL), BATCH)


def record_hcl(folder):
    import torch

    # Importing the program would parse arguments and load data: two of its functions are enough.
    program = ast.parse(Path(folder, "image", "main.py").read_text())
    wanted = ("get_negative_mask", "criterion")
    program.body = [part for part in program.body if getattr(part, "name", "") in wanted]
    names = dict(torch=torch, np=np, device="cpu")
    exec(compile(program, folder, "exec"), names)

    def loss(embeddings, temperature, hardness):
        names["temperature"] = temperature
        return names["criterion"](*embeddings.split(IMAGES), 0.0, IMAGES, hardness, "hard")

    record("hcl", "joshr17 7b4647f: criterion, hard, tau_plus=0", loss, BATCH, hardness=np.array(0.8))


def record_lightly():
    from lightly.loss import DCLLoss, NTXentLoss

    def against_bank(embeddings, temperature, second_view, bank):
        loss = NTXentLoss(temperature, memory_bank_size=tuple(bank.shape))
        loss.memory_bank.bank = bank.clone()
        return loss(embeddings, second_view)

    source, bank = f"lightly {version('lightly')}", dict(second_view=SECOND, bank=QUEUE)
    record("lightly_ntxent", f"{source}: NTXentLoss", of_two_views(NTXentLoss), BATCH)
    record("lightly_dcl", f"{source}: DCLLoss", of_two_views(DCLLoss), BATCH)
    record("lightly_memory_bank", f"{source}: NTXentLoss, memory_bank_size", against_bank, ONE_VIEW, **bank)


def record_open_clip():
    from open_clip.loss import ClipLoss, SigLipLoss

    source, with_bias = f"open-clip-torch {version('open-clip-torch')}", TOWERS | dict(bias=-2.0)
    record("open_clip_clip", f"{source}: ClipLoss", lambda **x: ClipLoss()(*x.values()), TOWERS)
    record("open_clip_siglip", f"{source}: SigLipLoss", lambda **x: SigLipLoss()(*x.values()), with_bias)


def record_pml():
    import torch
    from pytorch_metric_learning import distances, losses

    similarity = distances.DotProductSimilarity(normalize_embeddings=False)

    def references(loss, embeddings, labels, queue, queue_labels):
        return loss(embeddings, labels, ref_emb=queue, ref_labels=queue_labels)

    def left_out(loss, embeddings, labels, left_out):
        pair = (left_out[:, None] != left_out) | (left_out < 0)
        pair.fill_diagonal_(False)
        same = labels[:, None] == labels
        return loss(embeddings, labels, (*torch.where(pair & same), *torch.where(pair & ~same)))

    def memory(loss, embeddings, labels, queue, queue_labels, enqueue_mask=None):
        memory = losses.CrossBatchMemory(loss, D, memory_size=len(queue)).double()
        memory.add_to_memory(queue, queue_labels, len(queue))
        return memory(embeddings, labels, enqueue_mask=enqueue_mask)

    def memory_keys(loss, embeddings, labels, keys, **queued):
        is_key = torch.arange(2 * len(labels)) >= len(labels)
        return memory(loss, torch.cat([embeddings, keys]), labels.repeat(2), **queued, enqueue_mask=is_key)

    def two_towers(a, b, scale, labels):
        loss = losses.SupConLoss(temperature=1 / scale, distance=similarity)
        others = labels.clone()  # were they the same tensor, pairs of the same index would not count
        by_a, by_b = (loss(x, labels, ref_emb=y, ref_labels=others) for x, y in ((a, b), (b, a)))
        return (by_a + by_b) / 2

    package = f"pytorch-metric-learning {version('pytorch-metric-learning')}"
    # Anchors with different numbers of positives, one with none; and pairs to leave out.
    uneven = dict(labels=np.array([0, 0, 1, 1, 1, 2, 0, 0, 1, 7, 1, 2]))
    videos = dict(left_out=np.array([-1, 3, 3, 5, 5, 5, 3, -1, 0, 0, 2, 5]))
    for kind in (losses.SupConLoss, losses.NTXentLoss):
        for function, inputs, constants in (
            (references, BATCH, uneven | QUEUED),
            (left_out, BATCH, uneven | videos),
            (memory, ONE_VIEW, dict(labels=CLASSES) | QUEUED),
            (memory_keys, ONE_VIEW, dict(labels=CLASSES, keys=SECOND) | QUEUED),
        ):

            def loss(temperature, kind=kind, function=function, **arrays):
                return function(kind(temperature=temperature, distance=similarity), **arrays)

            name = f"pml_{kind.__name__.removesuffix('Loss').lower()}_{function.__name__}"
            record(name, f"{package}: {kind.__name__}, {function.__name__}", loss, inputs, **constants)
    record("pml_two_towers", f"{package}: SupConLoss, both directions", two_towers, TOWERS, labels=CLASSES)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for folder in ("google", "sincere", "supcontrast", "dcl", "hcl"):
        parser.add_argument(f"--{folder}", required=True)
    folders = parser.parse_args()
    record_checkouts(folders.supcontrast, folders.sincere, os.path.join(folders.dcl, "loss"))
    record_hcl(folders.hcl)
    record_lightly()
    record_open_clip()
    record_pml()
    record_google(folders.google)  # last: with TensorFlow loaded first, importing lightly ends the process
