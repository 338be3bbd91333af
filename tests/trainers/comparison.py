"""What SimpleTuner decided, beside what fluxlora says that it will."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from fluxlora.dataset import Picture, Wanted, scan
from fluxlora.trainer import buckets, caches
from fluxlora.trainer.buckets import Backend, BackendBuckets, Batching

# How the trainer ends where a bucket is too small for a step, and where no image is left.
ENDS = ("zero usable batches", "no usable samples")


def predicted(question: Mapping[str, Any], version: str) -> list[BackendBuckets]:
    """In the order in which the trainer takes the backends."""
    given = question["options"]
    batching = batching_of(question)
    found = []
    for entry in question["backends"]:
        backend = Backend.of(entry, given, version)
        found.append(buckets.assign_buckets(pictures(entry["instance_data_dir"], version), backend, batching))
    return found


def latent_file(picture: str) -> str:
    """In the backend's cache_dir_vae. Pictures of one name and folder share it, whatever their suffixes."""
    path = PurePosixPath(picture)
    return str(path.with_name(f"{sha256(path.stem.encode()).hexdigest()}.pt"))


@cache
def pictures(folder: str, version: str) -> tuple[Picture, ...]:
    return scan(Path(folder), Wanted(simpletuner_version=version)).pictures


def batching_of(question: Mapping[str, Any]) -> Batching:
    given = question["options"]
    return Batching(
        given.get("train_batch_size", 1),
        given.get("gradient_accumulation_steps", 1),
        question["gpus"],
        given.get("allow_dataset_oversubscription", False),
        not given.get("disable_bucket_pruning", False),
    )


def differences(question: Mapping[str, Any], answer: Mapping[str, Any], version: str) -> Iterator[str]:
    """Every way in which the prediction is not what happened."""
    if "error" not in answer and "at_first" in answer and bool(answer["at_first"]) != (version == "3.1.6"):
        yield f"the first start on several GPUs: {answer['at_first'] or 'goes on'}"
    every = predicted(question, version)
    by_lot = any(made.backend.frame.by_lot for made in every)
    ended = answer.get("error", "")
    if ended and not any(reason in ended for reason in ENDS):
        yield f"the trainer failed: {ended}"
        return
    for entry, made in zip(question["backends"], every, strict=True):
        name = entry["id"]
        yield from (f"{name}: {each}" for each in _files(entry, made))
        if not made.backend.frame.by_lot:
            if made.unusable or not made.buckets:
                if not ended:
                    yield f"{name}: the trainer goes on, with {answer['batches'][name]} batches"
                return
            if not ended and made.batches != answer["batches"][name]:
                yield f"{name}: {made.batches} batches, not {answer['batches'][name]}"
        elif ended:
            return
    if by_lot:
        return
    if ended:
        yield f"the trainer ends: {ended}"
    elif (steps := buckets.steps_per_epoch(every, batching_of(question))) != answer["steps_per_epoch"]:
        yield f"{steps} steps an epoch, not {answer['steps_per_epoch']}"


def _files(entry: Mapping[str, Any], made: BackendBuckets) -> Iterator[str]:
    folder = Path(entry["instance_data_dir"])
    suffix = entry["cache_file_suffix"]
    metadata = folder / f"aspect_ratio_bucket_metadata_{suffix}.json"
    if not metadata.exists():
        yield "the trainer did not look at it"
        return
    written = json.loads(metadata.read_text())
    shaped = {Path(file).relative_to(folder).as_posix(): facts for file, facts in written.items()}
    for file in sorted(shaped.keys() ^ made.shapes.keys()):
        yield f"{file} is {'kept' if file in shaped else 'left out'}"
    for file in sorted(shaped.keys() & made.shapes.keys()):
        facts = shaped[file]
        if not any(_same(facts, shape) for shape in made.shapes[file]):
            yield f"{file} is {facts}, none of {made.shapes[file]}"
    listed = json.loads((folder / f"aspect_ratio_bucket_indices_{suffix}.json").read_text())
    indices = {
        float(aspect): sorted(Path(file).relative_to(folder).as_posix() for file in files)
        for aspect, files in listed["aspect_ratio_bucket_indices"].items()
    }
    if made.backend.frame.by_lot:
        return
    expected = {bucket.aspect: sorted(bucket.files) for bucket in (*made.buckets, *made.unusable)}
    for aspect in sorted(indices.keys() | expected.keys()):
        if indices.get(aspect) != expected.get(aspect):
            yield f"bucket {aspect} has {indices.get(aspect)}, not {expected.get(aspect)}"


def _same(facts: Mapping[str, Any], shape: Any) -> bool:
    if (facts["aspect_ratio"], tuple(facts["target_size"])) != (shape.aspect, shape.target):
        return False
    crop = tuple(facts["crop_coordinates"])
    return tuple(facts["intermediary_size"]) == shape.intermediate and shape.crop in (None, crop)


def cached(question: Mapping[str, Any], answer: Mapping[str, Any], version: str) -> Iterator[str]:
    """Every way in which the caches of a whole training are not what was predicted."""
    if "caches" not in answer:
        yield f"there was no training: {answer}"
        return
    for entry, made in zip(question["backends"], predicted(question, version), strict=True):
        yield from _latents(_below(answer["caches"], f"vae-{entry['id']}"), made)
    found = _below(answer["caches"], "text")
    texts = [file.read_bytes().decode() for file in Path(question["backends"][0]["instance_data_dir"]).glob("*.txt")]
    expected = caches.embeds(caption for text in texts for caption in caches.captions(text, version))
    for file in sorted(found.keys() ^ expected):
        yield f"the embed {file} is {'there' if file in found else 'not there'}"
    for file, facts in found.items():
        # The tiny FLUX's embeds are 32 numbers wide, where FLUX's are 4096 and 768.
        if (shape := facts["tensors"]["prompt_embeds"]) != [[1, 512, 32], "torch.bfloat16"] or not facts["packed"]:
            yield f"the embed {file} is {shape}"


def _below(files: Mapping[str, Any], folder: str) -> dict[str, Any]:
    return {file.removeprefix(f"{folder}/"): facts for file, facts in files.items() if file.startswith(f"{folder}/")}


def _latents(found: Mapping[str, Any], made: BackendBuckets) -> Iterator[str]:
    name = made.backend.id
    expected = {latent_file(file): made.shapes[file] for bucket in made.buckets for file in bucket.files}
    for file in sorted(found.keys() ^ expected.keys()):
        yield f"{name}: the latent {file} is {'there' if file in found else 'not there'}"
    for file in found.keys() & expected.keys():
        shapes = [[list(caches.latent_shape(shape.target)), "torch.float32"] for shape in expected[file]]
        if found[file]["tensors"]["latents"] not in shapes:
            yield f"{name}: the latent {file} is {found[file]['tensors']}, none of {shapes}"
    held, reckoned = sum(facts["bytes"] for facts in found.values()), caches.latents_bytes(made)
    if abs(held / reckoned - 1) > 0.03:
        yield f"{name}: the latents take {held} bytes, not {reckoned}"
