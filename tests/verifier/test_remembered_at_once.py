"""Two verifications that remember a revocation list at once: the highest stays remembered."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from blockcert.errors import Refusal
from blockcert.keys import NamedKey, generate
from blockcert.revocation import RevocationList, new_list, parse_list, parse_state, sign_list
from blockcert.trust import TrustPolicy, encode_policy, new_policy
from blockcert_verifier import remembered
from blockcert_verifier.remembered import remember
from tests.support.bundles import NOW

REVOKER = generate()
_SLOW = """
import sys, time
from pathlib import Path
from blockcert.revocation import parse_list
from blockcert.trust import parse_policy
from blockcert_verifier import remembered
state, policy, listed, sign, key = map(Path, sys.argv[1:6])
real = remembered._seen
def seen(path, policy):
    found = real(path, policy)
    sign.write_text("read")
    time.sleep(1)  # in which the other would write
    return found
remembered._seen = seen
remembered.remember(state, parse_policy(policy.read_bytes(), "p"), parse_list(listed.read_bytes(), "l"), [key.name])
"""


def policy() -> TrustPolicy:
    made = new_policy([NamedKey("owner", REVOKER.public)], replay=False)
    return replace(made, keys=tuple(replace(key, roles=("producer", "revoker")) for key in made.keys))


def numbered(number: int) -> RevocationList:
    made = new_list(None, (), (), issued_at=NOW - timedelta(days=1), next_update=NOW + timedelta(days=30))
    return replace(made, number=number)


def test_the_state_is_not_rolled_back_by_one_who_read_it_before(tmp_path: Path) -> None:
    """One reads nothing, another writes 5 meanwhile, and the first would write 4."""
    home = tmp_path / "home"
    home.mkdir()
    state, sign, key = home / "state", tmp_path / "sign", REVOKER.public.raw.hex()
    (tmp_path / "policy").write_bytes(encode_policy(policy()))
    (tmp_path / "list").write_bytes(sign_list(numbered(4), REVOKER))
    words = [str(state), str(tmp_path / "policy"), str(tmp_path / "list"), str(sign), key]
    process = subprocess.Popen([sys.executable, "-c", _SLOW, *words])
    try:
        while not sign.exists():
            assert process.poll() is None
            time.sleep(0.01)
        remember(state, policy(), parse_list(sign_list(numbered(5), REVOKER), "l"), [key])
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert parse_state(state.read_bytes(), "state").number == 5
    assert [path.name for path in home.iterdir()] == ["state"]


@pytest.mark.skipif(sys.platform == "win32", reason="no folder can be locked there")
def test_a_lock_that_is_never_let_go_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "PATIENCE", 0.1)
    found = parse_list(sign_list(numbered(5), REVOKER), "l")
    with remembered._alone(tmp_path), pytest.raises(Refusal) as refused:
        remember(tmp_path / "state", policy(), found, [REVOKER.public.raw.hex()])
    assert refused.value.code == "file.unwritable"
    assert "another process holds a lock" in refused.value.sentence
    assert not list(tmp_path.iterdir())
