"""Curves of a training: kept through kills, and drawn so that they can be read."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree as ET

import orjson
import pytest

from nlp.training.curves import LINES, PICTURE, CurveLog, picture
from nlp.training.plot import Panel, draw, ticks

SVG = "{http://www.w3.org/2000/svg}"


def step(number: int, loss: float = 1.0) -> dict[str, object]:
    return {"event": "step", "step": number, "loss": loss, "learning_rate": 1e-4}


def evaluation(number: int, **metrics: float) -> dict[str, object]:
    return {"event": "evaluation", "step": number, "metrics": metrics}


def steps_of(path: Path) -> list[int]:
    return [orjson.loads(line)["step"] for line in path.read_bytes().splitlines()]


def test_what_came_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "curves.jsonl"
    log = CurveLog(path)
    for number in range(1, 6):
        log.add(step(number))
    log.add({"event": "phase", "name": "training"})
    with path.open("ab") as file:
        file.write(b'{"event":"step","st')  # cut by a kill
    resumed = CurveLog(path, resumed=3)
    assert steps_of(path) == [1, 2, 3]
    resumed.add(step(4))
    assert steps_of(path) == [1, 2, 3, 4]
    CurveLog(path)
    assert path.read_bytes() == b""


def test_lines_and_picture_go_into_the_product(tmp_path: Path) -> None:
    log = CurveLog(tmp_path / "curves.jsonl")
    for number in range(1, 50):
        log.add(step(number, 2 / number))
    log.add(evaluation(25, loss=0.5, macro_f1=0.6, chrf=40.0))
    log.add(evaluation(49, loss=0.4, macro_f1=0.8, chrf=55.0))
    product = tmp_path / "product"
    product.mkdir()
    log.publish(product)
    assert len(steps_of(product / LINES)) == 51
    root = ET.parse(product / PICTURE).getroot()
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert [w for w in words if w in {"Loss", "Learning rate", "Evaluation, 0 to 1", "Evaluation"}]
    assert {"training", "validation", "macro_f1", "chrf", "learning rate"} <= set(words)
    assert len(list(root.iter(f"{SVG}polyline"))) == 5


def test_a_loss_that_is_no_number_leaves_the_rest_readable(tmp_path: Path) -> None:
    log = CurveLog(tmp_path / "curves.jsonl")
    log.add(step(1, 2.0))
    log.add({**step(2), "loss": None})
    log.add(step(3, 1.0))
    assert "nan" not in picture(log.path)
    assert "inf" not in draw([Panel("x", {"y": [(0, 1.0), (1, math.inf), (2, math.nan)]})])


def test_nothing_to_draw_is_an_empty_picture(tmp_path: Path) -> None:
    root = ET.fromstring(picture(CurveLog(tmp_path / "none.jsonl").path))
    assert not list(root.iter(f"{SVG}text"))


def test_points_without_end_are_thinned_and_the_last_stays() -> None:
    points = [(float(n), math.sin(n / 1000)) for n in range(100_001)]
    root = ET.fromstring(draw([Panel("long", {"one": points})]))
    drawn = next(root.iter(f"{SVG}polyline")).attrib["points"].split()
    assert len(drawn) < 1300
    assert drawn[-1].startswith("570.0,")


def test_names_cannot_break_the_picture() -> None:
    root = ET.fromstring(draw([Panel("<&>", {'"a" <b>': [(0, 0), (1, 1)]})]))
    assert '"a" <b>' in [text.text for text in root.iter(f"{SVG}text")]


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 437, [0, 100, 200, 300, 400, 500]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (0.5, 0.5, [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]),
    ],
)
def test_ticks_are_round_and_go_around(low: float, high: float, found: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(found)
