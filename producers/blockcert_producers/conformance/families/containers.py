"""Folders that are no bundle, and files that are not what they seem."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from blockcert.bundle import STATEMENT
from blockcert_producers.conformance.changes import header_text, listed, model_given, replayed
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS, Change, Draft, program_name
from blockcert_producers.conformance.entry import accepted, case, refused, rejected
from blockcert_producers.conformance.seeds import throwaway_key

__all__ = ["CASES"]

PAD = 1 << 20


def on_disk(change: Callable[[Path], object]) -> Change:
    """A change of the bundle's folder as it lies on disk."""
    return lambda draft: draft.on_disk(lambda folder: change(folder / "bundle"))


def linked(bundle: Path) -> None:
    (bundle / PROMPTS).rename(bundle.parent / "elsewhere")
    (bundle / PROMPTS).symlink_to("../elsewhere")


def linked_folder(bundle: Path) -> None:
    (bundle / "programs").rename(bundle.parent / "elsewhere")
    (bundle / "programs").symlink_to("../elsewhere", target_is_directory=True)


def second_name(bundle: Path) -> None:
    os.link(bundle / PROMPTS, bundle.parent / "elsewhere")


def pipe(bundle: Path) -> None:
    os.mkfifo(bundle / "pipe")


def crowd(bundle: Path) -> None:
    for i in range(10_001):
        (bundle / f"{i}").touch()


