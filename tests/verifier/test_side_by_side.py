"""Work on several threads: the same results in the same order, whatever runs first, and BLAS left as it was."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockcert.errors import Refusal
from blockcert.same_program import same_stages
from blockcert_verifier.evaluate import Backend, LoadedStage, Noise, WeightStore, together
from blockcert_verifier.evaluate import threads as side
from blockcert_verifier.evaluate.threads import at_once, cut
from blockcert_verifier.evaluate.together import Part, by_tokens, run_together
from blockcert_verifier.measure import Pair, Settings, measure, measure_resolved
from tests.support.tiny import VOCABULARY, D, tiny_pair

LENGTH = 16
SETTINGS = Settings((0.01, 0.1), (0.001, 0.05))


@given(st.integers(0, 300), st.integers(1, 50), st.integers(1, 5))
def test_slices_cover_everything_once_and_are_of_nearly_one_length(count: int, most: int, multiple: int) -> None:
    slices = cut(count, most, multiple)
    assert [i for part in slices for i in range(part.start, part.stop)] == list(range(count))
    sizes = [part.stop - part.start for part in slices]
    assert all(0 < size <= most for size in sizes)
    assert not sizes or max(sizes) - min(sizes) <= 1
    assert len(slices) % multiple == 0 or len(slices) == count


class _Blas:
    """A BLAS that remembers what it was told."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.told: list[int] = []

    def get(self) -> int:
        return self.count

    def set(self, count: int) -> None:
        self.count = count
        self.told.append(count)


@pytest.fixture
def blas(monkeypatch: pytest.MonkeyPatch) -> _Blas:
    """Several threads, however many cores there are."""
    found = _Blas(3)
    monkeypatch.setattr(side, "_blas", lambda: found)
    return found


def test_results_come_in_the_order_of_the_tasks_and_blas_is_left_as_it_was(blas: _Blas) -> None:
    seen: set[int] = set()

    def task(number: int) -> int:
        seen.add(threading.get_ident())
        assert blas.count == 1
        time.sleep(0.002 * (5 - number))
        return number

    assert at_once([lambda number=number: task(number) for number in range(5)]) == list(range(5))
    assert len(seen) == 3
    assert blas.told == [1, 3]


def test_the_first_error_in_the_order_of_the_tasks_is_raised_and_blas_is_left_as_it_was(blas: _Blas) -> None:
    started = threading.Barrier(2)

    def fail(number: int) -> None:
        started.wait(5)
        time.sleep(0.01 * (2 - number))
        raise Refusal("program.shape", str(number), "it does not fit")

    with pytest.raises(Refusal, match="0: it does not fit"):
        at_once([lambda: fail(0), lambda: fail(1)])
    assert blas.told == [1, 3]


def test_tasks_within_a_task_run_one_after_another(blas: _Blas) -> None:
    def outer() -> list[int]:
        return at_once([threading.get_ident] * 3)

    assert all(len(set(inner)) == 1 for inner in at_once([outer, outer]))
    assert blas.told == [1, 3]


def test_without_a_blas_that_can_be_told_everything_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side, "_blas", lambda: None)
    assert side.threads() == 1
    assert set(at_once([threading.get_ident] * 4)) == {threading.get_ident()}


def test_numpy_blas_is_told_and_says_how_many_threads_it_has() -> None:
    real = side._blas()
    if real is None:
        pytest.skip("numpy is linked with a BLAS that cannot be told")
    before = real.get()
    during = at_once([real.get] * 2) if before > 1 else [1]
    assert set(during) == {1}
    assert real.get() == before


@pytest.fixture
def in_pieces(blas: _Blas, monkeypatch: pytest.MonkeyPatch) -> _Blas:
    """Every stage in pieces of a prompt or two, and every reduction in a few tokens."""
    monkeypatch.setattr(together, "_MOST_AT_ONCE", 400)
    monkeypatch.setattr(together, "_MOST_REDUCED", 64)
    monkeypatch.setattr(together, "_LEAST_SHARED", 1)
    return blas


