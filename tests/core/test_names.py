from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pctstream.core import names
from pctstream.errors import UsageError

paths = st.lists(st.integers(0, 999_999_999), max_size=12).map(lambda rest: (0, *rest))
trees = st.from_regex(r"[a-zA-Z0-9._-]{1,40}", fullmatch=True).filter(lambda t: t not in ".." + ".")


@given(paths, trees)
def test_every_name_gives_its_path_back(path: names.Path, tree: str) -> None:
    assert names.node_path(names.node_name(path)) == path
    assert names.node_path(names.agent_name(path)) == path
    assert names.node_path("N" + names.pipe_name(path)[1:]) == path
    topic = names.pipe_topic(tree, path)
    assert names.topic_path(tree, topic) == path
    assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic)


@given(paths, trees, paths, trees)
def test_two_pipes_never_share_a_topic(
    path: names.Path, tree: str, other: names.Path, another: str
) -> None:
    """Of one tree or of two: the last ".P" of a topic parts the tree from the path."""
    same = names.pipe_topic(tree, path) == names.pipe_topic(another, other)
    assert same == ((tree, path) == (another, other))


@pytest.mark.parametrize(
    "text",
    ["", "N", "0", "N1", "N00", "N0,", "N0,01", "N0,-1", "N0,1.2", "N0 ,1", "P0,1", "n0", "N0,1\n",
     "N0,+1", "N0,1_0", "N0,٣", "N0," + "9" * 10, "N0@2"],
)  # fmt: skip
def test_what_is_not_a_node_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        names.node_path(text)


@pytest.mark.parametrize(
    "topic",
    ["pct.P", "pct.P1", "pct.P0,1", "pct.P0.01", "pct.P0.", "pct.routing", "pctxP0", "other.P0",
     "P0", "pct.N0", ""],
)  # fmt: skip
def test_other_topics_are_no_pipes(topic: str) -> None:
    assert names.topic_path("pct", topic) is None


def test_topics_that_kafka_would_refuse_are_refused_first() -> None:
    assert len(names.pipe_topic("t" * 246, (0,))) == names.TOPIC_CHARS
    for tree in ("t" * 247, "", ".", "..", "a b", "a/b", "ä", "a\n"):
        with pytest.raises(UsageError):
            names.pipe_topic(tree, (0,))


@pytest.mark.parametrize("path", [(), (1,), (0, -1), (0, 10**9)])
def test_impossible_paths_have_no_name(path: names.Path) -> None:
    with pytest.raises(UsageError):
        names.node_name(path)


@given(paths)
def test_a_parent_is_one_level_up(path: names.Path) -> None:
    above = names.parent(path)
    if above is None:
        assert path == names.ROOT and names.level(path) == 0
    else:
        assert names.level(above) == names.level(path) - 1
        assert names.node_name(path).startswith(names.node_name(above) + ",")
