"""Tiny bundles that are real in every part, made without torch: two programs, prompts, evidence, a signature."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.bundle import STATEMENT, BundleWriter
from blockcert.claims import summarise
from blockcert.digest import blake3_bytes, digest_file
from blockcert.draw import draw_windows
from blockcert.dsse import Envelope, add_signature, encode_envelope, parse_envelope
from blockcert.evidence_file import read_evidence
from blockcert.keys import NamedKey, PrivateKey, generate
from blockcert.program import Program
from blockcert.safetensors_file import column, read_header_bytes, write
from blockcert.same_program import same_stages
from blockcert.statement import CorpusFile, Frame, Statement, Tokenizer
from blockcert.trust import TrustPolicy, new_policy
from blockcert_producers.certify import CertifyOptions, Work, certify
from blockcert_producers.certify.pipeline import PROMPTS, REFERENCE_PROGRAM, SURROGATE_PROGRAM
from blockcert_verifier.steps import recompute, structure
from tests.support.corpora import save_tokenizer, save_windows
from tests.support.tiny import REFERENCE, SURROGATE, VOCABULARY, tiny_pair

__all__ = [
    "LENGTH",
    "NOW",
    "Draws",
    "Made",
    "MakePair",
    "change_statement",
    "make_bundle",
    "reseal",
    "restate",
    "rewrite_column",
    "sign_again",
]

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
LENGTH, CALIBRATION, CERTIFICATION, ATTRIBUTION, WINDOWS = 8, 3, 6, 2, 40
FIRST = 24
"""Windows of the first of the two corpus files."""
_DTYPES = {"F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "u1"}


MakePair: TypeAlias = Callable[[Path, int, int], tuple[Program, Program, dict[str, Path]]]
"""Makes a reference, a surrogate and the paths of their weights from a folder, a seed and a number of blocks."""


class Draws(Struct, frozen=True):
    """How many windows a corpus has, how many are drawn of them, and the frame's seed; the model's if None."""

    windows: int = WINDOWS
    calibration: int = CALIBRATION
    certification: int = CERTIFICATION
    seed: int | None = None


class Made(Struct, frozen=True):
    """A signed bundle, the model it is about, the key that signed it, and policies that trust that key."""

    bundle: Path
    model: Path
    key: PrivateKey
    policy: TrustPolicy
    without_replay: TrustPolicy
    corpus: tuple[Path, ...]

    def copy(self, folder: Path) -> Made:
        """The same, in a folder of its own, to be changed."""
        bundle, model = folder / "bundle", folder / "model"
        shutil.copytree(self.bundle, bundle)
        shutil.copytree(self.model, model)
        return Made(bundle, model, self.key, self.policy, self.without_replay, self.corpus)


def make_bundle(
    folder: Path,
    *,
    seed: int = 0,
    blocks: int = 2,
    pair: MakePair = tiny_pair,
    draws: Draws | None = None,
    population: np.ndarray[Any, Any] | None = None,
    options: CertifyOptions | None = None,
) -> Made:
    """A signed `extract` bundle of a random Llama-shaped model and a surrogate, both made by `pair`.

    By default the first block is replaced in every way. `population` are the corpus's windows, W x LENGTH; random
    tokens if None. `draws` says how many of them there are and how many are drawn, with which seed.
    """
    draws = draws or Draws()
    reference, surrogate, paths = pair(folder, seed, blocks)
    model = paths[REFERENCE].parent
    if not (model / "config.json").exists():
        (model / "config.json").write_text('{"model_type": "llama"}')
    save_tokenizer(model / "tokenizer.json", VOCABULARY)
    files = {**paths, **{f"reference/{name}": model / name for name in ("config.json", "tokenizer.json")}}
    output = folder / "bundle"
    if population is None:
        rng = np.random.default_rng(seed)
        population = rng.integers(0, VOCABULARY, size=(draws.windows, LENGTH), dtype="<i4")
    first = len(population) * FIRST // WINDOWS
    corpus = (
        save_windows(folder / "first.txt", population[:first].tolist(), rest=3),
        save_windows(folder / "second.txt", population[first:].tolist()),
    )
    with BundleWriter(output) as writer:
        digests: list[str] = []
        for name, program in ((REFERENCE_PROGRAM, reference), (SURROGATE_PROGRAM, surrogate)):
            data = strict_json.encode(program)
            writer.write(name, data)
            digests.append(blake3_bytes(data))
        shutil.copyfile(paths[SURROGATE], writer.path(SURROGATE))
        frame = Frame(
            corpus=tuple(
                CorpusFile(p.name, p.stat().st_size, blake3_bytes(p.read_bytes()), windows)
                for p, windows in zip(corpus, (first, len(population) - first), strict=True)
            ),
            tokenizer=Tokenizer(digest_file(model / "tokenizer.json").blake3, None),
            length=LENGTH,
            windows=len(population),
            seed=seed if draws.seed is None else draws.seed,
            calibration=draws.calibration,
            certification=draws.certification,
        )
        drawn = draw_windows(frame, digests[0], digests[1])
        windows = np.array([*drawn.calibration, *drawn.certification], dtype="<i8")
        tokens = population[windows]
        split = np.array([0] * draws.calibration + [1] * draws.certification, dtype="u1")
        _write_prompts(writer.path(PROMPTS), tokens, windows, split)
        work = Work(
            kind="extract",
            reference=reference,
            surrogate=surrogate,
            files=files,
            frame=frame,
            tokens=tokens[draws.calibration :],
            fidelity=None,
            note="",
            version="0.1.0",
        )
        certify(writer, work, options or CertifyOptions(attribution=ATTRIBUTION), now=NOW)
        writer.commit()
    key = generate()
    sign_again(output, key)
    named = [NamedKey("acme", key.public)]
    return Made(output, model, key, new_policy(named, replay=True), new_policy(named, replay=False), corpus)


def _write_prompts(path: Path, tokens: Any, windows: Any, split: Any) -> None:
    columns = {"tokens": ("I32", tokens), "window": ("I64", windows), "split": ("U8", split)}
    write(path, {name: (kind, cells.shape, cells.tobytes()) for name, (kind, cells) in columns.items()})


def sign_again(bundle: Path, key: PrivateKey, payload: bytes | None = None) -> None:
    """Replace every signature by `key`'s, over `payload` where given."""
    path = bundle / STATEMENT
    envelope = parse_envelope(path.read_bytes(), STATEMENT)
    bare = Envelope(payload if payload is not None else envelope.payload)
    path.write_bytes(encode_envelope(add_signature(bare, key)))


