"""What every verifier must take: all of it is what the standard allows, some of it rarely written."""

from __future__ import annotations

import base64
import json
from typing import Any

from blockcert_producers.conformance.changes import (
    DROP,
    bundle,
    envelope,
    envelope_text,
    evidence,
    header_text,
    model_given,
    options,
    payload_text,
    policy,
    policy_text,
    program_text,
    replayed,
    state,
)
from blockcert_producers.conformance.draft import EVIDENCE, PROMPTS, Draft, write_json
from blockcert_producers.conformance.edge_models import two_names
from blockcert_producers.conformance.entry import accepted, case
from blockcert_producers.conformance.families.replays import measured_on
from blockcert_producers.conformance.repair import redraw, remeasure, restate
from blockcert_producers.conformance.tensors import raw, split

__all__ = ["CASES"]

STEPS = ["structure", "authenticity", "integrity", "recompute", "replay", "policy"]
WHOLE = (
    "structure.bundle structure.statement structure.programs authenticity.signatures authenticity.times "
    "integrity.bundle integrity.reference recompute.draw recompute.claims replay.rows policy.limits"
)


def reorder(data: bytes) -> bytes:
    """A safetensors file with its tensors laid out backwards, at an odd offset, with metadata."""
    header, cells = split(data)
    found: dict[str, Any] = {"__metadata__": {"made by": "nobody"}}
    parts: list[bytes] = []
    at = 0
    for name in reversed([name for name in header if name != "__metadata__"]):
        begin, end = header[name]["data_offsets"]
        parts.append(cells[begin:end])
        found[name] = {**header[name], "data_offsets": [at, at + end - begin]}
        at += end - begin
    text = json.dumps(found).encode()
    return raw(text + b" " * (5 - len(text) % 4), b"".join(parts))


def spread_out(data: bytes) -> bytes:
    """The same JSON with keys backwards, blanks between, and every character that is not ASCII escaped."""

    def backwards(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in sorted(value, reverse=True)}  # pyright: ignore
        return [backwards(part) for part in value] if isinstance(value, list) else value  # pyright: ignore

    return json.dumps(backwards(json.loads(data)), indent=1).encode()


def urlsafe(data: bytes) -> bytes:
    """An envelope in the alphabet of RFC 4648, section 5, with a payload that shows which it is."""
    document = json.loads(data)
    for place in (document, *document["signatures"]):
        name = "payload" if "payload" in place else "sig"
        place[name] = base64.urlsafe_b64encode(base64.b64decode(place[name])).decode()
    return write_json(document)


def without_defaults(draft: Draft) -> None:
    """Every field that may be absent taken away."""
    for name in ("supersedes", "extensions", "critical"):
        draft.predicate.pop(name, None)
    draft.predicate["surrogate"].pop("note", None)
    draft.predicate["claims"]["control"]["float32_floor"].pop("basis", None)


def empty_folder(draft: Draft) -> None:
    draft.on_disk(lambda folder: (folder / "bundle" / "empty" / "inner").mkdir(parents=True))


def in_a_cache(draft: Draft) -> None:
    """The model in a cache as the model hub's client keeps it, among other revisions."""
    draft.given.add("reference")
    new = {f"models--acme--tiny/snapshots/ffff/{name}": data for name, data in draft.model.items()}
    old = {f"models--acme--tiny/snapshots/0000/{name}": data + b" " for name, data in draft.model.items()}
    draft.later(lambda d: setattr(d, "model", old | new))


def spelled_out(draft: Draft) -> None:
    """The reference's fields with their defaults written out; the surrogate keeps silent about them."""
    document = draft.program("reference")
    for stage in document["stages"]:
        for step in stage["steps"]:
            if step["op"] == "rms_norm":
                step.update(offset="0", head_size=None)
                step["weight"].update(rows=None, columns=None, transpose=False, period=None)
            if step["op"] == "linear":
                step["bias"] = None
    draft.set_program("reference", document)


