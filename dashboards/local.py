"""Prometheus for the workers of this machine: what `make dashboards` runs where there is no Docker.

It is the job of prometheus.yml with other targets and another token. The workers are those that
`pctstream up` has written down, so it must run; what Prometheus keeps lies in the same directory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pctstream.commands.context import configured, worker_urls
from pctstream.config import Config
from pctstream.errors import PctError

HERE = Path(__file__).parent
UNPACKED = Path.home() / ".cache" / "pctstream" / "prometheus" / "usr" / "bin"
"""Where CI puts Debian's package, unpacked and not installed: nothing is to run as a service."""


def program(name: str) -> str | None:
    """`prometheus` or `promtool`, from PATH or unpacked; None where there is none."""
    return shutil.which(name) or shutil.which(name, path=str(UNPACKED))


def scraping(targets: list[str], token_file: Path | None, interval: str) -> dict[str, Any]:
    """prometheus.yml with these targets ("host:port")."""
    document: dict[str, Any] = yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))
    document["global"]["scrape_interval"] = interval
    document["rule_files"] = [str(HERE / file) for file in document["rule_files"]]
    for job in document["scrape_configs"]:
        job["static_configs"] = [{"targets": targets}]
        if token_file is None:
            del job["authorization"]
        else:
            job["authorization"]["credentials_file"] = str(token_file)
    return document


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prometheus for the workers of this machine.")
    parser.add_argument("--data-dir", type=Path, help="Where `pctstream up` runs.")
    parser.add_argument("--http", help="URL of the only worker to ask.")
    parser.add_argument("--listen", default="127.0.0.1:9090", help="Of Prometheus itself.")
    parser.add_argument("--interval", default="5s", help="Between two scrapes.")
    return parser.parse_args()


def command(cfg: Config, urls: list[str], given: argparse.Namespace) -> list[str]:
    """The command line that starts Prometheus, its configuration written."""
    found = program("prometheus")
    if found is None:
        raise PctError("no prometheus on PATH: `sudo apt-get install prometheus`")
    folder = Path(cfg.store.dir) / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    targets = [urlsplit(url).netloc for url in urls]
    document = scraping(targets, cfg.http.token_file, given.interval)
    if cfg.http.cert_file is not None:
        believed = {"ca_file": str(cfg.http.ca_file)} if cfg.http.ca_file else {}
        document["scrape_configs"][0] |= {"scheme": "https", "tls_config": believed}
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return [found, f"--config.file={file}", f"--storage.tsdb.path={folder}",
            f"--web.listen-address={given.listen}", "--log.level=warn"]  # fmt: skip


def main() -> None:
    given = arguments()
    try:
        cfg = configured(None, given.data_dir, need_broker=False)
        urls = worker_urls(cfg, given.http)
        words = command(cfg, urls, given)
    except PctError as error:
        sys.exit(f"make dashboards: {error}")
    print(f"Prometheus on http://{given.listen} asks {', '.join(urls)} until Ctrl-C; for Grafana:")
    print(
        f"a Prometheus data source with that address, and the dashboards in {HERE}/grafana/boards/"
    )
    sys.stdout.flush()
    os.execv(words[0], words)


if __name__ == "__main__":
    main()