def pair_of(folder: Path) -> tuple[Pair, np.ndarray]:
    reference, surrogate, paths = tiny_pair(folder, 0)
    tokens = np.random.default_rng(1).integers(0, VOCABULARY, (7, LENGTH))
    return Pair(reference, surrogate, same_stages(reference, surrogate), WeightStore(paths)), tokens


def test_every_cell_is_the_same_in_pieces_and_in_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    pair, tokens = pair_of(tmp_path)
    whole = measure(pair, tokens, SETTINGS, Backend(), attribution=5)
    blas: _Blas = request.getfixturevalue("in_pieces")
    pieces = measure(pair, tokens, SETTINGS, Backend(), attribution=5)
    assert blas.told.count(1) > len(pair.same)
    assert list(whole) == list(pieces)
    for name, cells in whole.items():
        # products of another number of rows may be summed otherwise
        np.testing.assert_allclose(pieces[name].value, cells.value, rtol=1e-12, atol=1e-14, err_msg=name)
    again = measure(pair, tokens, SETTINGS, Backend(), attribution=5)
    assert all(np.array_equal(again[name].value, cells.value) for name, cells in pieces.items())


@pytest.mark.usefixtures("in_pieces")
def test_noise_is_that_of_the_seed_whichever_piece_is_first(tmp_path: Path) -> None:
    pair, tokens = pair_of(tmp_path)
    backend = Backend(noise=11)
    first, second = (measure(pair, tokens, SETTINGS, backend, attribution=7) for _ in range(2))
    plain = measure(pair, tokens, SETTINGS, Backend(), attribution=7)
    assert all(np.array_equal(second[name].value, cells.value) for name, cells in first.items())
    assert (first["drift"].value[:, -1] != plain["drift"].value[:, -1]).all()
    assert not measure_resolved(pair, tokens, SETTINGS, noise=11, attribution=7).unresolved


def test_parts_come_back_in_the_order_given_with_the_sizes_asked_for(tmp_path: Path, in_pieces: _Blas) -> None:
    pair, _ = pair_of(tmp_path)
    backend = Backend()
    stage = LoadedStage(pair.reference.stages[1], pair.store, backend, LENGTH, pair.reference)
    source = np.random.default_rng(2)
    values = [source.standard_normal((rows, LENGTH, D)) for rows in (3, 1, 4, 2)]
    parts = [Part(values[0]), Part(values[1], noisy=True), Part(values[2], traced=True), Part(values[3], noisy=True)]
    (found,) = run_together([(stage, parts)], Noise(backend, 5))
    assert [one.magnitude.shape[0] for one in found] == [0, 0, 4, 0]
    for part, one in zip(parts, found, strict=True):
        alone = stage.traced(part.value)
        moved = np.abs(one.output - alone.output).max()
        assert moved < 1e-10
        assert part.noisy == (moved > 1e-15)
        if part.traced:
            np.testing.assert_allclose(one.magnitude, alone.magnitude)
            np.testing.assert_allclose(one.score, alone.score)
    assert in_pieces.told[:2] == [1, 3]


@pytest.mark.usefixtures("in_pieces")
def test_a_refusal_in_a_piece_is_the_refusal_of_the_stage(tmp_path: Path) -> None:
    pair, _ = pair_of(tmp_path)
    stage = LoadedStage(pair.reference.stages[1], pair.store, Backend(), LENGTH, pair.reference)
    with pytest.raises(Refusal) as refused:
        run_together([(stage, [Part(np.zeros((6, LENGTH, D + 1)))])], None)
    assert refused.value.code == "program.shape"


@pytest.mark.usefixtures("in_pieces")
def test_tokens_are_reduced_in_their_order_and_quietly() -> None:
    values = np.arange(5 * LENGTH * D, dtype=np.float64).reshape(5, LENGTH, D)
    values[3, 2, 1] = np.inf

    def reduced(part: slice) -> dict[str, np.ndarray]:
        rows = values.reshape(-1, D)[part]
        return {"sum": rows.sum(axis=-1), "nothing": (rows - rows).sum(axis=-1)}

    found = by_tokens(Backend(), reduced, 5, values)
    np.testing.assert_array_equal(found["sum"], values.sum(axis=-1))
    assert np.isnan(found["nothing"][3, 2])
