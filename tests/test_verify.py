"""What `verify` says where there is nothing to compare."""

from __future__ import annotations

import pytest

from pctstream import config
from pctstream.errors import NotReady
from pctstream.verify import verify


def test_a_tree_without_rows_is_told_apart_from_shards_that_do_not_answer() -> None:
    cfg = config.load(None, {}, {"tree.name": "young"})
    with pytest.raises(
        NotReady, match="'young' has nothing to compare yet; the first rows fix its dim"
    ):
        verify(cfg, {"dimension": 0, "metric": "euclidean"}, lambda: pytest.fail("asked"), {0: 0})
