"""Decoding and validating a statement of about 1 MB, beside ``jsonschema`` on the same bytes."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry

from blockcert.bundle import STATEMENT
from blockcert.schema_check import schema
from blockcert_verifier.steps import structure
from tests.benchmarks.timing import side_by_side
from tests.support.bundles import make_bundle

__all__ = ["report"]

SIZE = 1 << 20


def _large(payload: bytes) -> bytes:
    """The same statement with stages enough to make a megabyte; its lengths agree with one another."""
    statement: dict[str, Any] = json.loads(payload)
    claims = statement["predicate"]["claims"]
    stages = claims["stages"]
    while len(json.dumps(statement, separators=(",", ":"))) < SIZE:
        stages += [{**stage, "index": len(stages) + i} for i, stage in enumerate(stages)][: 4096 - len(stages)]
        if len(stages) >= 4096:
            files = statement["predicate"]["files"]
            files += [{"name": f"reference/more-{len(files) + i:05}.safetensors", "size": i} for i in range(1000)]
    return json.dumps(statement, separators=(",", ":")).encode()


def report(folder: Path) -> list[str]:
    """Lines: seconds and the ratio (aim: 25), on bytes that both decode."""
    made = make_bundle(folder / "decoding")
    envelope = json.loads((made.bundle / STATEMENT).read_bytes())
    payload = _large(base64.b64decode(envelope["payload"]))
    validator = Draft202012Validator(schema("statement"), registry=Registry())

    def theirs() -> None:
        problems = next(validator.iter_errors(json.loads(payload)), None)
        if problems is not None:
            raise RuntimeError(problems.message)

    times = side_by_side({"jsonschema": theirs, "blockcert": lambda: structure.statement(payload)}, 3)
    ratio = times["jsonschema"] / times["blockcert"]
    return [
        f"Decoding and validating a statement of {len(payload) / 1e6:.2f} MB (aim: 25 times as fast as jsonschema)",
        f"  jsonschema, after json        {times['jsonschema']:7.3f} s",
        f"  blockcert, duplicates refused {times['blockcert']:7.3f} s   {ratio:.1f} x as fast",
    ]
