"""The file of tokens: what it may hold, and that it is read again when it is another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pctstream import config, token, trust
from pctstream.errors import ConfigError
from pctstream.token import Tokens, allowed


def written(file: Path, text: str) -> Path:
    """As it should be changed: whole or not at all."""
    draft = file.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(file)
    return file


def test_two_are_valid_while_a_token_changes(tmp_path: Path) -> None:
    tokens = Tokens(written(tmp_path / "t", "old\n"))
    seen = [tokens.valid()]
    for text in ("old\nnew\n", "new\nold\n\n", "  new  \n"):
        written(tmp_path / "t", text)
        seen.append(tokens.valid())
    assert seen == [("old",), ("old", "new"), ("new", "old"), ("new",)]


@pytest.mark.parametrize("text", ["", "\n \n", "a\nb\nc\n", "t\xf6ken\n", "a\x00b"])
def test_a_file_that_is_wrong_is_refused_at_start_and_changes_nothing_later(
    tmp_path: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "t", text)
    with pytest.raises(ConfigError, match=r"http\.token_file"):
        Tokens(file)
    tokens = Tokens(written(file, "secret\n"))
    written(file, text)
    assert tokens.valid() == tokens.valid() == ("secret",)
    assert capfd.readouterr().err.count("the tokens of before stay valid") == 1
    file.unlink()
    assert tokens.valid() == ("secret",)


def test_a_link_that_points_elsewhere_is_another_file(tmp_path: Path) -> None:
    """As secrets are changed in a container: same size, maybe the same time, another inode."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"secret {name}")
        os.utime(tmp_path / name, ns=(0, 0))
    link = tmp_path / "token"
    link.symlink_to("a")
    tokens = Tokens(link)
    link.unlink()
    link.symlink_to("b")
    assert tokens.valid() == ("secret b",)


def test_who_is_let_in() -> None:
    valid = ("one", "two")
    for shown in ("Bearer one", "Bearer two"):
        assert allowed(valid, "/v1/tree", shown)
    for shown in (None, "", "one", "Bearer", "Bearer ", "Bearer on", "bearer one", "Bearer \xf6"):
        assert not allowed(valid, "/v1/tree", shown)
    open_paths = ("/livez", "/readyz", "/", "/docs", "/page/docs.js")
    assert all(allowed(valid, path, None) for path in open_paths)
    closed = ("/metrics", "/openapi.json", "/v1/tree", "/docs/", "/page")
    assert not any(allowed(valid, path, None) for path in closed)


def test_clients_of_ours_send_the_first_of_now(tmp_path: Path) -> None:
    file = written(tmp_path / "t", "old\n")
    cfg = config.load(None, {}, {"http.token_file": str(file)})
    assert token.headers(cfg) == {"Authorization": "Bearer old"}
    written(file, "new\nold\n")
    assert trust.calling(cfg)["headers"] == {"Authorization": "Bearer new", "pct-tree": "pct"}


def test_a_certificate_and_its_key_go_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"http\.cert_file .* together with http\.key_file"):
        config.load(None, {}, {"http.key_file": "key.pem"})
    (tmp_path / "x.pem").write_text("no certificate")
    named = {f"http.{one}_file": str(tmp_path / "x.pem") for one in ("cert", "key")}
    cfg = config.load(None, {}, named)
    assert trust.url(cfg, "h:1") == "https://h:1"
    with pytest.raises(ConfigError, match="no certificate with its key"):
        trust.check(cfg)
    with pytest.raises(ConfigError, match=r"http\.ca_file"):
        trust.check(config.load(None, {}, {"http.ca_file": str(tmp_path / "x.pem")}))