CASES = (
    case(
        "wellformed::every-map",
        "A surrogate with every kind of linear map, replayed whole",
        "BC-PRG-01 BC-PRG-12 BC-PRG-13 BC-PRG-14 BC-VER-01 BC-VER-07 BC-VER-09 BC-RES-05 BC-CLM-01",
        accepted(WHOLE),
        replayed,
        policy("require", STEPS),
    ),
    case(
        "wellformed::copy",
        "A bundle of kind compare, with the candidate's weights under surrogate/",
        "BC-BND-05 BC-STM-08 BC-EVD-08",
        accepted(WHOLE),
        replayed,
        policy("require", STEPS),
        base="copy",
    ),
    case(
        "wellformed::language",
        "Both programs use every operation, pattern, option and rotary scaling",
        "BC-PRG-02 BC-PRG-03 BC-PRG-06 BC-PRG-07 BC-PRG-08 BC-PRG-09 BC-PRG-10 BC-PRG-11 BC-PRG-14 BC-PRG-15 BC-PRG-18 "
        "BC-PRG-19 BC-PRG-21 BC-PRG-22 BC-PRG-23 BC-PRG-24 BC-PRG-25 BC-PRG-26",
        accepted("replay.rows"),
        replayed,
        base="language",
    ),
    case(
        "wellformed::bos",
        "Every window begins with one token",
        "BC-PRM-02 BC-PRM-04",
        accepted("replay.rows"),
        replayed,
        base="bos",
    ),
    case(
        "wellformed::one-file",
        "A corpus of one file has no bounds of its files",
        "BC-CLM-17",
        accepted(),
        base="one-file",
    ),
    case(
        "wellformed::no-attribution",
        "A certificate without attribution rows has no columns and no counts of them",
        "BC-EVD-01 BC-CLM-04",
        accepted("replay.rows"),
        replayed,
        base="no-attribution",
    ),
    case(
        "wellformed::no-calibration",
        "A frame from which nothing was drawn for calibration",
        "BC-PRM-01 BC-PRM-09",
        accepted(),
        base="no-calibration",
    ),
    case(
        "wellformed::same",
        "Both sides are one program: every difference is 0 and is printed as 0",
        "BC-NUM-04 BC-PRG-20 BC-EVD-04",
        accepted("replay.rows"),
        replayed,
        base="same",
    ),
    case(
        "wellformed::without-model",
        "Without the reference model nothing is re-run, and a policy may be content with that",
        "BC-VER-04 BC-VER-05",
        accepted("integrity.reference replay.not_run frame.unverified fresh.not_run"),
    ),
    case(
        "wellformed::model-in-a-cache",
        "The model in a cache of several revisions: size and digest find its files",
        "BC-BND-20",
        accepted("integrity.reference replay.rows"),
        replayed,
        in_a_cache,
    ),
    case(
        "wellformed::no-row-asked",
        "No row is asked for, and the policy does not ask for any",
        "BC-VER-06",
        accepted("replay.not_run"),
        model_given,
    ),
    case(
        "wellformed::all-digests",
        "SHA-256 is compared too",
        "BC-BND-12",
        accepted("integrity.bundle"),
        options(all_digests=True),
    ),
    case(
        "wellformed::order-of-keys",
        "Keys in any order, with white space and escapes",
        "BC-NUM-13 BC-STM-05",
        accepted(),
        payload_text(spread_out),
        program_text("reference", spread_out),
        redraw,
        restate,
        payload_text(spread_out),
        envelope_text(spread_out),
        policy_text(spread_out),
    ),
    case(
        "wellformed::outer-fields",
        "Unknown fields of the outer in-toto Statement are ignored",
        "BC-STM-08",
        accepted(),
        state("$.annotations", {"from": "another tool"}),
    ),
    case(
        "wellformed::extension",
        "An extension that is not critical changes nothing",
        "BC-STM-10",
        accepted(),
        state("extensions", {"vendor.note": {"any": ["JSON", 1, None, True]}}),
    ),
    case("wellformed::defaults-absent", "Fields with a default are absent", "BC-STM-14", accepted(), without_defaults),
    case(
        "wellformed::no-keyid",
        "A signature without a key id",
        "BC-STM-01 BC-TRU-06",
        accepted(),
        envelope("signatures[0].keyid", DROP),
    ),
    case(
        "wellformed::another-keyid",
        "A key id that is another key's decides nothing",
        "BC-STM-07 BC-TRU-06",
        accepted(),
        envelope("signatures[0].keyid", "00" * 32),
    ),
    case(
        "wellformed::url-alphabet",
        "Base64 in the alphabet of RFC 4648, section 5",
        "BC-STM-03",
        accepted(),
        envelope_text(urlsafe),
    ),
    case(
        "wellformed::columns-in-any-order",
        "Tensors in any order and alignment, with metadata",
        "BC-BND-14 BC-BND-16 BC-EVD-01",
        accepted("replay.rows"),
        bundle(EVIDENCE, reorder),
        bundle(PROMPTS, reorder),
        replayed,
    ),
    case(
        "wellformed::minus-zero",
        "A cell of -0.0 is 0",
        "BC-EVD-01",
        accepted("replay.rows"),
        evidence("identity.error", (slice(None), 0), -0.0),
        replayed,
    ),
    case(
        "wellformed::padded-header",
        "A header padded with spaces to no particular length",
        "BC-BND-16",
        accepted(),
        header_text(EVIDENCE, lambda text: text + b" " * 13),
    ),
    case("wellformed::empty-folders", "An empty folder has no meaning", "BC-BND-03", accepted(), empty_folder),
    case(
        "wellformed::one-file-under-two-names",
        "A stage that reads a copy of the reference's weights under another name is the same program",
        "BC-PRG-20",
        accepted("replay.rows"),
        *measured_on(two_names),
        restate,
        replayed,
    ),
    case(
        "wellformed::defaults-spelled-out",
        "Fields of a program written with their defaults mean the same",
        "BC-PRG-18 BC-PRG-20",
        accepted("replay.rows"),
        spelled_out,
        redraw,
        remeasure,
        restate,
        replayed,
        base="same",
    ),
    case(
        "wellformed::files-in-any-order",
        "Subjects and files in another order",
        "BC-BND-11",
        accepted(),
        state("$.subject", lambda s: s[::-1]),
        state("files", lambda f: sorted(f, key=lambda x: x["size"])),
    ),
    case(
        "wellformed::longest-numbers",
        "Integers just below 2^53 where they are allowed",
        "BC-NUM-06",
        accepted(),
        state("extensions", {"n": 2**53 - 1, "m": -(2**53) + 1}),
    ),
    case(
        "wellformed::lesser-evidence-of-another-build",
        "A cell off by less than a tolerance is confirmed",
        "BC-VER-09",
        accepted("replay.rows"),
        evidence("error", (3, 1), lambda e: e * (1 + 2e-7)),
        restate,
        replayed,
    ),
)
