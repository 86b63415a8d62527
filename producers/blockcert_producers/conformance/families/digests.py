"""Files that are not the ones that were signed."""

from __future__ import annotations

from hashlib import sha256

from blockcert_producers.conformance.changes import bundle, model, model_given, options, replayed, state
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS, Change, Draft, program_name
from blockcert_producers.conformance.entry import Entry, accepted, case, rejected
from blockcert_producers.conformance.families.containers import published

__all__ = ["CASES"]

DIGEST, SIZE = "integrity.digest.mismatch", "integrity.size.mismatch"
FILES = {
    "evidence": EVIDENCE,
    "prompts": PROMPTS,
    "reference-program": program_name("reference"),
    "surrogate-program": program_name("surrogate"),
    "surrogate-weights": "programs/surrogate.safetensors",
}
MODEL = {"weights": "model.safetensors", "config": "config.json", "tokenizer": "tokenizer.json"}


def flip(data: bytes) -> bytes:
    """The last byte with one bit changed."""
    return data[:-1] + bytes([data[-1] ^ 1])


def stale(name: str, kind: str) -> Change:
    """A subject whose one digest is that of nothing, signed."""

    def apply(draft: Draft) -> None:
        draft.put_digests_right()
        draft.keep_digests = True
        next(s for s in draft.statement["subject"] if s["name"] == name)["digest"][kind] = "00" * 32

    return apply


def pointer(draft: Draft) -> None:
    """A Git LFS pointer in the place of the weights."""

    def apply(d: Draft) -> None:
        data = d.model["model.safetensors"]
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data).hexdigest()}\nsize {len(data)}\n"
        d.model = {**d.model, "model.safetensors": text.encode()}

    draft.given.add("reference")
    draft.later(apply)


def other_pointer(draft: Draft) -> None:
    """A Git LFS pointer to something else in the place of the weights."""
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'00' * 32}\nsize 12\n"
    draft.given.add("reference")
    draft.later(lambda d: setattr(d, "model", {**d.model, "model.safetensors": text.encode()}))


def sums(draft: Draft) -> None:
    """The list that `sha256sum` writes of the model's files."""
    draft.published = b"".join(f"{sha256(d).hexdigest()}  {n}\n".encode() for n, d in sorted(draft.model.items()))


def weights_gone(draft: Draft) -> None:
    draft.later(lambda d: setattr(d, "model", {n: x for n, x in d.model.items() if n != "model.safetensors"}))


def _bundle_files() -> tuple[Entry, ...]:
    found: list[Entry] = []
    for name, file in FILES.items():
        found.append(
            case(
                f"digest::{name}-one-bit",
                f"One bit of {file} changed after signing",
                "BC-BND-12",
                rejected(DIGEST),
                bundle(file, flip, signed=False),
            )
        )
        found.append(
            case(
                f"digest::{name}-one-byte-more",
                f"One byte more at the end of {file}",
                "BC-BND-12",
                rejected(SIZE),
                bundle(file, lambda data: data + b"\n", signed=False),
            )
        )
    return tuple(found)


CASES = (
    *_bundle_files(),
    *(
        case(
            f"digest::model-{name}-one-bit",
            f"One bit of the model's {file} changed",
            "BC-BND-12",
            rejected(DIGEST),
            model_given,
            model(file, flip, signed=False),
        )
        for name, file in MODEL.items()
    ),
    case(
        "digest::model-cut-short",
        "The model's weights cut short by a byte",
        "BC-BND-12 BC-BND-20",
        rejected(SIZE),
        model_given,
        model("model.safetensors", lambda data: data[:-1], signed=False),
    ),
    case(
        "digest::model-file-missing",
        "A file of the model is not there",
        "BC-BND-10 BC-BND-20",
        rejected("file.missing"),
        model_given,
        weights_gone,
    ),
    case(
        "digest::stated-blake3",
        "A signed BLAKE3 digest that is not the file's",
        "BC-BND-11 BC-BND-12",
        rejected(DIGEST),
        stale(EVIDENCE, "blake3"),
    ),
    case(
        "digest::stated-sha256",
        "A signed SHA-256 digest that is not the file's, looked at",
        "BC-BND-12",
        rejected(DIGEST),
        stale(EVIDENCE, "sha256"),
        options(all_digests=True),
    ),
    case(
        "digest::stated-sha256-unlooked-at",
        "The same, by a verifier that compares BLAKE3 only",
        "BC-BND-12",
        accepted(),
        stale(EVIDENCE, "sha256"),
    ),
    case(
        "digest::digest-missing",
        "A subject without its SHA-256",
        "BC-BND-11",
        rejected("json.type"),
        state("$.subject[0].digest", lambda _: {"blake3": "00" * 32}),
        lambda draft: setattr(draft, "keep_digests", True),
    ),
    case(
        "digest::published",
        "What is published of the model is what was signed",
        "BC-BND-21",
        accepted("integrity.published"),
        sums,
    ),
    case(
        "digest::published-otherwise",
        "What is published of the model is something else",
        "BC-BND-21",
        rejected("integrity.published"),
        published(f"{'00' * 32}  model.safetensors\n".encode()),
    ),
    case(
        "digest::pointer",
        "A Git LFS pointer in the place of the weights: the model is not at hand",
        "BC-BND-21 BC-VER-04",
        accepted("integrity.published integrity.reference replay.not_run"),
        replayed,
        pointer,
    ),
    case(
        "digest::pointer-otherwise",
        "A Git LFS pointer to other weights",
        "BC-BND-21",
        rejected("integrity.published"),
        replayed,
        other_pointer,
    ),
)
