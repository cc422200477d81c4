"""What every benchmark writes beside its figures: the command, the versions and the machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distil.rundir import versions


def machine() -> dict[str, Any]:
    """Return cores, processor and memory."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cores": os.cpu_count(), "processor": model, "memory_gib": round(memory / 2**30)}


def write_result(path: Path, data: dict[str, Any]) -> None:
    """Write `data` as JSON, with command, date and versions in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    program = Path(sys.argv[0]).resolve()
    shown = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program.name
    found = versions()
    head = {
        "command": " ".join(["python", str(shown), *sys.argv[1:]]),
        "date": datetime.now(UTC).date().isoformat(),
        "python": found["python"],
        "packages": found["packages"],
    }
    path.write_text(json.dumps(head | data, indent=2) + "\n")
