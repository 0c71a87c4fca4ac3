"""Encoders by OpenVINO, against the reference."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from jobs.devices import Device
from jobs.errors import JobFailure
from jobs.kinds import LoadOptions, RunContext
from jobs.rows import Success
from nlp.encoder import EncoderModel
from nlp.kinds.classify import Classify, ClassifyParams
from tests.unit.nlp.tinyencoders import PACKED, save_encoder
from tests.unit.nlp.tinymodels import CPU, EXACT, TEXTS, rows_of

pytest.importorskip("openvino", reason="an extra: pip install 'textmill-server[openvino]'")

OPENVINO = LoadOptions(device=CPU, engine="openvino")
LABELS = ["delivery", "payment", "login problem", "praise"]
CORPUS = [*TEXTS, "x", "word " * 90, *("a b " * count for count in range(1, 9))]


def scores(model: EncoderModel, texts: list[str]) -> list[dict[str, float]]:
    kind = Classify()
    own = {} if model.pooling is None else {"candidate_labels": LABELS}
    params, context = ClassifyParams.model_validate(own), RunContext(device=CPU)
    state = kind.prepare(model, params, context)
    found = kind.run(model, state, rows_of(texts), params, context)
    outputs = [one.output for one in found if isinstance(one, Success)]
    assert len(outputs) == len(texts)
    return [{item["label"]: item["score"] for item in output["labels"]} for output in outputs]


@pytest.mark.parametrize("labels", [LABELS, None], ids=["head", "embedding"])
@pytest.mark.parametrize("family", [*PACKED, "deberta-v2", "mpnet"])
def test_families(family: str, labels: list[str] | None, tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", family, labels)
    model = EncoderModel.load(folder, OPENVINO)
    expected = scores(EncoderModel.load(folder, EXACT), CORPUS)
    for found, wanted in zip(scores(model, CORPUS), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)
    facts = model.describe()
    assert (facts["engine"], facts["fallbacks"]) == ("openvino", [])


def test_order_does_not_matter(tmp_path: Path) -> None:
    model = EncoderModel.load(save_encoder(tmp_path / "model", "bert", LABELS), OPENVINO)
    together = dict(zip(CORPUS, scores(model, CORPUS), strict=True))
    shuffled = random.Random(3).sample(CORPUS, len(CORPUS))
    for text, found in zip(shuffled, scores(model, shuffled), strict=True):
        assert found == pytest.approx(together[text], abs=1e-4)


def test_what_it_computes_wrongly_is_left_to_torch(tmp_path: Path) -> None:
    """Attention over a few neighbours gives no numbers for the padding, which then spoils whole rows."""
    folder = save_encoder(tmp_path / "model", "modernbert", LABELS)
    model = EncoderModel.load(folder, OPENVINO)
    expected = scores(EncoderModel.load(folder, EXACT), CORPUS)
    for found, wanted in zip(scores(model, CORPUS), expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-4)
    facts = model.describe()
    assert facts["engine"] == "torch"
    assert facts["fallbacks"][0].startswith("openvino, padded rows in fp32: a score differs by nan")


def test_it_computes_on_processors_only(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model", "bert", LABELS)
    gpu = LoadOptions(device=Device(type="cuda", name="gpu"), engine="openvino", precision="fp32")
    with pytest.raises(JobFailure, match="processors only") as caught:
        EncoderModel.load(folder, gpu)
    assert caught.value.failure_code == "engine_unsupported"
