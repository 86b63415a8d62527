"""The conformance corpus on this verifier, and the runner on verifiers that misbehave (spec/14-conformance.md)."""

from __future__ import annotations

import io
import json
import re
import sys
import textwrap
from pathlib import Path

import msgspec
import pytest

from blockcert import rotation
from blockcert.codes import CODES
from blockcert.digest import blake3_bytes
from blockcert.dsse import parse_envelope
from blockcert.errors import Refusal
from blockcert_producers.cli.run import run
from blockcert_producers.conformance import all_cases, build
from blockcert_producers.conformance.seeds import throwaway_key
from blockcert_producers.conformance.without_case import GIVEN_IN
from blockcert_verifier.conformance.implementation import Implementation, split_command
from blockcert_verifier.conformance.index import Case, Index, parse_index, read_index
from blockcert_verifier.conformance.messages import Answer, Request, encode_line, parse_answer, request_of
from blockcert_verifier.conformance.score import NoAnswer, Score, encode_score, judge, parse_score, score
from blockcert_verifier.conformance.serve import answer, serve
from blockcert_verifier.conformance.table import render_score

ROOT = Path(__file__).parents[2]
FEW = ("number::nan", "wellformed::url-alphabet", "policy::no-limits", "statement::newer-minor", "container::pipe")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("conformance") / "corpus"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def index(corpus: Path) -> Index:
    return read_index(corpus)


@pytest.fixture(scope="module")
def few(index: Index) -> list[Case]:
    return [case for case in index.cases if case.id in FEW]


# --- the corpus -------------------------------------------------------------------------------------------------


def test_this_verifier_says_of_every_case_what_is_expected(corpus: Path, index: Index) -> None:
    """Verdicts, codes and notes of the whole corpus (BC-CNF-03, BC-CNF-05)."""

    class Ours:
        def ask(self, request: Request) -> Answer:
            return answer(request)

    found = score(index.cases, corpus, Ours(), "ours", codes=True)
    wrong = [(r.id, r.expected, r.got, r.codes, r.why) for r in found.results if r.status == "failed"]
    assert wrong == []
    skipped = {r.id: r.why for r in found.results if r.status == "skipped"}
    assert skipped == {case.id: case.unbuilt for case in index.cases if case.unbuilt is not None}


def test_every_code_occurs_in_a_case_or_says_why_it_cannot(index: Index) -> None:
    """BC-CNF-06."""
    expected = {code for case in index.cases for code in (*case.expected.codes, *case.expected.notes)}
    without = [entry.code for entry in index.codes_without_case]
    assert len(without) == len(set(without))
    assert expected & set(without) == set(), "a code that a case expects needs no excuse"
    assert set(CODES) - expected - set(without) == set(), "codes without a case and without a reason"
    assert (expected | set(without)) - set(CODES) == set(), "codes that are not registered"


def modules() -> dict[str, str]:
    """The text of every module of the verifier and of the sdk, but for the table of codes."""
    found: dict[str, str] = {}
    for root in (ROOT / "sdk", ROOT / "verifier"):
        for path in sorted(root.rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
            if name != "blockcert.codes":
                found[name] = path.read_text(encoding="utf-8")
    return found


def test_where_a_verifier_gives_a_code_that_has_no_case_is_known(index: Index) -> None:
    """BC-CNF-06: an excuse holds for the modules that it was written for, and for no other one."""
    texts = modules()
    assert len(texts) > 150
    without = {entry.code: entry.reason for entry in index.codes_without_case}
    given = {code: tuple(name for name in texts if f'"{code}"' in texts[name]) for code in without}
    assert given == GIVEN_IN
    made = {code for code, reason in without.items() if reason == "producer" and given[code]}
    # the sdk signs as well as it reads
    assert made == {"envelope.full", "signature.exists", "signature.not_made"}


def test_no_module_of_a_verifier_puts_a_code_together() -> None:
    """Else a search for the whole of it would miss where it is given."""
    first = "|".join(sorted({code.partition(".")[0] for code in CODES}))
    put = re.compile(rf"""f["'](?:{first})\.\{{|["'](?:{first})\.["'] \+""")
    assert [name for name, text in modules().items() if put.search(text)] == []


def test_every_case_names_requirements_that_exist(index: Index) -> None:
    spec = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "spec").glob("*.md"))
    ids = set(re.findall(r"\*\*(BC-[A-Z]{3}-[0-9]{2})\*\* ", spec))
    assert {r for case in index.cases for r in case.requirements} <= ids


