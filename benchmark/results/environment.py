"""Description of a run's machine and installation: versions, processor, commit; no host, user or path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

_PACKAGES = {
    "comface-bench": "comface-bench",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "open_clip": "open-clip-torch",
    "numpy": "numpy",
    "scipy": "scipy",
}


def describe_environment() -> dict[str, Any]:
    """Describe this machine and installation.

    Versions are read from package metadata, nothing is imported. What only torch knows (threads, GPU, CUDA,
    cuDNN) is under `torch` if torch is already imported, which is null otherwise.

    Returns:
        JSON-ready facts: `versions`, `system`, `machine`, `cpu`, `cores`, `torch`, `git`.
    """
    return {
        "versions": {"python": platform.python_version()}
        | {name: _version(p) for name, p in _PACKAGES.items()},
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch": _torch(),
        "git": _git(Path(__file__).parent),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), None)


def _torch() -> dict[str, Any] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    cuda = torch.cuda.is_available()
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if cuda else None,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "gpu": torch.cuda.get_device_name() if cuda else None,
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Describe the checkout that the package is tracked in; an installed copy inside some other one isn't."""
    try:
        if not _ask_git(folder, "ls-files", "--", Path(__file__).name):
            return None
        commit = _ask_git(folder, "rev-parse", "HEAD")
        dirty = bool(_ask_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": dirty}


def _ask_git(folder: Path, *arguments: str) -> str:
    # The user's own git, found on their PATH, with fixed arguments.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603
    return run.stdout.strip()
