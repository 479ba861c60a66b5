"""The `vmm` command: classes, explanations, JSON, the page, and what mistakes are answered with."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest


def vmm(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command; a traceback is a failure whatever the test looks for."""
    done = subprocess.run(
        [sys.executable, "-m", "vmm", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


KEYS = {
    "name", "privileged", "control_sensitive", "location_sensitive", "mode_sensitive",
    "user_sensitive", "supervisor_sensitive", "innocuous", "critical",
}  # fmt: skip


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> tuple[dict, str]:
    """What `--json` and `--html` write of one configuration."""
    path = tmp_path_factory.mktemp("pages") / "pdp10.html"
    done = vmm("check", "toy/pdp10", "--json", "--html", path)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout), path.read_text()


CHECKED = {
    "isa": str, "config": str, "instructions": list, "theorem1": dict, "theorem2": dict,
    "theorem3": dict, "repair": list,
}  # fmt: skip
COMPARED = {
    "name": str, "equivalent": bool, "divergence": (str, type(None)), "resource_control": bool,
    "direct_fraction": float, "exits": dict, "slowdown": float,
}  # fmt: skip


def has_shape(found: dict, shape: dict) -> bool:
    """Whether every key of the documented shape is there, with a value of its type."""
    return all(key in found and isinstance(found[key], kind) for key, kind in shape.items())


def test_check_has_the_documented_shape(pages):
    """{isa, config, instructions: [{name, …, witness|proof}], theorem1: …, repair: […]}."""
    found, _ = pages
    assert has_shape(found, CHECKED)
    for row in found["instructions"]:
        assert has_shape(row, dict.fromkeys(KEYS - {"name"}, bool) | {"name": str})
        assert ("witness" in row) != ("proof" in row)
        assert isinstance(row.get("witness", {}), dict)
        assert isinstance(row.get("proof", ""), str)
    for theorem, names in (("theorem1", "critical"), ("theorem3", "offending")):
        assert has_shape(found[theorem], {"holds": bool, names: list})
    assert has_shape(found["theorem2"]["timing"], {"tell": list, "set": list, "unseen": list})
    assert all(isinstance(name, str) for name in found["repair"])


def test_compare_has_the_documented_shape():
    """{guest, isa, monitors: [{name, equivalent, divergence, …, exits: {…}, slowdown}]}."""
    path = Path(__file__).parent.parent / "programs" / "toy" / "svc.asm"
    found = json.loads(vmm("compare", path, "--every", 100, "--json").stdout)
    assert has_shape(found, {"guest": str, "isa": str, "monitors": list})
    assert len(found["monitors"]) == 5
    for row in found["monitors"]:
        assert set(row) == set(COMPARED)
        assert has_shape(row, COMPARED)
        assert (row["divergence"] is None) == row["equivalent"]
        assert 0 <= row["direct_fraction"] <= 1
        assert all(isinstance(count, int) for count in row["exits"].values())


def test_json_tells_the_verdicts(pages):
    found, _ = pages
    assert (found["isa"], found["config"], found["repair"]) == ("toy", "toy/pdp10", ["JRST1"])
    assert found["theorem1"]["holds"] is False
    assert found["theorem1"]["critical"] == ["JRST1"]
    assert found["theorem2"]["holds"] is False
    assert (found["theorem3"]["holds"], found["theorem3"]["offending"]) == (True, [])
    for row in found["instructions"]:
        assert ("witness" in row) != row["innocuous"]
    (jrst,) = (row for row in found["instructions"] if row["name"] == "JRST1")
    (state,) = jrst["witness"]["states"]
    assert (state["before"]["registers"]["mode"], state["after"]["registers"]["mode"]) == (0, 1)
    assert jrst["evidence"]["location_sensitive"]["proof"].startswith("unsat")


class Checker(HTMLParser):
    """Balanced tags, nothing from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.outside: list[str] = []
        self.links: set[str] = set()
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        names = dict(attrs)
        self.outside += [v for k, v in attrs if k in ("src", "href") and not v.startswith("#")]
        self.links |= {names["href"][1:]} if "href" in names else set()
        self.ids |= {names["id"]} if "id" in names else set()
        if tag not in ("meta", "rect", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("meta", "rect", "br"):
            assert self.open.pop() == tag


def test_the_page_is_self_contained_and_tells_the_witness(pages):
    _, html = pages
    checker = Checker()
    checker.feed(html)
    assert checker.open == []
    assert checker.outside == []
    assert {"svg", "table", "details"} <= set(checker.seen)
    assert "script" not in checker.seen
    assert checker.links <= checker.ids
    assert "mode: 0x0 → 0x1" in html
    assert "sufficient, not necessary" in html


@pytest.mark.heavy  # all behaviours of all instructions are to be proved
def test_the_table_fits_a_hundred_columns():
    done = vmm("check", "toy/all")
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "Theorem 1 fails (JRST1, SPLX, LRA, RDMODE, MFPI, DECB," in done.stdout
    assert "Repair: make these" in done.stdout
    assert "innocuous, each proved" in done.stdout


def test_a_path_and_the_literal_reading():
    path = Path(__file__).parent / "configurations" / "halt.toml"
    done = vmm("check", path, "--literal")
    assert "reading: literal" in done.stdout
    assert "SVC" in done.stdout.split("would still be critical")[0]


def test_explain_tells_meaning_class_and_reasons():
    done = vmm("explain", "lra r1, [r2]", "--isa", "toy/all")
    assert max(map(len, done.stdout.splitlines())) <= 100
    for words in ("LRA rd, [ra+offset]", "critical", "state A", "differs", "unsat", "by "):
        assert words in done.stdout
    found = json.loads(vmm("explain", "LRA", "--isa", "toy/all", "--json").stdout)
    assert (found["name"], found["location_sensitive"]) == ("LRA", True)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["check"], 2, "Missing argument"),
        (["check", "toy/nowhere"], 65, "vmm: toy/nowhere: there is no such configuration"),
        (["check", "x86/pdp10"], 65, "x86/ia32"),
        (["check", "x86/ia32", "--literal"], 65, "no literal reading"),
        (["witness", "ADD", "--isa", "x86/ia32"], 65, "ADD is innocuous"),
        (["witness", "SGDTT", "--isa", "x86/ia32"], 65, "Did you mean SGDT"),
        (["check", ""], 65, "no such configuration"),
        (["check", "toy/s360", "--html", "/nowhere/page.html"], 65, "Choose another file"),
        (["explain", "LRAX", "--isa", "toy/all"], 65, "Did you mean LRA?"),
        (["explain", "", "--isa", "toy/all"], 65, "has no instruction"),
        (["explain", "LRA"], 2, "--isa"),
        (["explain", "LRA", "--isa", "toy/clean"], 65, "has no instruction 'LRA'"),
        (["frob"], 2, "No such command"),
    ],
)
def test_mistakes_are_told(arguments, code, words):
    done = vmm(*arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('extends = "toy/clean"\ninstructions = ["LRX"]\n', "bad.toml:2: unknown instruction"),
        ('extends = "bad.toml"\n', "it extends itself"),
        ("x" * (1 << 20), "are no configuration"),
        ('extends = "toy/clean"\n[user]\nLPSW = "partly"\n', "bad.toml:3"),
    ],
)
def test_bad_configurations_are_told_with_file_line_and_remedy(tmp_path, text, words):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    done = vmm("check", path)
    assert (done.returncode, words in done.stderr) == (65, True), done.stderr
