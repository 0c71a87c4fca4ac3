"""Peers behind a pipe, in a process of their own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.environment import required
from bench.peering import ROOT, PeerFailed, PeerMissing, Peers, peers
from bench.peers.peer import PEERS

TOY = "tests.unit.bench.toypeer"
FOLDER = ROOT / "bench" / "peers"


@pytest.fixture
def running() -> Iterator[Peers]:
    with peers(threads=3, patience=20) as process:
        yield process


def test_a_peer_runs_in_its_own_process_with_the_threads_it_is_given(running: Peers) -> None:
    facts = running.load("loud", f"{TOY}:Shouter", ending="!")
    assert facts == {"python": sys.version, "threads": "3"}
    found = running.run("loud", ["größer", "line\nbreak"], seconds=0.2)
    assert found.outputs == ["GRÖSSER!", "LINE\nBREAK!"]
    assert 0.2 <= found.seconds < 5


def test_several_peers_live_side_by_side_until_they_are_forgotten(running: Peers) -> None:
    running.load("one", f"{TOY}:Shouter", ending="1")
    running.load("two", f"{TOY}:Shouter", ending="2")
    assert [running.run(name, ["a"]).outputs for name in ("one", "two")] == [["A1"], ["A2"]]
    running.forget("one")
    with pytest.raises(PeerFailed, match="KeyError"):
        running.run("one", ["a"])
    assert running.run("two", ["a"]).outputs == ["A2"]


def test_a_peer_that_is_not_installed_is_told_from_one_that_fails(running: Peers) -> None:
    with pytest.raises(PeerMissing, match="no_such_package_anywhere"):
        running.load("absent", f"{TOY}:Unmet")
    with pytest.raises(PeerFailed, match="unexpected keyword argument 'colour'") as caught:
        running.load("odd", f"{TOY}:Shouter", colour="red")
    assert not isinstance(caught.value, PeerMissing)
    running.load("loud", f"{TOY}:Shouter")  # it still serves


def test_outputs_that_are_missing_are_noticed(running: Peers) -> None:
    running.load("loud", f"{TOY}:Shouter")
    with pytest.raises(PeerFailed, match="1 outputs for 2 texts"):
        running.run("loud", ["a", "b"], most=1)


def test_a_process_that_died_says_its_last_words(running: Peers) -> None:
    running.load("loud", f"{TOY}:Shouter")
    with pytest.raises(PeerFailed, match=r"ended: .*no more memory"):
        running.run("loud", ["a"], die=True)
    with pytest.raises(PeerFailed, match="ended"):
        running.run("loud", ["a"])


def test_a_peer_that_hangs_is_ended() -> None:
    with peers(patience=1.5) as process:
        process.load("loud", f"{TOY}:Shouter")
        with pytest.raises(PeerFailed, match="ended"):
            process.run("loud", ["a"], seconds=60)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_peers_import_nothing_of_ours(path: Path) -> None:
    ours = {folder.name for folder in ROOT.iterdir() if folder.is_dir()} | {"textmill"}
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    alone = {name for name in imported if not name.startswith("bench.peers")}
    assert {name for name in alone if name.partition(".")[0] in ours} == set()


@pytest.mark.parametrize("place", PEERS.values())
def test_every_peer_is_where_the_list_says(place: str) -> None:
    module, _, name = place.partition(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_every_peer_is_pinned() -> None:
    packages = required((FOLDER / "requirements.txt").read_text("utf-8"))
    pins = required((FOLDER / "constraints.txt").read_text("utf-8"))
    assert packages
    assert all("==" in package for package in pins)
    assert set(packages) <= set(pins)
