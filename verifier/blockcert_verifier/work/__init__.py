"""The work of measuring many rows: chunks, this process or several, and what it will cost."""

from blockcert_verifier.work.chunks import (
    Chunk,
    ChunkResult,
    Engine,
    RowFailure,
    Stopped,
    Task,
    Tick,
    join,
    measure_chunk,
)
from blockcert_verifier.work.estimate import Estimate, Rates, RowWork, estimate, rates, row_work
from blockcert_verifier.work.local import LocalEngine
from blockcert_verifier.work.processes import ProcessEngine, open_engine
from blockcert_verifier.work.whole import Prompts

__all__ = [
    "Chunk",
    "ChunkResult",
    "Engine",
    "Estimate",
    "LocalEngine",
    "ProcessEngine",
    "Prompts",
    "Rates",
    "RowFailure",
    "RowWork",
    "Stopped",
    "Task",
    "Tick",
    "estimate",
    "join",
    "measure_chunk",
    "open_engine",
    "rates",
    "row_work",
]
