"""What several commands need: the configuration, the broker, the workers' addresses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import httpx

from pctstream import config
from pctstream.broker import announced
from pctstream.config import Config
from pctstream.errors import (
    BrokerUnreachable,
    Gone,
    IllegalTransition,
    NotFound,
    NotReady,
    PctError,
    QueryRefused,
    Refused,
    TooLarge,
    UsageError,
)
from pctstream.trust import calling, url

HTTP_TIMEOUT_S = 5.0
BROKER_TIMEOUT_S = 2.0
REFUSALS: dict[int, type[PctError]] = {
    400: UsageError, 401: Refused, 404: NotFound, 409: IllegalTransition, 413: TooLarge,
    410: Gone, 422: QueryRefused,
}  # fmt: skip
"""Whose message a worker's answer is; the class knows the exit code."""


def common_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--config and --data-dir."""
    command = click.option(
        "--data-dir", type=click.Path(path_type=Path), help="Where stores and a local broker live."
    )(command)
    return click.option(
        "--config", "config_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        envvar="PCT_CONFIG", help="A pctstream.toml.",
    )(command)  # fmt: skip


def given(data_dir: Path | None, **overrides: object) -> dict[str, object]:
    """What the command line sets, keyed as `config.load` wants it; PCT_DATA_DIR is --data-dir."""
    found: dict[str, object] = {k.replace("__", "."): v for k, v in overrides.items() if v}
    if data_dir is None and "PCT_DATA_DIR" in os.environ:
        data_dir = Path(os.environ["PCT_DATA_DIR"])
    if data_dir is not None:
        found["store.dir"] = str(data_dir.absolute())
    return found


def configured(
    config_file: Path | None,
    data_dir: Path | None,
    *,
    need_broker: bool = True,
    **overrides: object,
) -> Config:
    """The configuration, with the broker of the data directory when none is named."""
    set_here = given(data_dir, **overrides)
    cfg = config.load(config_file, os.environ, set_here)
    if cfg.kafka.broker or not need_broker:
        return cfg
    found = announced(Path(cfg.store.dir))
    if found is None:
        raise BrokerUnreachable(
            f"no broker: none is named and none runs from {cfg.store.dir}; set PCT_BROKER, or start "
            "one with `pctstream up`"
        )
    return config.load(config_file, os.environ, {**set_here, "kafka.broker": found})


def worker_urls(cfg: Config, http: str | None = None) -> list[str]:
    """Where the workers answer: --http, else what `up` wrote, else the configured address."""
    if http:
        return [(http if "://" in http else url(cfg, http)).rstrip("/")]
    file = Path(cfg.store.dir) / "workers.json"
    with suppress(OSError, ValueError, LookupError, TypeError):
        return list(json.loads(file.read_text())["workers"])
    return [url(cfg)]


def ask(
    cfg: Config, urls: list[str], path: str, body: object = None, timeout_s: float = HTTP_TIMEOUT_S,
    own: bool = True,
) -> Any:  # fmt: skip
    """GET from the first worker that answers; POST where there is a body. ``own``: the tree of the
    configuration is asked; else whichever answers there.

    Raises NotReady where none does, or BrokerUnreachable if that is because their broker is away.
    """
    last: PctError | None = None
    for worker in urls:
        try:
            answer = httpx.request(
                "GET" if body is None else "POST", f"{worker}{path}", json=body,
                timeout=timeout_s, **calling(cfg, own),
            )  # fmt: skip
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            last = last or NotReady(f"no worker answers at {', '.join(urls)}: {error}")
            continue
        if answer.is_success:
            return _read(answer, worker)
        detail = f"{worker} says {answer.status_code}: {_detail(answer)}"
        if answer.status_code in REFUSALS:
            raise REFUSALS[answer.status_code](_detail(answer) or detail)
        last = NotReady(_detail(answer) if answer.status_code == 503 else detail)
    if isinstance(last, NotReady) and str(last).startswith("no worker answers"):
        _ask_broker(cfg)
        last = NotReady(f"{last}; is `pctstream up` running?")
    raise last or NotReady("no worker is known: is `pctstream up` running?")


def _read(answer: httpx.Response, url: str) -> Any:
    try:
        return answer.json()
    except ValueError:
        raise NotFound(f"{url} is no worker of pctstream: name one with --http") from None


def _detail(answer: httpx.Response) -> str:
    """What a problem+json says; of anybody else's answer the beginning."""
    with suppress(ValueError, LookupError, TypeError):
        return str(answer.json()["detail"])
    return answer.text[:200]


def _ask_broker(cfg: Config) -> None:
    """Raise if the reason that nobody answers is that their broker does not."""
    broker = cfg.kafka.broker or announced(Path(cfg.store.dir))
    if broker:
        from pctstream.reach import reach

        reach(replace(cfg, kafka=replace(cfg.kafka, broker=broker)), "ask", BROKER_TIMEOUT_S)