def a_file(bundle: Path) -> None:
    data = (bundle / STATEMENT).read_bytes()
    for path in sorted(bundle.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    bundle.rmdir()
    bundle.write_bytes(data)


def missing(name: str) -> Change:
    """A file of the bundle that is gone after signing."""

    def apply(draft: Draft) -> None:
        del draft.sealed[name]

    return lambda draft: draft.later(apply)


def extra(draft: Draft) -> None:
    draft.later(lambda d: d.sealed.update({"extra.txt": b"x"}))


def gone(what: str) -> Change:
    """An input that is named and is not there."""

    def apply(draft: Draft) -> None:
        draft.missing.add(what)
        if what in ("reference", "corpus"):
            draft.given.add(what)

    return apply


def a_key(draft: Draft) -> None:
    import base64

    raw = throwaway_key("producer").public.raw
    draft.policy_bytes = b"blockcert-ed25519 " + base64.b64encode(raw) + b" corpus\n"


def policy_is_a_folder(draft: Draft) -> None:
    draft.missing.add("policy")
    draft.on_disk(lambda folder: (folder / "policy.json").mkdir())


def another_model(draft: Draft) -> None:
    """The reference's folder is there, with nothing in it that is called as one of the model's files."""
    draft.given.add("reference")
    draft.later(lambda d: setattr(d, "model", {"README.md": b"another model\n"}))


def weights_are_a_folder(draft: Draft) -> None:
    def change(folder: Path) -> None:
        (folder / "reference" / "model.safetensors").unlink()
        (folder / "reference" / "model.safetensors").mkdir()

    draft.given.add("reference")
    draft.on_disk(change)


def to_itself(draft: Draft) -> None:
    draft.missing.add("bundle")
    draft.on_disk(lambda folder: (folder / "bundle").symlink_to("bundle"))


def published(text: bytes) -> Change:
    """What is published of the model: a text."""

    def apply(draft: Draft) -> None:
        draft.published = text

    return apply


def called(what: str, name: str) -> Change:
    """The verifier is given another path for an input."""
    return lambda draft: draft.named.update({what: name})


TOO_LONG = {
    "policy": "trust.unreadable",
    "reference": "reference.not_found",
    "corpus": "corpus.not_found",
    "own": "corpus.not_found",
    "tokenizer": "corpus.not_found",
    "published": "published.unreadable",
    "revocations": "file.unreadable",
    "revocation_state": "file.unreadable",
}
"""What each of the caller's paths is refused as, where it leads to nothing that can be read."""

CASES = (
    case(
        "container::missing-file",
        "A file that the statement lists is not there",
        "BC-BND-01",
        rejected("bundle.file.missing"),
        missing(EVIDENCE),
    ),
    case(
        "container::unlisted-file",
        "A file that the statement does not list",
        "BC-BND-02",
        rejected("bundle.file.unlisted"),
        extra,
    ),
    case(
        "container::listed-file",
        "A file more, which the statement lists",
        "BC-BND-02 BC-BND-10",
        accepted(),
        listed("notes/read me.txt", b"hello"),
    ),
    case(
        "container::symlink",
        "A symbolic link in the place of a file",
        "BC-BND-03 BC-BND-04",
        rejected("bundle.symlink"),
        on_disk(linked),
    ),
    case(
        "container::symlinked-folder",
        "A symbolic link in the place of a folder",
        "BC-BND-03 BC-BND-04",
        rejected("bundle.symlink"),
        on_disk(linked_folder),
    ),
    case(
        "container::hard-link",
        "A file with a second name outside the bundle",
        "BC-BND-03",
        rejected("bundle.hard_link"),
        on_disk(second_name),
    ),
    case(
        "container::pipe",
        "A pipe, which must not be opened",
        "BC-BND-03",
        rejected("bundle.special_file"),
        on_disk(pipe),
    ),
    case(
        "container::too-many",
        "More than 10,000 files and folders",
        "BC-BND-18",
        rejected("bundle.too_many_files"),
        on_disk(crowd),
    ),
    case(
        "container::prompts-too-large",
        "A prompts file more than 1 MiB larger than its columns",
        "BC-BND-19 BC-VER-03",
        rejected("bundle.file_too_large"),
        header_text(PROMPTS, lambda text: text + b" " * PAD),
    ),
    case(
        "container::evidence-too-large",
        "An evidence file more than 1 MiB larger than its columns",
        "BC-BND-19 BC-VER-03",
        rejected("bundle.file_too_large"),
        header_text(EVIDENCE, lambda text: text + b" " * PAD),
    ),
    case(
        "container::no-statement",
        "A folder without a statement",
        "BC-BND-01 BC-RES-06",
        refused("bundle.no_statement"),
        missing(STATEMENT),
    ),
    case(
        "container::not-a-folder",
        "A file in the place of the bundle",
        "BC-RES-06",
        refused("bundle.not_a_folder"),
        lambda draft: draft.on_disk(lambda folder: a_file(folder / "bundle")),
    ),
    case(
        "container::name-too-long",
        "The bundle's path has a segment of 300 characters, which no file system here has",
        "BC-RES-06",
        refused("bundle.unreadable"),
        called("bundle", "x" * 300),
    ),
    *(
        case(
            f"container::{what.replace('_', '-')}-name-too-long",
            f"A path with a segment of 300 characters is given as {what.replace('_', ' ')}",
            "BC-RES-06",
            refused(code),
            called(what, "x" * 300),
        )
        for what, code in TOO_LONG.items()
    ),
    case(
        "container::link-to-itself",
        "The bundle's path is a symbolic link to itself",
        "BC-RES-06",
        refused("bundle.unreadable"),
        to_itself,
    ),
    case(
        "container::nothing", "Nothing at the bundle's path", "BC-RES-06", refused("bundle.not_found"), gone("bundle")
    ),
    case(
        "container::no-policy", "Nothing at the policy's path", "BC-RES-06", refused("trust.not_found"), gone("policy")
    ),
    case(
        "container::policy-a-folder",
        "A folder in the place of the policy",
        "BC-RES-06",
        refused("trust.unreadable"),
        policy_is_a_folder,
    ),
    case(
        "container::policy-a-key",
        "A public key in the place of the policy",
        "BC-RES-06 BC-TRU-01",
        refused("trust.key_given"),
        a_key,
    ),
    case(
        "container::no-model",
        "Nothing at the reference model's path",
        "BC-RES-06",
        refused("reference.not_found"),
        gone("reference"),
    ),
    case(
        "container::no-model-beside-a-broken-bundle",
        "Nothing at the reference model's path, and a file of the bundle is missing: the caller's mistake comes first",
        "BC-RES-06",
        refused("reference.not_found"),
        missing(PROMPTS),
        gone("reference"),
    ),
    case(
        "container::none-of-the-model",
        "A folder with none of the reference model's files",
        "BC-BND-20 BC-RES-06",
        refused("reference.not_found"),
        another_model,
    ),
    case(
        "container::none-of-the-model-beside-a-broken-bundle",
        "A folder with none of the reference model's files, which is not looked into for a bundle that lacks a file",
        "BC-RES-06 BC-VER-01",
        rejected("bundle.file.missing"),
        missing(PROMPTS),
        another_model,
    ),
    case(
        "container::no-corpus",
        "Nothing at the corpus' path",
        "BC-RES-06",
        refused("corpus.not_found"),
        model_given,
        gone("corpus"),
    ),
    case(
        "container::published-no-list",
        "A list of published digests that is none",
        "BC-RES-06",
        refused("published.unreadable"),
        published(b"nothing of the kind\n"),
    ),
    case(
        "container::weights-a-folder",
        "A folder in the place of a weight file of the model",
        "BC-BND-12",
        rejected("file.not_regular"),
        replayed,
        weights_are_a_folder,
    ),
    case(
        "container::program-missing",
        "A program that the statement lists is not there",
        "BC-BND-01",
        rejected("bundle.file.missing"),
        missing(program_name("surrogate")),
    ),
)
