"""Images per second of augmentation: ours, all on this machine's cores, and PIL's or torchvision's in worker processes.

    python -m benchmarks.augment
    python -m benchmarks.augment --size 224 --batch 32

Ours is one jitted program for a batch. The reference makes views by the same policy one by one, from arrays in memory
through PIL images to arrays, in as many processes as there are cores: torchvision's transforms where torchvision is
installed, otherwise the same operations of PIL called directly, which leaves out all that torchvision adds around them.
Both run in turns; the best of several rounds counts. The page goes to stdout, and with its record to --output.
"""

import argparse
import concurrent.futures
import functools
import importlib.metadata
import importlib.util
import multiprocessing
import pathlib
import random
import sys
from collections.abc import Callable

import numpy as np

PADDING = 4
POLICIES = ("crop_flip", "autoaug_cifar", "autoaug_imagenet", "randaug(2,9)")
HAVE_TORCHVISION = importlib.util.find_spec("torchvision") is not None


def main() -> None:
    options = _parse(sys.argv[1:])
    import jax

    from benchmarks import machine, results
    from benchmarks.timing import interleave
    from tcl_jax.augment import make_policy

    images = np.random.default_rng(0).integers(
        0, 256, (options.batch, options.size, options.size, 3), np.uint8
    )
    placed = jax.device_put(images)
    keys = jax.random.split(jax.random.key(0), options.batch)
    cores = machine.num_cores()
    record = results.start(options.output) | {
        "pillow": importlib.metadata.version("pillow"),
        "reference": _reference_name(),
        "workers": cores,
        "batch": options.batch,
        "size": options.size,
        "policies": {},
    }
    # "spawn": a copy of a process in which JAX's threads run may hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(cores, context, _start_worker, (images,)) as pool:
        for name in POLICIES:
            policy = jax.jit(jax.vmap(make_policy(name, crop_padding=PADDING, flip=True)))
            work = functools.partial(_work, name, options.images // cores)

            def ours(policy=policy) -> None:
                jax.block_until_ready([policy(keys, placed) for _ in range(options.steps)])

            def reference(work=work) -> None:
                list(pool.map(work, range(cores)))

            ours(), reference()  # compiling, starting processes
            times, failed = interleave({"ours": ours, "reference": reference}, options.seconds, at_least=3)
            if failed:
                raise RuntimeError(f"{name}: {failed}")
            rates = {
                "ours": options.steps * options.batch / min(times["ours"]),
                "reference": options.images // cores * cores / min(times["reference"]),
            }
            record["policies"][name] = rates | {"all_seconds": times}
            print(
                f"{name}: {rates['ours']:,.0f} and {rates['reference']:,.0f} images/s",
                file=sys.stderr,
                flush=True,
            )
    name = f"augment_{options.size}_{machine.device_name()}"
    print(results.write(record, page, options.output, name))


def _reference_name() -> str:
    if HAVE_TORCHVISION:
        return f"torchvision {importlib.metadata.version('torchvision')} on PIL images"
    return "PIL called directly (torchvision is not installed)"


def page(record: dict) -> str:
    """Markdown: images per second of each policy."""
    from benchmarks import results

    rows = [
        [f"`{name}`", f"{ours:,.0f}", f"{reference:,.0f}", f"{ours / reference:.2f}"]
        for name, rates in record["policies"].items()
        for ours, reference in [(rates["ours"], rates["reference"])]
    ]
    return results.page(
        f"Augmentation of {record['size']} x {record['size']} images of three channels, images per second",
        record,
        f"Ours: batches of {record['batch']}. Reference: {record['reference']}, Pillow {record['pillow']}, "
        f"{record['workers']} processes. Best of several rounds in turns.",
        results.table(["policy", "ours", "reference", "ratio"], rows),
    )


def _start_worker(images: np.ndarray) -> None:
    global IMAGES
    IMAGES = images


def _work(name: str, count: int, seed: int) -> None:
    """So many views by the reference in a worker process."""
    view = _torchvision_view(name, IMAGES.shape[1]) if HAVE_TORCHVISION else _pil_view(name)
    random.seed(seed)
    for number in range(count):
        np.asarray(view(_to_pil(IMAGES[number % len(IMAGES)])))


def _to_pil(image: np.ndarray):
    from PIL import Image

    return Image.fromarray(image)


def _torchvision_view(name: str, size: int) -> Callable:
    import torch
    from torchvision import transforms as t

    torch.set_num_threads(1)
    imagenet = name == "autoaug_imagenet"
    crop = t.RandomResizedCrop(size) if imagenet else t.RandomCrop(size, padding=PADDING)
    after = {
        "crop_flip": [],
        "autoaug_cifar": [t.AutoAugment(t.AutoAugmentPolicy.CIFAR10)],
        "autoaug_imagenet": [t.AutoAugment(t.AutoAugmentPolicy.IMAGENET)],
        "randaug(2,9)": [t.RandAugment(2, 9)],
    }
    return t.Compose([crop, t.RandomHorizontalFlip(), *after[name]])


def _pil_view(name: str) -> Callable:
    """The same policy by PIL alone, with Python's random numbers and tables made once."""
    from PIL import Image, ImageOps

    from tcl_jax.augment.autoaugment import CIFAR, IMAGENET, RAND_OPERATIONS
    from tcl_jax.augment.autoaugment_ops import SIGNED, magnitude_of
    from tests.augment import pil

    def view(image):
        size = image.size[0]
        if name == "autoaug_imagenet":
            side = max(1, round(size * random.uniform(0.08, 1) ** 0.5))  # square: the ratio costs nothing
            left, top = random.randint(0, size - side), random.randint(0, size - side)
            box = (left, top, left + side, top + side)
            image = image.resize((size, size), Image.Resampling.BILINEAR, box)
        else:
            left, top = random.randint(0, 2 * PADDING), random.randint(0, 2 * PADDING)
            image = ImageOps.expand(image, PADDING).crop((left, top, left + size, top + size))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        for operation, magnitude in draw(size):
            sign = -1 if operation in SIGNED and random.random() < 0.5 else 1
            image = pil.apply(image, operation, sign * magnitude)
        return image

    def draw(size: int) -> list[tuple[str, float]]:
        if name == "crop_flip":
            return []
        if name.startswith("randaug"):
            return [(n, magnitude_of(n, 9, 31, size, size)) for n in random.choices(RAND_OPERATIONS, k=2)]
        lines = CIFAR if name == "autoaug_cifar" else IMAGENET
        return [
            (operation, magnitude_of(operation, number, 10, size, size))
            for operation, probability, number in random.choice(lines)
            if random.random() < probability
        ]

    return view


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augment", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--size", type=int, default=32, help="height and width of the images (default: 32)")
    parser.add_argument("--batch", type=int, default=512, help="images per call of ours (default: 512)")
    parser.add_argument("--steps", type=int, default=20, help="calls of ours per round (default: 20)")
    parser.add_argument(
        "--images", type=int, default=10_000, help="of the reference per round (default: 10000)"
    )
    parser.add_argument("--seconds", type=float, default=20, help="spent on each policy (default: 20)")
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path(__file__).parent / "results", help="a folder"
    )
    options = parser.parse_args(arguments)
    for name in ("size", "batch", "steps", "images", "seconds"):
        if getattr(options, name) <= 0:
            parser.error(f"--{name} is {getattr(options, name)}, expected a number above 0")
    return options


if __name__ == "__main__":
    main()
