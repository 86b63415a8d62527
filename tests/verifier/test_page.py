"""The report as a page: it says what the terminal says, loads nothing, and obeys no name in a bundle."""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec.structs import replace

from blockcert.errors import Refusal
from blockcert.printable import plain
from blockcert.trust import encode_policy
from blockcert_producers.cli.run import run
from blockcert_verifier import Report, render, render_page, verify
from blockcert_verifier.output import check_writable
from tests.support.bundles import NOW, Made, make_bundle

VOID = {"meta", "path", "polyline"}
HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></section><h1>ACCEPTED",
    '" onload="x',
    "&lt;b&gt;",
    "\x1b[2J\u202eevil",
    "a\nb",
]


class Read(HTMLParser):
    """The elements, attributes and text of a page; an element that is not closed in its place is a failure."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def report(made: Made) -> Report:
    return verify(made.bundle, made.policy, reference=made.model, at=NOW, replay=4)


def words(text: str) -> list[str]:
    return text.split()


def test_the_page_says_what_the_terminal_says_in_its_order(report: Report) -> None:
    read = Read(render_page(report))
    shown = [text for where, text in read.texts if where in ("b", "h2", "pre", "p")]
    page = words(" ".join(text for text in shown if not text.startswith("Largest relative drift")))
    assert page == words(render(report))
    assert read.of("title")[0] == "BlockCert: accepted"


def test_the_page_loads_and_runs_nothing(report: Report) -> None:
    read = Read(render_page(report))
    assert not read.names & {"script", "link", "img", "iframe", "object", "embed", "base", "form", "a", "image", "use"}
    for name, value in read.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "srcset", "action")
        assert "url(" not in value
    style = "".join(read.of("style"))
    assert "url(" not in style
    assert "@import" not in style
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_and_never_obeyed(report: Report, name: str) -> None:
    certificate = report.certificate
    assert certificate is not None
    there = Read(render_page(report))
    hostile = replace(report, certificate=replace(certificate, producer=name, architecture=name))
    page = render_page(hostile)
    read = Read(page)
    assert (read.names, read.attributes) == (there.names, there.attributes)
    assert not set("\x1b\u202e\r") & set(page)
    shown = "".join("".join(read.of("pre")).split())
    assert "".join(plain(name, lines=True).split()) in shown


def test_a_verdict_has_its_word_and_colour_and_a_rejected_page_no_claim(made: Made, tmp_path: Path) -> None:
    copy = made.copy(tmp_path)
    with (copy.bundle / "evidence.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    page = render_page(verify(copy.bundle, copy.policy, at=NOW))
    read = Read(page)
    assert read.of("b") == ["REJECTED:"]
    assert "--verdict: var(--rejected)" in page
    assert "svg" not in read.names
    assert not [title for title in read.of("h2") if title.startswith(("End to end", "Blocks", "Population", "Kept"))]


def test_the_picture_has_a_point_for_every_stage_whose_drift_is_not_zero(report: Report) -> None:
    assert report.depth is not None
    drawn = re.findall(r'points="([^"]*)"', render_page(report))
    counts = [
        sum(float(row.identity_relative_drift) > 0 for row in report.depth),
        sum(float(row.relative_drift) > 0 for row in report.depth),
    ]
    assert [len(points.split()) for points in drawn] == counts
    for points in drawn:
        for x, y in (map(float, point.split(",")) for point in points.split()):
            assert 0 <= x <= 680
            assert 0 <= y <= 260


def test_no_drift_at_all_has_no_picture(report: Report) -> None:
    assert report.depth is not None
    still = tuple(replace(row, relative_drift="0", identity_relative_drift="0") for row in report.depth)
    assert "svg" not in Read(render_page(replace(report, depth=still))).names


@pytest.mark.parametrize("blocks", [1, 2, 11, 12, 13, 100])
def test_the_stages_named_below_the_picture_do_not_crowd(report: Report, blocks: int) -> None:
    assert report.depth is not None
    first, middle, last = report.depth[0], report.depth[1], report.depth[-1]
    depth = (first, *[middle] * blocks, last)
    deep = replace(report, depth=tuple(replace(row, index=i) for i, row in enumerate(depth)))
    page = render_page(deep)
    places = [float(x) for x in re.findall(r'<text x="([0-9.]+)" y="[0-9.]+" text-anchor="middle">', page)]
    assert len(places) <= 14
    assert all(after - before > 30 for before, after in pairwise(places))


def test_the_command_writes_the_page_and_the_verdict(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trust.json").write_bytes(encode_policy(made.without_replay))
    base = ["verify", str(made.bundle), "--trust", str(tmp_path / "trust.json"), "--at", "2026-11-23T00:00:00Z"]
    assert run([*base, "--html", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]) == 0
    assert capsys.readouterr().out.startswith("ACCEPTED")
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert run([*base, "--html", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert run([*base, "--html", str(tmp_path / "r"), "--json", str(tmp_path / "r")]) == 2
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", ["", "file/r.html", "absent/r.html"])
def test_where_no_report_can_be_written_is_said_before_the_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(Refusal) as caught:
        check_writable(tmp_path / name)
    assert caught.value.code == "output.unwritable"
    assert (tmp_path / "file").read_text() == "kept"


def test_a_report_may_replace_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("before")
    check_writable(tmp_path / "r.html")
    check_writable(Path("-"))
