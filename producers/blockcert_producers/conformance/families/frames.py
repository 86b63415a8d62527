"""Frames beside their corpus: the windows derived again."""

from __future__ import annotations

import json

from blockcert.digest import blake3_bytes
from blockcert_producers.conformance.base import tokenizer
from blockcert_producers.conformance.changes import corpus_given, model_given, prompts
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import accepted, case, indeterminate, refused, rejected
from blockcert_producers.conformance.families.revocations import a_folder
from blockcert_producers.conformance.repair import redraw, remeasure, renumber, restate

__all__ = ["CASES"]


def corpus(change: Change) -> Change:
    """The corpus changed, and the frame's sizes and digests put right; numbers of windows stay."""

    def apply(draft: Draft) -> None:
        change(draft)
        for file in draft.predicate["prompts"]["frame"]["corpus"]:
            data = draft.corpus[file["name"]]
            file.update(size=len(data), blake3=blake3_bytes(data))

    return apply


def text(name: str, change: bytes | None = None, more: bytes = b"") -> Change:
    def apply(draft: Draft) -> None:
        draft.corpus = {**draft.corpus, name: (change if change is not None else draft.corpus[name]) + more}

    return apply


def given_tokenizer(data: bytes) -> Change:
    return lambda draft: setattr(draft, "tokenizer", data)


def signed_tokenizer(data: bytes) -> Change:
    """The model's tokenizer is this one, everywhere."""

    def apply(draft: Draft) -> None:
        draft.model = {**draft.model, "tokenizer.json": data}
        draft.predicate["prompts"]["frame"]["tokenizer"]["blake3"] = blake3_bytes(data)

    return apply


def one_file_less(draft: Draft) -> None:
    draft.later(lambda d: setattr(d, "corpus", {"1.txt": d.corpus["1.txt"]}))


def other_names(draft: Draft) -> None:
    draft.later(lambda d: setattr(d, "corpus", {"b": d.corpus["2.txt"], "a": d.corpus["1.txt"]}))


def larger_tokens(data: bytes) -> bytes:
    document = json.loads(data)
    document["model"]["vocab"] = {word: 10 * number for word, number in document["model"]["vocab"].items()}
    return json.dumps(document).encode()


CASES = (
    case(
        "frame::verified",
        "The listed prompts are the corpus' windows",
        "BC-PRM-02 BC-PRM-13",
        accepted("frame.verified"),
        corpus_given,
    ),
    case(
        "frame::corpus-a-folder",
        "A folder in the place of a corpus file",
        "BC-RES-06",
        refused("corpus.not_found"),
        corpus_given,
        a_folder("corpus/1.txt"),
    ),
    case(
        "frame::verified-bos",
        "The same with a first token",
        "BC-PRM-02 BC-PRM-13",
        accepted("frame.verified"),
        corpus_given,
        base="bos",
    ),
    case(
        "frame::other-names",
        "Corpus files in another order, under other names",
        "BC-PRM-13",
        accepted("frame.verified"),
        corpus_given,
        other_names,
    ),
    case(
        "frame::without-corpus",
        "Without the corpus the frame is not verified, and that is said",
        "BC-PRM-05 BC-VER-05",
        accepted("frame.unverified"),
        model_given,
    ),
    case(
        "frame::another-token",
        "A token that its window does not have",
        "BC-PRM-05 BC-PRM-13",
        rejected("frame.mismatch"),
        corpus_given,
        prompts("tokens", (4, 2), lambda t: (t + 1) % 11),
    ),
    case(
        "frame::another-calibration-token",
        "A token of a calibration prompt that its window does not have",
        "BC-PRM-13",
        rejected("frame.mismatch"),
        corpus_given,
        prompts("tokens", (0, 2), lambda t: (t + 1) % 11),
    ),
    case(
        "frame::another-token-unseen",
        "The same without the corpus",
        "BC-PRM-05",
        accepted("frame.unverified"),
        prompts("tokens", (4, 2), lambda t: (t + 1) % 11),
    ),
    case(
        "frame::file-missing",
        "A corpus file that was not given",
        "BC-PRM-13",
        indeterminate("frame.corpus_missing"),
        corpus_given,
        one_file_less,
    ),
    case(
        "frame::another-tokenizer",
        "A tokenizer that is not the frame's",
        "BC-PRM-13",
        indeterminate("frame.corpus_missing"),
        corpus_given,
        given_tokenizer(tokenizer(12)),
    ),
    case(
        "frame::tokenizer-unreadable",
        "The frame's tokenizer is no tokenizer",
        "BC-PRM-13",
        indeterminate("frame.unread"),
        signed_tokenizer(b"{}"),
        renumber,
        corpus_given,
    ),
    case(
        "frame::not-utf8",
        "A corpus file that is no UTF-8",
        "BC-PRM-02 BC-PRM-13",
        rejected("prompts.not_utf8"),
        corpus(text("2.txt", more=b" \xff")),
        renumber,
        corpus_given,
    ),
    case(
        "frame::more-tokens-than-the-model-has",
        "A tokenizer that gives tokens outside the vocabulary",
        "BC-PRM-13",
        rejected("prompts.vocabulary"),
        signed_tokenizer(larger_tokens(tokenizer())),
        renumber,
        corpus_given,
    ),
    case(
        "frame::a-window-more",
        "A corpus file with a window more than is stated",
        "BC-PRM-02 BC-PRM-13",
        rejected("frame.mismatch"),
        corpus(text("2.txt", more=b" t1" * 8)),
        renumber,
        corpus_given,
    ),
    case(
        "frame::newlines",
        "Newlines are taken as they are",
        "BC-PRM-02",
        accepted("frame.verified"),
        corpus(text("2.txt", more=b"\r\n\r\n")),
        redraw,
        remeasure,
        restate,
        corpus_given,
    ),
    case(
        "frame::another-seed",
        "Another seed, and the windows of the first",
        "BC-PRM-06 BC-PRM-09",
        rejected("recompute.draw.mismatch recompute.population.mismatch"),
        lambda d: d.predicate["prompts"]["frame"].update(seed=1),
    ),
    case(
        "frame::largest-seed",
        "A seed of 2^53 - 1 goes into the draw as 64 bits",
        "BC-PRM-07 BC-PRM-09",
        accepted("recompute.draw"),
        lambda d: d.predicate["prompts"]["frame"].update(seed=2**53 - 1),
        renumber,
    ),
    case(
        "frame::another-surrogate",
        "Another surrogate, and the windows drawn for the first",
        "BC-PRM-10",
        rejected("recompute.draw.mismatch recompute.population.mismatch"),
        lambda d: d.set_program("surrogate", {**d.program("surrogate"), "context": 31}),
    ),
)