def test_there_are_cases_of_every_verdict_and_of_everything_that_may_be_needed(index: Index) -> None:
    assert len(index.cases) >= 200
    verdicts = [case.expected.verdict for case in index.cases]
    assert min(verdicts.count(v) for v in ("accepted", "rejected", "indeterminate", "refused")) >= 10
    needs = {need for case in index.cases for need in case.needs}
    assert needs == {"replay", "precision", "corpus", "fresh", "published", "sha256", "prove", "limits"}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): blake3_bytes(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "too-many" not in path.parts
    }


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    """BC-CNF-04: also where the bases are certified anew."""
    from blockcert_producers.conformance import base

    chosen = [entry for entry in all_cases() if entry.id.startswith(("wellformed::", "replay::")) or entry.id in FEW]
    for name in ("first", "second"):
        build(tmp_path / name, chosen)
        base._made.cache_clear()
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    assert len(digests(tmp_path / "first")) > 500


def test_a_folder_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    with pytest.raises(Refusal) as refused:
        build(tmp_path, all_cases()[:1])
    assert refused.value.code == "output.exists"
    assert [*tmp_path.iterdir()] == []


def test_every_key_of_the_corpus_can_be_computed_by_everybody(corpus: Path, index: Index) -> None:
    """BC-CNF-07: and says so beside the index."""
    names = ("producer", "second producer", "stranger", "revoker", "second revoker", "auditor", "second auditor")
    names += ("owner", "second owner", "next owner")
    public = {throwaway_key(name).public.raw.hex() for name in names}
    seen: set[str] = set()
    for case in index.cases:
        if case.id.startswith(("policy::key", "json::policy", "container::")):
            continue
        held = case.inputs.follows
        place = corpus / (case.inputs.policy if held is None else held)
        if not place.exists():
            continue
        policy = json.loads(place.read_bytes())
        if held is not None and case.expected.verdict != "refused":
            envelope = parse_envelope((corpus / case.inputs.policy).read_bytes(), "p", rotation.PAYLOAD_TYPE)
            policy["keys"] += json.loads(envelope.payload)["keys"]
        seen |= {key["public_key"].lower() for key in policy["keys"]}
    assert seen <= public
    assert "none of them may be trusted" in (corpus / "README").read_text().replace("\n", " ")


def test_an_index_that_contradicts_itself_is_refused(index: Index) -> None:
    case = index.cases[0]
    outside = msgspec.structs.replace(case, id="a::b", inputs=msgspec.structs.replace(case.inputs, bundle="../x"))
    for cases in ((case, case), (case, outside)):
        with pytest.raises(Refusal) as refused:
            parse_index(msgspec.json.encode(msgspec.structs.replace(index, cases=cases)), "index.json")
        assert refused.value.code == "conformance.index"


# --- the protocol -----------------------------------------------------------------------------------------------


def test_a_request_says_nothing_of_what_is_expected(corpus: Path, few: list[Case]) -> None:
    """BC-CNF-08."""
    for case in few:
        line = encode_line(request_of(case, corpus))
        assert line.count(b"\n") == 1
        assert set(json.loads(line)) & {"expected", "verdict", "codes", "notes", "tests", "requirements"} == set()


