"""The torture of sessions (tests/drills/torture.py), for a few seconds."""
import pathlib
import sys

import pytest

from support import PATIENCE

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "drills"))
from torture import torture  # noqa: E402


@pytest.mark.bound(60)
@pytest.mark.parametrize("seed", [1])
def test_sessions_survive_torture(seed):
    assert torture(seed, seconds=4, at_once=30) > 100 / PATIENCE
