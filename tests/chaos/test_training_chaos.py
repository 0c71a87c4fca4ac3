"""A training is killed in every way there is, and the model is the one that it would have been."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.chaos.training.moments import Victim, draw_moments
from tests.chaos.training.ordeal import EPOCHS_PER_KILL, Ordeal


@pytest.mark.timeout(400)
def test_killed_anywhere_the_model_is_the_same_byte_for_byte(tmp_path: Path) -> None:
    seed = secrets.randbelow(1 << 32)
    print(f"to run it with the same seed: python -m tests.chaos --training 3 --seed {seed}")
    report = Ordeal(
        tmp_path, draw_moments(3, seed), seed, epochs=EPOCHS_PER_KILL * 3, say=print
    ).run()
    print(*report.lines(), sep="\n")
    victims = {one.moment.victim for one in report.survived}
    assert victims == {Victim.TRAINER, Victim.CHILD, Victim.HOST}
    assert report.steps >= 100


def test_the_same_seed_draws_the_same_moments() -> None:
    assert draw_moments(10, 1) == draw_moments(10, 1)
    assert len({tuple(draw_moments(10, seed)) for seed in range(50)}) == 50
    for count in (3, 10):
        moments = draw_moments(count, 4)
        assert len(moments) == count
        assert any(one.uploading for one in moments)
        assert {one.victim for one in moments} >= {Victim.TRAINER, Victim.CHILD, Victim.HOST}
    assert {one.victim for one in draw_moments(10, 4)} == set(Victim) - {Victim.RANK}
    assert {one.victim for one in draw_moments(10, 4, processes=2)} == set(Victim)
