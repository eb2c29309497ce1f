from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from comface_bench.comface.synthesis.anny.head_model import load_head

if TYPE_CHECKING:
    from comface_bench.comface.synthesis.anny.head_model import HeadModel


@pytest.fixture(scope="session")
def head() -> HeadModel:
    """The head model, which takes seconds to build."""
    pytest.importorskip("anny")
    return load_head()
