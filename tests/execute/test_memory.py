"""Memory that runs out fails one unit, with what to do; what it had taken is free for the next."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from comface_bench.core.events import Event
from comface_bench.core.protocol import resolve_protocol
from comface_bench.engine.jobs import explain_memory
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan

GREEDY = """
import torch
from comface_bench.core.card import MethodCard, Preprocess

CARD = MethodCard(name="greedy", version=1, build=":build", backbone="tiny", preprocess=Preprocess())
MADE, FULL = [], []  # those of the first fold find no memory


class Greedy(torch.nn.Sequential):
    def forward(self, images):
        if self.training and len(MADE) == 1:
            raise FULL[0]
        return super().forward(images)


def build(options, weights, seed):
    torch.manual_seed(seed)
    layers = torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    network = Greedy(*layers)
    import weakref
    MADE.append(weakref.ref(network))
    return network
"""


def allocate_too_much() -> RuntimeError:
    """What the allocator of the CPU says."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    "full",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …\nSee …"),
        allocate_too_much(),
        MemoryError(),
    ],
    ids=["device", "machine", "Python"],
)
def test_a_unit_without_memory_fails_with_advice_and_the_next_one_runs(
    make_request: Callable[..., Request], tmp_path: Path, full: Exception
) -> None:
    from comface_bench.core.registry import load_plugin_file

    path = tmp_path / "greedy.py"
    path.write_text(GREEDY)
    module = load_plugin_file(path)
    module.FULL.append(full)
    request = make_request(methods=["greedy"], plugin_files=[path], protocol="finetune", folds=[0, 1, 2])
    events: list[Event] = []
    still_there: list[weakref.ref[torch.nn.Module]] = []

    def note(event: Event) -> None:
        events.append(event)
        if event.kind == "stage" and event.fold == 1 and not still_there:
            gc.disable()
            still_there.extend(network for network in module.MADE[:1] if network() is not None)
            gc.enable()

    finished = run_plan(make_plan(request), request, note)
    assert [unit.fold for unit, _ in finished.failed] == [0]
    (record,) = finished.records
    assert [unit.fold for unit in record.units] == [1, 2]
    (failure,) = record.failures
    assert failure.message.startswith("memory ran out: ")
    assert "\n" not in failure.message
    assert "-o batch_size=N (now 16), -o image_size=N (now 16)" in failure.hint
    assert not still_there, "the network of the failed unit holds memory that the next one needs"


def test_other_errors_are_no_lack_of_memory() -> None:
    protocol = resolve_protocol("linear", "age")
    assert explain_memory(RuntimeError("shapes can't be multiplied"), protocol) is None
    assert explain_memory(ValueError("out of memory"), protocol) is None
    explained = explain_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), protocol)
    assert explained is not None
    assert "batch_size" not in explained.hint, "no backbone is trained"
    assert "precision=bfloat16" in explained.hint
