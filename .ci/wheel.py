"""The wheel, alone: built, installed into an empty environment, and the whole system run from there.

Nothing of the checkout is on the path; the packages are those of requirements.lock, from the registry that
pip is set to; the broker's jars are those of the user's cache. What is said at the end are the figures, and
the exit code is 0 only if every row that was fed is there once.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = 20_000
MAKE_ROWS = f"""
import numpy as np
rng = np.random.default_rng(0)
rows = rng.normal(0, 6, (12, 16))[rng.integers(0, 12, {ROWS})] + rng.normal(0, 0.4, ({ROWS}, 16))
np.save("rows.npy", rows.astype("f4"))
"""
WHERE = "import pctstream; print(pctstream.__file__)"


class Clean:
    """An empty environment in a folder, and what is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        kept = ("HOME", "PATH", "LANG", "TMPDIR")
        self.env = {name: os.environ[name] for name in kept if name in os.environ}
        self.env |= {name: v for name, v in os.environ.items() if name.startswith(("PIP_", "UV_"))}

    def run(self, *words: str | Path) -> str:
        """What a command says, in the folder; it must end with 0."""
        done = subprocess.run(
            [str(word) for word in words], cwd=self.folder, env=self.env, text=True,
            capture_output=True, timeout=900,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"{' '.join(map(str, words))}: exit {done.returncode}\n{done.stderr}")
        return done.stdout

    def pctstream(self, *words: str) -> str:
        return self.run(self.bin / "pctstream", *words)


def built(folder: Path) -> Path:
    """The wheel of this checkout."""
    build = f"import hatchling.build as b; print(b.build_wheel({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def installed(clean: Clean, wheel: Path) -> int:
    """The number of packages, after the wheel and what it asks for are there."""
    subprocess.run([sys.executable, "-m", "venv", clean.folder / "venv"], check=True)
    python, pins = clean.bin / "python", clean.folder / "pins.txt"
    # without hashes, were there some: the wheel itself has none, and pip wants all or nothing
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins.write_text("\n".join(re.findall(r"^\w[^\s\\]+==.*?(?= *\\?$)", lock, re.M)))
    clean.run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check",
              "--constraint", pins, wheel)  # fmt: skip
    inside = Path(clean.run(python, "-c", WHERE).strip())
    if not inside.is_relative_to(clean.folder):
        sys.exit(f"not the wheel's own package: {inside}")
    listed = clean.run(python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    return len(json.loads(listed))


def ready(up: subprocess.Popen[str]) -> str:
    """The address that `pctstream up` says when it serves."""
    assert up.stdout is not None
    for line in up.stdout:
        if line.startswith("ready "):
            return line.split()[1]
    sys.exit(f"pctstream up ended with {up.wait()}")


def lived(clean: Clean, port: int) -> dict[str, object]:
    """The system is run, fed, asked, compared and stopped; the figures."""
    clean.run(clean.bin / "python", "-c", MAKE_ROWS)
    begun = time.monotonic()
    words = [str(clean.bin / "pctstream"), "up", "--data-dir", "data"]
    up = subprocess.Popen(
        [*words, "--http", f"127.0.0.1:{port}"], cwd=clean.folder, env=clean.env, text=True,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        ready(up)
        took = time.monotonic() - begun
        fed = time.monotonic()
        clean.pctstream("feed", "rows.npy", "--data-dir", "data", "--wait")
        fed = time.monotonic() - fed
        tree = json.loads(clean.pctstream("status", "--json", "--data-dir", "data"))["tree"]
        verdict = json.loads(clean.pctstream("verify", "--json", "--data-dir", "data"))
    finally:
        up.send_signal(signal.SIGTERM)
        code = up.wait(60)
    return {"ready_s": round(took, 1), "fed_s": round(fed, 1), "rows": tree["rows"],
            "levels": len(tree["levels"]), "verdict": verdict, "ended_with": code}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="The wheel in a clean environment.")
    parser.add_argument("--port", type=int, default=8890, help="Of the first worker.")
    port = parser.parse_args().port
    with tempfile.TemporaryDirectory(prefix="pctstream-wheel-") as name:
        clean = Clean(Path(name))
        begun = time.monotonic()
        wheel = built(clean.folder)
        size = wheel.stat().st_size
        packages = installed(clean, wheel)
        said: dict[str, object] = {"wheel": wheel.name, "bytes": size, "packages": packages,
                                   "installed_s": round(time.monotonic() - begun, 1)}  # fmt: skip
        said |= lived(clean, port)
    print(json.dumps(said))
    verdict = said["verdict"]
    assert isinstance(verdict, dict)
    right = (said["rows"], verdict["lost"], verdict["duplicated"], said["ended_with"])
    sys.exit(0 if right == (ROWS, 0, 0, 0) else 1)


if __name__ == "__main__":
    main()