GARBAGE: dict[str, bytes] = {
    "nothing": b"\n",
    "no JSON": b"accepted\n",
    "two values": b'{"case":"a::b","verdict":"accepted"}{}\n',
    "a field more": b'{"case":"a::b","verdict":"accepted","score":1}\n',
    "a verdict that is none": b'{"case":"a::b","verdict":"fine"}\n',
    "no verdict": b'{"case":"a::b"}\n',
    "two of three": b'{"case":"a::b","verdict":"accepted","skipped":"no"}\n',
    "codes of a fault": b'{"case":"a::b","fault":"x","codes":["json.type"]}\n',
    "null for absent": b'{"case":"a::b","verdict":"accepted","skipped":null}\n',
    "a duplicate key": b'{"case":"a::b","verdict":"rejected","verdict":"accepted"}\n',
}


@pytest.mark.parametrize("what", GARBAGE)
def test_what_is_no_answer_is_refused(what: str) -> None:
    """BC-CNF-09."""
    with pytest.raises(Refusal):
        parse_answer(GARBAGE[what])


def test_an_answer_reads_back() -> None:
    for one in (
        Answer("a::b", "rejected", ("json.type",), ("structure.bundle",)),
        Answer("a::b", skipped="no"),
        Answer("a::b", fault="x"),
    ):
        assert parse_answer(encode_line(one)) == one


def test_a_verifier_writes_nothing_into_the_corpus(corpus: Path, index: Index) -> None:
    """BC-CNF-08: also where it would remember a list, for the first time or a higher one."""
    request = request_of(next(case for case in index.cases if case.id == "revocation::higher"), corpus)
    state = Path(request.revocation_state or "")
    before = state.read_bytes()
    assert answer(request).verdict == "accepted"
    assert state.read_bytes() == before
    nowhere = corpus / "nowhere"
    assert answer(msgspec.structs.replace(request, revocation_state=str(nowhere))).verdict == "accepted"
    assert not nowhere.exists()


