"""Configuration: where values come from, which are refused, and that the example is true."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pctstream import packed
from pctstream.config import SETTINGS, Config, load, sources, to_env, to_toml
from pctstream.core.coverage import least_limit
from pctstream.errors import ConfigError
from pctstream.settings import CHOSEN, COST

EXAMPLE = packed.example_config()


def written(folder: Path, text: str) -> Path:
    path = folder / "pctstream.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_example_file_is_the_defaults() -> None:
    here = {"store.dir": str(EXAMPLE.parent / "data")}
    assert load(EXAMPLE, {}) == load(None, {}, here)


def test_the_example_file_has_every_setting_with_its_reason_above() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    document = tomllib.loads(text)
    listed = [f"{section}.{name}" for section, part in document.items() for name in part]
    assert listed == list(SETTINGS)
    comments = re.findall(r"((?:^#.*\n)+)^\w+ =", text, flags=re.MULTILINE)
    assert len(comments) == len(SETTINGS)
    for comment, setting in zip(comments, SETTINGS.values(), strict=True):
        said = " ".join(comment.replace("#", " ").split()).lower()
        assert setting.why.lower() in said, setting.key
        assert " ".join(setting.allowed.text.split()).lower() in said, setting.key
        assert setting.unit == "-" or f"[{setting.unit.lower()}]" in said, setting.key


def test_the_defaults_are_allowed() -> None:
    config = load(None, to_env(Config()))
    assert replace(config, store=Config().store) == Config()


def test_later_sources_win(tmp_path: Path) -> None:
    path = written(tmp_path, "[tree]\nfanout = 3\ngap = 30\nseed = 300\n")
    env = {"PCT_TREE__GAP": "40", "PCT_TREE__SEED": "400"}
    config = load(path, env, {"tree.seed": 500})
    assert (config.tree.fanout, config.tree.gap, config.tree.seed) == (3, 40, 500)
    assert config.tree.level_rows == 50_000
    assert sources(path, env, {"tree.seed": 500}) == {
        "tree.fanout": str(path),
        "tree.gap": "PCT_TREE__GAP",
        "tree.seed": "the command line",
    }


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("PCT_TREE__NAME", "mine", "tree.name", "mine"),
        ("PCT_TREE__NAME", "123", "tree.name", "123"),
        ("PCT_TREE__NAME", '"quoted"', "tree.name", "quoted"),
        ("PCT_TREE__EPSILON", "4", "tree.epsilon", 4.0),
        ("PCT_TREE__EPSILON", "auto", "tree.epsilon", "auto"),
        ("PCT_DRIFT__AUTOMATIC", "false", "drift.automatic", False),
        ("PCT_SHARDS__CAPACITY", "{1 = 2}", "shards.capacity", {1: 2.0}),
        ("PCT_INGEST__TOPICS", '["a", "b.c"]', "ingest.topics", ("a", "b.c")),
        ("PCT_SPATIAL__COST", "{region = 5}", "spatial.cost", COST | {"region": 5.0}),
        ("PCT_KAFKA__CLIENT", '{"a.b" = "ssl"}', "kafka.client", {"a.b": "ssl"}),
        ("PCT_BROKER", "a:1,b:2", "kafka.broker", "a:1,b:2"),
        ("PCT_HTTP__BIND", "[::1]:0", "http.bind", "[::1]:0"),
    ],
)
def test_variables(variable: str, text: str, key: str, value: object) -> None:
    section, name = key.split(".")
    assert getattr(getattr(load(None, {variable: text}), section), name) == value


def test_the_long_name_of_the_broker_wins_over_the_short_one() -> None:
    env = {"PCT_BROKER": "short:1", "PCT_KAFKA__BROKER": "long:1"}
    assert load(None, env).kafka.broker == "long:1"


def test_variables_that_are_no_settings_are_left_alone() -> None:
    names = ["CONFIG", "DATA_DIR", "CRASH_AT", "SHARED", "JARS", "WORKER", "ANYTHING"]
    env = {f"PCT_{name}": "x" for name in names} | {"HOME": "x", "TREE__GAP": "x"}
    assert load(None, env) == load(None, {})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("tree.fanuot", 3, "no setting: [tree] has name"),
        ("trees.fanout", 3, "the sections are tree"),
        ("tree", 3, "no setting"),
        ("tree.fanout", 1, "a whole number from 2"),
        ("tree.fanout", True, "a whole number from 2"),
        ("tree.fanout", 2.0, "a whole number from 2"),
        ("tree.fanout", "16", "a whole number from 2"),
        ("tree.epsilon", 0, '"auto" or a number above 0'),
        ("tree.epsilon", float("nan"), '"auto" or a number above 0'),
        ("tree.epsilon", float("inf"), '"auto" or a number above 0'),
        ("tree.epsilon", "Auto", '"auto" or a number above 0'),
        ("tree.metric", "dot", "triangle inequality"),
        ("tree.name", "a.b", "no dot"),
        ("tree.name", "", "1 to 80"),
        ("tree.sink_rows", 999, "at least tree.gap"),
        ("tree.fold_share", 0.01, "0 where weights do not fade"),
        ("tree.fold_share", 0.6, "a number from 0 to 0.5"),
        ("tree.cut", 7, "at most tree.max_level"),
        ("shards.active", 9, "at most shards.count"),
        ("shards.capacity", {"8": 1}, "0 to shards.count - 1"),
        ("shards.capacity", {"a": 1}, "shard = weight"),
        ("shards.capacity", {"1": 0}, "above 0"),
        ("limits.nodes", 1, "a whole number from 2"),
        ("limits.unit_bytes", 8192, "at least blocks.row_bytes"),
        ("kafka.heartbeat_s", 6, "half of kafka.session_timeout_s"),
        ("kafka.broker", "localhost", "host:port"),
        ("kafka.broker", "localhost:99999", "host:port"),
        ("kafka.client", {"acks": 1}, "acks is not for you to set"),
        ("kafka.client", {"a": [1]}, "a is no scalar"),
        ("spatial.bounds", [0, 0, 0, 1], "x0 < x1"),
        ("spatial.cells", [64], "a list of 2"),
        ("spatial.merge_rows", 2500, "less than half of spatial.split_rows = 5000"),
        ("spatial.max_depth", 97, "1 to 96"),
        ("spatial.cost", {"hour": 1}, "reindexed_row, region, second"),
        ("spatial.x", "dim:x", "payload field"),
        ("store.dir", "", "a path"),
        ("http.bind", "8800", "host:port"),
    ],
)
def test_what_is_refused_and_what_is_said(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(None, {}, {key: value})
    assert key in str(refused.value)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2


def test_children_are_folded_only_where_they_are_not_found_again() -> None:
    for gap in (5, 1000, 20_000):
        limit = least_limit(gap)
        given = {"tree.gap": gap, "tree.sink_rows": 10**6, "tree.half_life_s": 60.0}
        assert load(None, {}, given | {"tree.fold_share": 0.49 * limit}).tree.fold_share > 0
        with pytest.raises(ConfigError, match=r"below tree\.miss_limit"):
            load(
                None, {}, given | {"tree.fold_share": min(0.5, limit), "tree.miss_limit": limit / 2}
            )
        if limit <= 0.5:
            with pytest.raises(ConfigError, match=r"below tree\.miss_limit"):
                load(None, {}, given | {"tree.fold_share": limit})
        off = load(None, {}, given | {"tree.fold_share": 0.5, "tree.miss_limit": 0})
        assert off.tree.fold_share == 0.5


@pytest.mark.parametrize("bind", ["0.0.0.0:8800", "[::]:8800", "192.0.2.1:80", "example.org:80"])
def test_an_open_address_needs_a_token(bind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http\.token_file"):
        load(None, {}, {"http.bind": bind})
    config = load(None, {}, {"http.bind": bind, "http.token_file": tmp_path / "token"})
    assert config.http.token_file == tmp_path / "token"


@pytest.mark.parametrize("bind", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"])
def test_loopback_needs_none(bind: str) -> None:
    assert load(None, {}, {"http.bind": bind}).http.token_file is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tree]\nfanuot = 3", "no setting"),
        ("[forest]\nfanout = 3", "no section"),
        ("tree = 3", "must be a section"),
        ("[tree", "is not TOML"),
    ],
)
def test_a_file_is_refused_by_its_name(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError, match=said) as refused:
        load(path, {})
    assert str(path) in str(refused.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "absent.toml", {})


def test_a_variable_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"PCT_TREE__FANUOT: tree\.fanuot is no setting"):
        load(None, {"PCT_TREE__FANUOT": "3"})


def test_all_shards_are_active_unless_told_otherwise() -> None:
    assert load(None, {}, {"shards.count": 4}).shards.active == 4
    assert load(None, {}, {"shards.count": 4, "shards.active": 2}).shards.active == 2


def test_paths_are_relative_to_the_file_that_says_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    path = written(there, '[store]\ndir = "rows"\n[http]\ntoken_file = "token"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("there/pctstream.toml"), {})
    assert (config.store.dir, config.http.token_file) == (there / "rows", there / "token")
    assert load(path, {}, {"store.dir": "rows"}).store.dir == tmp_path / "rows"
    assert load(written(there, ""), {}).store.dir == there / "data"
    assert load(None, {}).store.dir == tmp_path / "data"


def test_passwords_are_not_shown() -> None:
    config = load(None, {}, {"kafka.client": {"sasl.password": "hunter2"}})
    assert "hunter2" not in repr(config)
    with pytest.raises(ConfigError) as refused:
        load(None, {}, {"kafka.client": {"sasl.password": "hunter2", "acks": "all"}})
    assert "hunter2" not in str(refused.value)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    field=TEXT.filter(lambda text: not text.startswith("dim:") and "\n" not in text),
    client=st.dictionaries(
        TEXT.filter(lambda key: key not in CHOSEN),
        TEXT | st.booleans() | st.integers(-(2**63), 2**63 - 1),
    ),
    epsilon=st.just("auto") | st.floats(1e-30, 1e30),
    capacity=st.dictionaries(st.integers(0, 7), st.floats(1e-6, 1e6)),
)
def test_a_child_process_reads_back_what_it_is_handed(
    field: str, client: dict[str, Any], epsilon: Any, capacity: dict[int, float]
) -> None:
    config = load(None, {})
    config = replace(
        config,
        tree=replace(config.tree, epsilon=epsilon),
        spatial=replace(config.spatial, x=field, bounds=(-1.5, 0.0, 2.0, 1e-7)),
        kafka=replace(config.kafka, client=client),
        shards=replace(config.shards, capacity=capacity),
    )
    assert load(None, to_env(config)) == config
    document = tomllib.loads(to_toml(config))
    flat = {f"{part}.{name}": document[part][name] for part in document for name in document[part]}
    assert load(None, {}, flat) == config


def test_the_whole_configuration_survives_a_file(tmp_path: Path) -> None:
    config = load(None, {}, {"shards.count": 3, "kafka.client": {"sasl.password": 'a"b\\\x7fü'}})
    assert load(written(tmp_path, to_toml(config)), {}) == config


def test_portions_are_not_promoted_beside_warm_copies() -> None:
    with pytest.raises(ConfigError, match="off while there are warm copies"):
        load(None, {}, {"drift.promote": True, "store.standby": 1})
    assert load(None, {}, {"drift.promote": True}).drift.promote
