"""Fresh prompts: the verifier draws windows that nobody listed, and own texts beside them."""

from __future__ import annotations

from blockcert_producers.conformance.base import text
from blockcert_producers.conformance.changes import corpus_given, evidence, model_given, options
from blockcert_producers.conformance.draft import Change, Draft
from blockcert_producers.conformance.entry import accepted, case, indeterminate, refused, rejected
from blockcert_producers.conformance.families.replays import another_pair, unresolved
from blockcert_producers.conformance.repair import remeasure, restate
from blockcert_producers.conformance.seeds import words

__all__ = ["CASES"]

SEED = "2a" * 32
ALL = slice(None)


def asked(rows: int) -> Change:
    return options(fresh=rows, seed=SEED)


def own_texts(draft: Draft) -> None:
    draft.own = {"mine.txt": text([int(token) for token in words("own texts", 40, 11)])}
    draft.given.add("reference")


def own_bytes(data: bytes) -> Change:
    def apply(draft: Draft) -> None:
        draft.own = {"mine.txt": data}
        draft.given.add("reference")

    return apply


CASES = (
    case(
        "fresh::agrees",
        "Ten windows that nobody listed agree within chance",
        "BC-PRM-15 BC-VER-20 BC-VER-21 BC-VER-22 BC-VER-23",
        accepted("fresh.rows"),
        corpus_given,
        asked(10),
    ),
    case(
        "fresh::all-unused-windows",
        "More windows are asked for than are left",
        "BC-PRM-15 BC-VER-20",
        accepted("fresh.rows"),
        corpus_given,
        asked(1000),
        base="copy",
    ),
    case(
        "fresh::without-corpus",
        "Fresh prompts are asked for, and the corpus is not at hand",
        "BC-VER-23",
        indeterminate(notes="fresh.not_run"),
        model_given,
        asked(5),
    ),
    case(
        "fresh::without-model",
        "Fresh prompts are asked for, and the model is not at hand",
        "BC-VER-23",
        indeterminate(notes="fresh.not_run"),
        lambda d: d.given.add("corpus"),
        asked(5),
        lambda d: setattr(d, "tokenizer", d.model["tokenizer.json"]),
    ),
    case(
        "fresh::claim-refuted",
        "A coverage that every listed row is said to have, and no fresh one has",
        "BC-VER-21 BC-VER-23",
        rejected("fresh.claim.refuted fresh.disagreement"),
        evidence("covered", (ALL, 1, ALL), 8),
        restate,
        corpus_given,
        asked(31),
    ),
    case(
        "fresh::maximum-exceeded",
        "A maximum that nearly every fresh row exceeds",
        "BC-VER-22 BC-VER-23",
        indeterminate("fresh.disagreement"),
        evidence("error", (ALL, 1), lambda v: v / 8),
        restate,
        corpus_given,
        asked(31),
    ),
    case(
        "fresh::maximum-exceeded-by-chance",
        "A maximum that 23 of 31 fresh rows exceed: a chance above the level of one of twelve tests",
        "BC-VER-22 BC-VER-23",
        accepted("fresh.rows"),
        evidence("error", (ALL, 1), 2.45),
        restate,
        corpus_given,
        asked(31),
    ),
    case(
        "fresh::unresolved",
        "No fresh row can be resolved",
        "BC-VER-20 BC-VER-23",
        indeterminate("fresh.unresolved"),
        another_pair(unresolved),
        remeasure,
        restate,
        corpus_given,
        asked(5),
    ),
    case(
        "fresh::own-text-empty",
        "An own text without a byte in it",
        "BC-RES-06",
        refused("prompts.empty"),
        own_bytes(b""),
    ),
    case(
        "fresh::own-text-not-utf-8",
        "An own text that is not UTF-8",
        "BC-RES-06",
        refused("prompts.not_utf8"),
        own_bytes(b"w1 w2 \xff"),
    ),
    case(
        "fresh::own-texts",
        "Own texts neither pass nor fail a certificate of other texts",
        "BC-PRM-16 BC-VER-24",
        accepted("fresh.not_run"),
        own_texts,
        options(seed=SEED),
    ),
    case(
        "fresh::windows-of-own-texts",
        "A number of windows, own texts and no corpus: nothing is asked of the frame",
        "BC-RES-05 BC-VER-24",
        accepted(),
        own_texts,
        asked(3),
    ),
    case(
        "fresh::own-texts-that-differ",
        "Own texts on which a maximum is exceeded fail nothing",
        "BC-VER-24",
        accepted(),
        evidence("error", (ALL, 1), lambda v: v / 8),
        restate,
        own_texts,
        options(seed=SEED),
    ),
    case("fresh::not-asked", "Nobody asked for fresh prompts", "BC-VER-23", accepted("fresh.not_run"), corpus_given),
)