def test_serving_answers_line_by_line_and_survives_its_own_faults(
    corpus: Path, few: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    from blockcert_verifier.conformance import serve as module

    real = module.verify

    def broken(bundle: str, *arguments: object, **named: object) -> object:
        if "url-alphabet" in bundle:
            raise KeyError("predicate")
        return real(bundle, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "verify", broken)
    out = io.BytesIO()
    serve(io.BytesIO(b"".join(encode_line(request_of(case, corpus)) for case in few)), out)
    answers = [parse_answer(line + b"\n") for line in out.getvalue().splitlines()]
    assert [one.case for one in answers] == [case.id for case in few]
    faults = [one for one in answers if one.fault is not None]
    assert [one.case for one in faults] == ["wellformed::url-alphabet"]
    assert "KeyError" in (faults[0].fault or "")


def script(tmp_path: Path, body: str) -> list[str]:
    """An implementation: `body` runs for every request with `request` and `say` at hand."""
    path = tmp_path / "implementation.py"
    head = "import json, os, sys, time\nfor line in sys.stdin:\n    request = json.loads(line)\n"
    head += "    def say(**answer):\n        print(json.dumps({'case': request['case'], **answer}), flush=True)\n"
    path.write_text(head + textwrap.indent(textwrap.dedent(body), "    "))
    return [sys.executable, "-S", str(path)]


def scored(tmp_path: Path, corpus: Path, cases: list[Case], body: str, timeout: float = 20.0) -> Score:
    with Implementation(script(tmp_path, body), timeout) as asked:
        return score(cases, corpus, asked, "theirs")


BAD = """
if 'nan' in request['case']:
    {0}
else:
    say(verdict='rejected')
"""
MISBEHAVIOUR: dict[str, tuple[str, str]] = {
    "ends": ("sys.exit(3)", "without an answer (exit status 3); it wrote nothing to its standard error"),
    "dies": (
        "print('one\\ntwo\\nthree\\nfour', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)",
        "(killed by SIGKILL); its standard error ends: two / three / four",
    ),
    "crashes": ("raise KeyError('predicate')", "(exit status 1); its standard error ends: "),
    "floods standard error": ("sys.stderr.write('noise ' * 200000); sys.exit(4)", "(exit status 4); its standard"),
    "talks first": ("print('Loading ...', flush=True); say(verdict='rejected')", "It wrote 'Loading ...'"),
    "says nothing": ("time.sleep(600)", "no answer within 4 s"),
    "garbage": ("print('accepted', flush=True)", "no answer of the protocol"),
    "bytes": ("sys.stdout.buffer.write(bytes(range(256)) + b'\\n'); sys.stdout.flush()", "no answer of the protocol"),
    "another case": ("request['case'] = 'a::b'; say(verdict='rejected')", "an answer to a::b"),
    "endless line": (
        "sys.stdout.write('x' * 3000000); sys.stdout.flush(); time.sleep(600)",
        "a line of more than 1048576 bytes",
    ),
    "closed output": ("os.close(1); time.sleep(600)", "it closed its standard output without an answer"),
    "a child that stays": (
        "import subprocess; subprocess.Popen(['sleep', '600']); sys.exit(1)",
        "no answer within 4 s, and it ended (exit status 1), but something that it started did not",
    ),
    "half a line": ("sys.stdout.write('{\"case\"'); sys.stdout.flush(); sys.exit(0)", "without a line feed behind '{"),
}


@pytest.mark.parametrize("what", MISBEHAVIOUR)
def test_whatever_an_implementation_does_costs_one_case(
    what: str, tmp_path: Path, corpus: Path, few: list[Case]
) -> None:
    """BC-CNF-10: that case fails, with a reason, and the process is started again for the next."""
    does, why = MISBEHAVIOUR[what]
    # short only where it is waited for, and long enough for a busy machine to start a process
    found = scored(tmp_path, corpus, few, BAD.format(does), timeout=4.0 if why.startswith("no answer within") else 60.0)
    results = {result.id: result for result in found.results}
    assert results["number::nan"].status == "failed"
    assert why in results["number::nan"].why
    assert {r.got for name, r in results.items() if name != "number::nan"} == {"rejected"}


def test_a_line_that_nobody_asked_for_fails_the_next_case(tmp_path: Path, corpus: Path, few: list[Case]) -> None:
    """BC-CNF-10: answers cannot be given ahead."""
    found = scored(tmp_path, corpus, few[:2], "say(verdict='rejected'); say(verdict='rejected'); time.sleep(0.2)")
    assert found.count("failed") >= 1
    assert any("that no request asked for" in r.why or "an answer to" in r.why for r in found.results)


COMMANDS: dict[str, tuple[str, str]] = {
    "true": ("true", "it ended without an answer (exit status 0); it wrote nothing to its standard error"),
    "false": ("false", "it ended without an answer (exit status 1); it wrote nothing to its standard error"),
    "a script that is not there": ("python3 -S /nowhere/verifier.py", "(exit status 2); its standard error ends: "),
    "a greeting": ("sh -c 'echo hello; cat > /dev/null'", "that no request asked for: 'hello'"),
    "an echo": ("cat", "no answer of the protocol: "),
    "one answer each": (
        'python3 -S -c \'import json; print(json.dumps(dict(case=json.loads(input())["case"], verdict="refused")))\'',
        "(exit status 0); a verifier reads requests until its input ends",
    ),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_command_that_is_no_verifier_is_told_what_it_did(what: str, corpus: Path, few: list[Case]) -> None:
    """BC-CNF-10: whether it had ended before it was asked, or when it was, is all one."""
    command, why = COMMANDS[what]
    with Implementation(split_command(command), 20.0) as asked:
        results = score(few, corpus, asked, command).results
    assert [result.why for result in results if why in result.why], [result.why for result in results]
    assert {result.status for result in results if result.got is None} == {"failed"}


def test_many_failures_of_one_kind_are_one_entry(few: list[Case]) -> None:
    cases = [msgspec.structs.replace(few[0], id=f"a::{i}") for i in range(10)]
    results = [judge(case, NoAnswer("it ended")) for case in cases]
    shown = render_score(Score("blockcert-conformance-score", 1, "false", strict=False, results=tuple(results)))
    assert shown.count("it ended") == 1
    assert "10 cases, a::0 the first of them" in shown


def test_a_command_that_cannot_be_started_is_wrong_usage() -> None:
    for command in ("", "'unclosed", "/nowhere/verifier --fast"):
        with pytest.raises(Refusal) as refused, Implementation(split_command(command)):
            pass
        assert refused.value.code == "conformance.implementation"


def test_verdicts_decide_and_codes_are_counted_apart(few: list[Case]) -> None:
    """BC-CNF-05, BC-CNF-11 (BC-RES-07)."""
    case = next(case for case in few if case.id == "number::nan")
    same = Answer(case.id, "rejected", ("json.type",))
    other = Answer(case.id, "rejected", ("number.grammar",))
    assert (judge(case, same).status, judge(case, same).other_codes) == ("passed", False)
    assert (judge(case, other).status, judge(case, other).other_codes) == ("passed", True)
    assert judge(case, other, codes=True).status == "failed"
    assert judge(case, Answer(case.id, "accepted")).status == "failed"
    assert judge(case, Answer(case.id, skipped="no time")).status == "failed"
    needing = msgspec.structs.replace(case, needs=("replay",))
    assert judge(needing, Answer(case.id, skipped="no time")).status == "skipped"
    assert judge(case, Answer(case.id, fault="oh")).status == "failed"
    assert judge(case, NoAnswer("gone")).status == "failed"


def test_a_case_without_files_is_skipped_and_not_asked(corpus: Path, few: list[Case]) -> None:
    """BC-CNF-11, BC-CNF-12."""

    class Nobody:
        def ask(self, request: Request) -> Answer:
            raise AssertionError(request.case)

    case = msgspec.structs.replace(few[0], unbuilt="no links here")
    (result,) = score([case], corpus, Nobody(), "nobody").results
    assert (result.status, result.why) == ("skipped", "no links here")


def test_a_verifier_without_replay_has_cases_enough_of_its_own(index: Index) -> None:
    """BC-CNF-02 and 12: what is left where replay, corpus and fresh prompts are not needed."""
    left = [case for case in index.cases if not {"replay", "corpus", "fresh"} & {*case.needs}]
    assert len(left) > 400
    assert not any(
        code.startswith(("replay.cell", "replay.row", "fresh.rows")) for c in left for code in c.expected.codes
    )
    assert all("reference" not in case.needs for case in left)


def test_a_machine_without_higher_precision_skips_what_it_cannot_decide(
    corpus: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BC-CNF-12."""
    from blockcert_verifier import evaluate
    from blockcert_verifier.steps import measuring

    for module in (evaluate, measuring):
        monkeypatch.setattr(module, "extended_is_wider", lambda: False)
    needing = [case for case in index.cases if "precision" in case.needs]
    assert len(needing) > 20
    assert all(answer(request_of(case, corpus)).skipped for case in needing[::8])
    # one that such a machine must accept, and two that need no precision: they are decided on every machine
    said = {
        case.id: answer(request_of(case, corpus))
        for case in index.cases
        if case.id in ("bracket::beyond-float64", "bracket::infinite-ratio", "resolution::not-refuted")
    }
    assert said["bracket::beyond-float64"].skipped
    assert said["bracket::infinite-ratio"].verdict == "rejected"
    assert said["resolution::not-refuted"].verdict == "indeterminate"


def test_this_verifier_goes_through_the_same_door(corpus: Path, few: list[Case]) -> None:
    words = [sys.executable, "-m", "blockcert_producers.cli", "conformance", "serve"]
    with Implementation(words) as ours:
        found = score(few, corpus, ours, "ours", codes=True)
    assert [result.status for result in found.results] == ["passed"] * len(FEW)
    assert found.exit_code == 0


# --- the command ------------------------------------------------------------------------------------------------


def test_the_command_prints_a_table_by_family_and_each_failure(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = " ".join(script(tmp_path, "say(verdict='accepted')"))
    out = tmp_path / "score.json"
    arguments = [
        "conformance",
        "run",
        "--corpus",
        str(corpus),
        "--only",
        "*a*::*url-alphabet",
        "--implementation",
        words,
    ]
    assert run([*arguments[:5], "w*::url-alphabet", *arguments[6:]]) == 0
    assert re.search(r"^wellformed +1 +0 +0", capsys.readouterr().out, re.MULTILINE)
    assert run([*arguments[:5], "number::n*", *arguments[6:], "--json", str(out)]) == 1
    shown = capsys.readouterr().out
    assert "number::nan\n    expected rejected json.type\n    got      accepted" in shown
    assert {result["status"] for result in json.loads(out.read_bytes())["results"]} == {"failed"}
    assert run(["schema", "check", str(out)]) == 0
    assert "a conformance-score as schemas/" in capsys.readouterr().out
    assert parse_score(out.read_bytes(), "score").results


RESULT = {"id": "a::b", "status": "passed", "expected": {"verdict": "accepted", "codes": ["json.type"]}}
RESULT |= {"got": "accepted", "codes": ["json.type"], "other_codes": False, "why": ""}
CONTRADICTIONS: dict[str, dict[str, object]] = {
    "passed without a verdict": {"got": None, "codes": [], "why": "no answer"},
    "skipped with a verdict": {"status": "skipped"},
    "skipped for no reason": {"status": "skipped", "got": None, "codes": []},
    "passed with another verdict": {"got": "rejected"},
    "failed with the right verdict": {"status": "failed"},
    "a verdict and a reason": {"why": "it crashed"},
    "other codes that are said to be these": {"codes": []},
    "other codes of another verdict": {"status": "failed", "got": "rejected", "other_codes": True},
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_score_that_contradicts_itself_is_refused(case: str) -> None:
    """BC-CNF-13."""
    head = {"type": "blockcert-conformance-score", "version": 1, "implementation": "theirs", "strict": False}
    parse_score(json.dumps(head | {"results": [RESULT]}).encode(), "score")
    for results in ([RESULT | CONTRADICTIONS[case]], [RESULT, RESULT]):
        with pytest.raises(Refusal) as refused:
            parse_score(json.dumps(head | {"results": results}).encode(), "score")
        assert refused.value.code == "conformance.score"


def test_strict_scoring_fails_other_codes_and_the_score_says_so(corpus: Path, few: list[Case]) -> None:
    """BC-CNF-11, BC-CNF-13: whoever reads a score knows by which rule a case failed."""

    class Other:
        def ask(self, request: Request) -> Answer:
            case = next(one for one in few if one.id == request.case)
            return Answer(request.case, case.expected.verdict, ("json.syntax",))

    for strict in (False, True):
        found = score(few, corpus, Other(), "x" * 9999, codes=strict)
        assert parse_score(encode_score(found), "score") == found
        status = {result.status for result in found.results if not result.why}
        assert (found.strict, status) == (strict, {"failed" if strict else "passed"})


def needing(cases: list[Case]) -> list[Case]:
    return [msgspec.structs.replace(case, needs=("replay",)) for case in cases]


def test_a_run_in_which_everything_is_skipped_proves_nothing(tmp_path: Path, corpus: Path, few: list[Case]) -> None:
    found = scored(tmp_path, corpus, needing(few), "say(skipped='not today')")
    assert (found.count("skipped"), found.exit_code) == (len(FEW), 1)
    assert f"{len(FEW)} cases: not today" in render_score(found)


def test_a_skip_that_no_class_excuses_is_a_failure(tmp_path: Path, corpus: Path, few: list[Case]) -> None:
    """BC-CNF-11, 12: whoever answers one case and skips all that it would get wrong does not conform."""
    lazy = "say(verdict='rejected') if request['case'] == 'number::nan' else say(skipped='not today')"
    found = scored(tmp_path, corpus, few, lazy)
    assert (found.count("passed"), found.count("skipped"), found.exit_code) == (1, 0, 1)
    assert "needs nothing that a verifier may leave out (BC-CNF-12): not today" in render_score(found)
    assert scored(tmp_path, corpus, needing(few), lazy).exit_code == 0
