"""The evaluator of block programs: float64 by numpy, or the same code on torch CPU and CUDA."""

from blockcert_verifier.evaluate.backend import Array, Backend, Precision, extended_is_wider
from blockcert_verifier.evaluate.noise import Noise
from blockcert_verifier.evaluate.run import logits
from blockcert_verifier.evaluate.stage import LoadedStage, Traced
from blockcert_verifier.evaluate.weights import WeightStore

__all__ = [
    "Array",
    "Backend",
    "LoadedStage",
    "Noise",
    "Precision",
    "Traced",
    "WeightStore",
    "extended_is_wider",
    "logits",
]