def change_statement(made: Made, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the statement as a JSON value and sign it again with the trusted key."""
    envelope = json.loads((made.bundle / STATEMENT).read_bytes())
    statement = json.loads(base64.b64decode(envelope["payload"]))
    change(statement)
    sign_again(made.bundle, made.key, msgspec.json.encode(statement, order="sorted"))


def reseal(made: Made) -> None:
    """Make the statement say the digests and sizes that the bundle's files have now, and sign it again."""

    def change(statement: dict[str, Any]) -> None:
        sizes = {file["name"]: file for file in statement["predicate"]["files"]}
        for subject in statement["subject"]:
            name = subject["name"]
            path = made.model / name.removeprefix("reference/") if name.startswith("reference/") else made.bundle / name
            found = digest_file(path, sha256=True)
            subject["digest"] = {"blake3": found.blake3, "sha256": found.sha256}
            sizes[name]["size"] = found.size

    change_statement(made, change)


def rewrite_column(path: Path, name: str, change: Callable[[Any], None]) -> None:
    """Change one column of a safetensors file in place, as a numpy array, leaving every other byte."""
    data = bytearray(path.read_bytes())
    info = read_header_bytes(bytes(data), path.name)[name]
    cells = np.array(column(bytes(data), info), dtype=_DTYPES[info.dtype]).reshape(info.shape)
    change(cells)
    data[info.begin : info.end] = cells.tobytes()
    path.write_bytes(bytes(data))


def restate(made: Made) -> None:
    """Claims put right for the evidence as it stands now, signed again: a lie without a contradiction."""
    reseal(made)
    payload = parse_envelope((made.bundle / STATEMENT).read_bytes(), STATEMENT).payload
    statement = strict_json.decode(payload, Statement, STATEMENT)
    names = ("programs/reference.json", "programs/surrogate.json")
    first, second = ((name, (made.bundle / name).read_bytes()) for name in names)
    programs, _ = structure.programs(statement, first, second)
    assert programs is not None
    path = made.bundle / "evidence.safetensors"
    table = read_evidence(path, recompute.evidence_shape(statement), path.name)
    claims = summarise(table, recompute.terms(statement, same_stages(*programs)))
    change_statement(made, lambda s: s["predicate"].update(claims=json.loads(strict_json.encode(claims))))
