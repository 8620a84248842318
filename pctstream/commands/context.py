"""What several commands need: the configuration, the broker, the workers' addresses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import httpx

from pctstream import config
from pctstream.broker import announced
from pctstream.config import Config
from pctstream.errors import (
    BrokerUnreachable,
    NotFound,
    NotReady,
    PctError,
    QueryRefused,
    Refused,
    TooLarge,
    UsageError,
)
from pctstream.token import headers

HTTP_TIMEOUT_S = 5.0
REFUSALS: dict[int, type[PctError]] = {
    400: UsageError, 401: Refused, 404: NotFound, 413: TooLarge, 422: QueryRefused,
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


def configured(
    config_file: Path | None,
    data_dir: Path | None,
    *,
    need_broker: bool = True,
    **overrides: object,
) -> Config:
    """The configuration, with the broker of the data directory when none is named."""
    given: dict[str, object] = {k.replace("__", "."): v for k, v in overrides.items() if v}
    if data_dir is None and "PCT_DATA_DIR" in os.environ:
        data_dir = Path(os.environ["PCT_DATA_DIR"])
    if data_dir is not None:
        given["store.dir"] = str(data_dir.absolute())
    cfg = config.load(config_file, os.environ, given)
    if cfg.kafka.broker or not need_broker:
        return cfg
    found = announced(Path(cfg.store.dir))
    if found is None:
        raise BrokerUnreachable(
            f"no broker: none is named and none runs from {cfg.store.dir}; set PCT_BROKER, or start "
            "one with `pctstream up`"
        )
    return config.load(config_file, os.environ, {**given, "kafka.broker": found})


def worker_urls(cfg: Config, http: str | None = None) -> list[str]:
    """Where the workers answer: --http, else what `up` wrote, else the configured address."""
    if http:
        return [http.rstrip("/")]
    file = Path(cfg.store.dir) / "workers.json"
    if file.exists():
        return list(json.loads(file.read_text())["workers"])
    return [f"http://{cfg.http.bind}"]


def ask(cfg: Config, urls: list[str], path: str, body: object = None) -> Any:
    """GET from the first worker that answers; POST where there is a body."""
    last: Exception | None = None
    for url in urls:
        try:
            answer = httpx.request(
                "GET" if body is None else "POST", f"{url}{path}", json=body,
                timeout=HTTP_TIMEOUT_S, headers=headers(cfg),
            )  # fmt: skip
        except httpx.HTTPError as error:
            last = error
            continue
        if answer.status_code == 503:
            last = NotReady(str(answer.json().get("detail", answer.text)))
            continue
        if answer.status_code in REFUSALS:
            raise REFUSALS[answer.status_code](str(answer.json()["detail"]))
        answer.raise_for_status()
        return answer.json()
    raise NotReady(f"no worker answers at {', '.join(urls)}: {last}; is `pctstream up` running?")
