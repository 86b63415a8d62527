"""The bundles that every case starts from: certified by this project's own pipeline, signed with a throwaway key.

Cells of evidence are rounded to 28 bits, a hundred times inside the tolerance of another order of summation
(BC-VER-12), so that machines whose float64 sums differ in the last bits build the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from blockcert import strict_json
from blockcert.bundle import STATEMENT, BundleWriter
from blockcert.digest import blake3_bytes
from blockcert.draw import draw_windows
from blockcert.dsse import parse_envelope
from blockcert.evidence import EvidenceShape, columns
from blockcert.keys import NamedKey
from blockcert.statement import CorpusFile, Frame, Tokenizer
from blockcert.trust import new_policy
from blockcert_producers.certify import CertifyOptions, Work, certify
from blockcert_producers.conformance.draft import EVIDENCE, NOW, PROMPTS, REFERENCE_PREFIX, TRUSTED, Draft, program_name
from blockcert_producers.conformance.models import VOCABULARY, Pair, every_map, identical, language, rounded
from blockcert_producers.conformance.repair import restate
from blockcert_producers.conformance.seeds import words
from blockcert_producers.conformance.tensors import change_column, to_bytes

__all__ = ["BASES", "LENGTH", "Shape", "base", "make", "round_evidence", "text", "tokenizer"]

LENGTH = 8
BITS = 28
"""Significant bits of an evidence cell of the corpus."""
FLOOR = 2.0**-24
"""Recorded as the float32 floor, which every build measures otherwise; inside everybody's bracket."""


class Shape(Struct, frozen=True):
    """The sizes of a base: windows of each corpus file, prompts, rows with attribution, and the token that starts each
    window, if one does."""

    files: tuple[int, ...] = (24, 16)
    calibration: int = 3
    certification: int = 6
    attribution: int = 2
    bos: int | None = None
    kind: str = "extract"


def tokenizer(words_: int = VOCABULARY) -> bytes:
    """A tokenizer.json whose token `i` is the word `ti`."""
    document: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(words_)}, "unk_token": "t0"},
    }
    return json.dumps(document).encode()


def text(tokens: Sequence[int]) -> bytes:
    """The text of these tokens."""
    return " ".join(f"t{token}" for token in tokens).encode()


def make(pair: Pair, shape: Shape) -> Draft:
    """A draft whose certificate is about `pair`, true in every cell."""
    unit = LENGTH - (shape.bos is not None)
    streams = [words(f"corpus {i}", count * unit + 3, VOCABULARY) for i, count in enumerate(shape.files)]
    corpus = {f"{i + 1}.txt": text([int(token) for token in stream]) for i, stream in enumerate(streams)}
    population = np.concatenate(
        [s[: n * unit].reshape(n, unit) for s, n in zip(streams, shape.files, strict=True)]
    ).astype("<i4")
    if shape.bos is not None:
        population = np.concatenate([np.full((len(population), 1), shape.bos, dtype="<i4"), population], axis=1)
    model = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": tokenizer()}
    model |= {n.removeprefix(REFERENCE_PREFIX): d for n, d in pair.files.items() if n.startswith(REFERENCE_PREFIX)}
    frame = Frame(
        corpus=tuple(
            CorpusFile(name, len(data), blake3_bytes(data), windows)
            for (name, data), windows in zip(corpus.items(), shape.files, strict=True)
        ),
        tokenizer=Tokenizer(blake3_bytes(model["tokenizer.json"]), shape.bos),
        length=LENGTH,
        windows=sum(shape.files),
        seed=0,
        calibration=shape.calibration,
        certification=shape.certification,
    )
    with tempfile.TemporaryDirectory() as folder:
        return _certified(Path(folder), pair, shape, frame, population, model, corpus)


def _certified(
    folder: Path,
    pair: Pair,
    shape: Shape,
    frame: Frame,
    population: Any,
    model: dict[str, bytes],
    corpus: dict[str, bytes],
) -> Draft:
    paths = {f"{REFERENCE_PREFIX}{name}": folder / name for name in model}
    for name, data in model.items():
        (folder / name).write_bytes(data)
    with BundleWriter(folder / "bundle") as writer:
        programs = [strict_json.encode(program) for program in (pair.reference, pair.surrogate)]
        for side, data in zip(("reference", "surrogate"), programs, strict=True):
            writer.write(program_name(side), data)
        for name, data in pair.files.items():
            if not name.startswith(REFERENCE_PREFIX):
                writer.write(name, data)
                paths[name] = writer.path(name)
        drawn = draw_windows(frame, *map(blake3_bytes, programs))
        windows = [*drawn.calibration, *drawn.certification]
        listed = {
            "tokens": population[windows],
            "window": np.array(windows, dtype="<i8"),
            "split": np.array([0] * shape.calibration + [1] * shape.certification, dtype="u1"),
        }
        writer.write(PROMPTS, to_bytes(listed))
        work = Work(
            kind="compare" if shape.kind == "compare" else "extract",
            reference=pair.reference,
            surrogate=pair.surrogate,
            files=paths,
            frame=frame,
            tokens=population[list(drawn.certification)],
            fidelity=None,
            note="a case of the conformance corpus: for tests only",
            version="conformance",
        )
        issued = datetime.strptime(NOW, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        certify(writer, work, CertifyOptions(attribution=shape.attribution), now=issued)
        names = [name for name in writer.names if name != STATEMENT]
        files = {name: writer.path(name).read_bytes() for name in names}
        payload = parse_envelope(writer.path(STATEMENT).read_bytes(), STATEMENT).payload
    draft = Draft(files, model, corpus, json.loads(payload))
    draft.policy = json.loads(strict_json.encode(new_policy([NamedKey("corpus", TRUSTED.public)], replay=False)))
    p = draft.predicate
    rows, attributed = p["evidence"]["rows"], p["evidence"]["attribution_rows"]
    files[EVIDENCE] = round_evidence(files[EVIDENCE], EvidenceShape(p["reference"]["blocks"], rows, attributed, 3, 3))
    restate(draft)
    return draft


def round_evidence(data: bytes, shape: EvidenceShape) -> bytes:
    """The evidence with every measured number rounded to `BITS` significant bits."""

    def rounded_(cells: Any) -> None:
        mantissa: Any
        exponent: Any
        mantissa, exponent = np.frexp(cells)
        cells[...] = np.ldexp(np.rint(np.ldexp(mantissa, BITS)), exponent - BITS)

    for column in columns(shape):
        if column.name == "float32.relative_error":
            data = change_column(data, column.name, lambda cells: cells.fill(FLOOR))
        elif column.dtype == "F64":
            data = change_column(data, column.name, rounded_)
    return data


BASES: dict[str, Callable[[], Draft]] = {
    "every-map": lambda: make(every_map(), Shape()),
    "copy": lambda: make(rounded(), Shape(kind="compare")),
    "language": lambda: make(language(), Shape()),
    "bos": lambda: make(every_map(), Shape(bos=1)),
    "one-file": lambda: make(every_map(), Shape(files=(40,))),
    "no-attribution": lambda: make(every_map(), Shape(attribution=0)),
    "no-calibration": lambda: make(every_map(), Shape(calibration=0)),
    "same": lambda: make(identical(), Shape()),
}
"""What a case can start from, by name."""


@cache
def _made(name: str) -> Draft:
    return BASES[name]()


def base(name: str) -> Draft:
    """A fresh copy of the base of this name."""
    return _made(name).copy()
