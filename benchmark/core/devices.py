"""Names of devices, checked without asking for the device itself."""

from __future__ import annotations

import re

from comface_bench.core.errors import UsageError

_DEVICE = re.compile(r"auto|(cpu|cuda)(:(0|[1-9][0-9]*))?")


def check_device(name: str) -> None:
    """Check that a text can name a device, before the work and without torch.

    Raises:
        UsageError: It can't.
    """
    if not _DEVICE.fullmatch(name):
        raise UsageError(f"no device is called {name!r}", "Use auto, cpu, cuda or cuda:N.")
