"""Settings (a) to (d) of the supplement's C.4 and C.5, through the whole chain, with ComFace's own head."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from comface_bench.baselines.networks import build_backbone
from comface_bench.comface.model import ComFace
from comface_bench.core.weights import cache_folder
from comface_bench.data.augment import resize
from comface_bench.data.image_store import open_image_store
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.results.schema import Record
from comface_bench.results.store import ResultStore

YEARS = 6.5
"""Of α = 1."""
MakeRequest = Callable[..., Request]


@pytest.fixture(scope="module")
def network() -> ComFace:
    torch.manual_seed(0)
    return ComFace(build_backbone("resnet18", 3), 512, attributes=("age",)).eval()


@pytest.fixture
def run(make_request: MakeRequest, network: ComFace, tmp_path: Path) -> Callable[..., tuple[Record, Request]]:
    weights = tmp_path / "comface.safetensors"
    tensors = {f"backbone.{name}": tensor for name, tensor in network.backbone.state_dict().items()}
    tensors |= {f"heads.{name}": tensor for name, tensor in network.head_weights().items()}
    facts = {"format": 1, "backbone": "resnet18", "starts": {"age": {"head": "age", "per_alpha": YEARS}}}
    save_file(tensors, weights, {"comface": json.dumps(facts)})

    def go(protocol: str, **options: str) -> tuple[Record, Request]:
        small = {"backbone": "resnet18", "checkpoint": str(weights), "image_size": "32", "epochs": "1"}
        request = make_request(
            methods=["comface"], protocol=protocol, options=small | options, folds=[0], plugin_files=[]
        )
        finished = run_plan(make_plan(request), request)
        assert not finished.failed
        return finished.records[0], request

    return go


def test_linear_starts_from_a_drawn_head_and_by_option_from_comfaces_own(
    run: Callable[..., tuple[Record, Request]], network: ComFace
) -> None:
    a, _ = run("linear", epochs="0")
    b, request = run("linear", epochs="0", head_start="pretrained")
    assert a.protocol.values["head_start"] == "scratch"
    assert b.protocol.values["head_start"] == "pretrained"
    (cell,) = make_plan(request).cells
    pairs = cell.task.pairs(0, "test")
    table = cell.task.table
    images = open_image_store(table, 37, cache=cache_folder() / "images")
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        x, y = (
            network.backbone((resize(images.gather(rows), 32) - mean) / std) for rows in (pairs.x, pairs.y)
        )
        expected = (YEARS * (y - x) @ network.head_weights()["age"]).numpy()
    found = np.array([row.yhat for row in ResultStore(request.results).load_predictions(b)])
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_fine_tuning_starts_from_comfaces_own_head_and_by_option_from_a_drawn_one(
    run: Callable[..., tuple[Record, Request]],
) -> None:
    d, _ = run("finetune")
    c, _ = run("finetune", head_start="scratch")
    assert d.protocol.values["head_start"] == "pretrained"
    assert "head_start" not in d.protocol.name
    assert c.protocol.values["head_start"] == "scratch"
    assert c.protocol.name != d.protocol.name
    assert c.method.name == d.method.name
    assert c.method.checkpoint_digest is not None
    assert c.units[0].predictions_digest != d.units[0].predictions_digest
