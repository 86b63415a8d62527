"""The corpus tells verifiers apart: each of these does one thing too little, and fails cases for it.

A corpus that a lax verifier passes decides nothing. Every mutant is this verifier with one check taken out.
"""

from __future__ import annotations

import base64
import math
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blockcert import archive, authority, dsse, folder, keys, names, rotation, strict_json
from blockcert.file_range import Span
from blockcert_producers.conformance import all_cases, build
from blockcert_verifier import run
from blockcert_verifier.conformance.index import Index
from blockcert_verifier.conformance.messages import request_of
from blockcert_verifier.conformance.score import NoAnswer, Result, judge
from blockcert_verifier.conformance.serve import answer
from blockcert_verifier.evaluate import stage
from blockcert_verifier.measure import batch, engine, logits, stages
from blockcert_verifier.measure import tolerance as tolerances
from blockcert_verifier.steps import (
    beside,
    frame,
    integrity,
    measuring,
    prompts,
    recompute,
    recount,
    reviews,
    revocation,
    structure,
)
from blockcert_verifier.steps.outcome import passed

Patch = tuple[Any, str, Any]


def nothing(*_: object, **__: object) -> tuple[()]:
    return ()


def no_findings(*_: object, **__: object) -> list[Any]:
    return []


def claims_hold(*_: object) -> list[Any]:
    return [passed("recompute", "recompute.claims", "claims", "whatever")]


def every_signature(found: authority.Authority, _role: str) -> int:
    repeated = sum(refusal.code == "signature.repeated" for refusal in found.discounted)
    return len(found.signers) + repeated


def norms_without_scale(per_token: Any, tau: Any, tolerance: tolerances.Tolerance) -> tolerances.Cells:
    return tolerances.norms(per_token, tau * 0, tolerance)


def as_computed(_sure: Any, value: Any, _maybe: Any) -> tolerances.Cells:
    return tolerances.Cells.exactly(value.sum(axis=-1, dtype=np.int64))


def limits_hold(*_: object) -> list[Any]:
    return [passed("policy", "policy.limits", "policy", "whatever")]


def any_zip(span: Span, _most: int, _place: str) -> list[tuple[archive.Member, int]]:
    with os.fdopen(os.dup(span.descriptor), "rb") as handle, zipfile.ZipFile(handle) as file:
        return [(archive.Member(one.filename, one.file_size, one.CRC), _begin(span, one)) for one in file.infolist()]


def _begin(span: Span, one: zipfile.ZipInfo) -> int:
    os.lseek(span.descriptor, one.header_offset + 26, os.SEEK_SET)
    return one.header_offset + 30 + sum(struct.unpack("<2H", os.read(span.descriptor, 4)))


MUTANTS: dict[str, tuple[Patch, str, int]] = {
    "believes every signature": ((keys.PublicKey, "verify", lambda *_: True), "signature", 6),
    "counts signatures and not keys": ((authority.Authority, "count", every_signature), "signature", 1),
    "reads the last of two keys": ((strict_json, "_no_duplicates", dict), "json", 3),
    "takes numbers with a point": ((strict_json, "_check_numbers", nothing), "json", 3),
    "nests without end": ((strict_json, "_check_caps", nothing), "json", 2),
    "decodes base64 leniently": ((dsse, "_base64", lambda text, _: base64.b64decode(text + "==")), "envelope", 2),
    "believes every file": ((integrity, "_compare", no_findings), "digest", 10),
    "takes statements that contradict themselves": ((structure, "_fields", no_findings), "statement", 8),
    "takes any list of files": ((structure, "_subjects", no_findings), "statement", 3),
    "takes names of any kind": ((names, "_unsafe", lambda _: None), "name", 7),
    "takes names that meet": ((names, "_folded", str), "name", 3),
    "opens files of two names": ((folder, "_check_kind", nothing), "container", 1),
    "evaluates programs that are not well formed": ((structure, "problems", no_findings), "program", 15),
    "does not draw again": ((prompts, "_compare", no_findings), "prompts", 4),
    "believes every cell that is finite": ((recompute, "_evidence", no_findings), "evidence", 15),
    "believes every claim": ((recompute, "claims", claims_hold), "claim", 45),
    "does not look at thresholds": ((recompute, "thresholds", no_findings), "claim", 4),
    "counts no costs": ((recount, "recount", no_findings), "replay", 6),
    "confirms whatever it measures": ((measuring, "judge", lambda *_: (set[int](), [])), "replay", 25),
    "resolves every row": ((measuring, "unresolved", no_findings), "replay", 4),
    "leaves counts to rounding": ((engine, "open_counts", nothing), "replay", 2),
    "takes ramps of any width": ((stage, "fastest_angle", lambda *_: 0.0), "replay", 1),
    "resolves rows whose norms and logits fall": ((batch, "FALL", math.inf), "resolution", 3),
    "resolves rows that compute with whatever is large": ((batch, "INSIDE", math.inf), "resolution", 5),
    "has no absolute tolerance of a norm": ((stages, "norms", norms_without_scale), "bracket", 4),
    "counts without a margin": ((tolerances, "counted", as_computed), "bracket", 2),
    "counts tokens without a margin": ((logits, "counted", as_computed), "bracket", 6),
    "tests everything at one level": ((beside, "tests", lambda _: 1), "fresh", 1),
    "derives no window": ((frame, "_rows", nothing), "frame", 2),
    "hears no revocation": ((run, "certificate", no_findings), "revocation", 5),
    "takes lists of any age": ((revocation, "_current", no_findings), "revocation", 4),
    "hears no review": ((run, "reviews", no_findings), "review", 9),
    "hears whichever review comes first": ((reviews, "_order", lambda _: 0), "review", 1),
    "hears no list beside the certificate": ((run, "beside", lambda *_: ([], [])), "appended", 7),
    "hears every list beside the certificate": ((revocation, "_too_few", lambda *_: None), "appended", 4),
    "takes a policy of any number": ((rotation, "check_follows", nothing), "rotation", 3),
    "takes a policy that anybody signed": ((rotation, "missing", lambda *_: {}), "rotation", 8),
    "unpacks as a common tool does": ((archive, "read_archive", any_zip), "packed", 15),
    "sets no limits": ((run, "apply_policy", limits_hold), "limit", 12),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Index]:
    place = tmp_path_factory.mktemp("mutants") / "corpus"
    families = {family for _, family, _ in MUTANTS.values()}
    chosen = [entry for entry in all_cases() if entry.id.partition("::")[0] in families]
    entries = [entry for entry in chosen if entry.id != "container::too-many"]  # ten thousand files
    return place, build(place, entries)


def results(corpus: tuple[Path, Index], family: str, ask: Callable[[Any], Any] = answer) -> list[Result]:
    place, index = corpus
    found: list[Result] = []
    for case in index.cases:
        if case.family == family and case.unbuilt is None:
            try:
                found.append(judge(case, ask(request_of(case, place))))
            except Exception as fault:  # a mutant that crashes has failed the case
                found.append(judge(case, NoAnswer(type(fault).__name__)))
    return found


@pytest.mark.parametrize("what", MUTANTS)
def test_a_verifier_that_does_too_little_fails(
    what: str, corpus: tuple[Path, Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place, name, instead), family, least = MUTANTS[what]
    assert hasattr(place, name)
    monkeypatch.setattr(place, name, instead)
    failed = [result.id for result in results(corpus, family) if result.status == "failed"]
    assert len(failed) >= least, failed
