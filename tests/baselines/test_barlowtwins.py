from __future__ import annotations

import sys

import pytest
import torch

from comface_bench.core.errors import WeightsFormatError
from comface_bench.engine.encoder import load_method
from comface_bench.weights.convert import convert_weights


@pytest.fixture(scope="module")
def tensors(draw_resnet):
    return draw_resnet(8)


@pytest.fixture(scope="module")
def pictures(photos):
    return photos(96)


@pytest.fixture(scope="module")
def expected(tensors, pictures, reference):
    """ImageNet's statistics and torchvision's network."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).double() / 255
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).view(2, 1, 3, 1, 1).double()
    return reference(tensors, (images - mean) / std)


@pytest.mark.parametrize(
    ("layout", "form"), [("barlowtwins", "zip"), ("barlowtwins", "legacy"), ("barlowtwins, training", "zip")]
)
def test_features_are_the_authors(
    layout, form, tensors, pictures, expected, lay_out, temporary, as_input, distance
):
    with temporary(lay_out(layout, tensors), form) as path, torch.no_grad():
        found = load_method("barlowtwins", checkpoint=path)(as_input(pictures))
    assert found.shape == (2, 2048)
    assert expected.std() > 0.1
    assert distance(found, expected) < 1e-4


def test_a_training_checkpoint_that_names_a_function_is_converted_first(
    tensors, pictures, expected, lay_out, temporary, as_input, distance, monkeypatch
):
    def exclude_bias_and_norm(parameter):
        raise AssertionError("a checkpoint's function ran")

    # Some of the authors' versions keep two functions of the training script in the optimiser's state.
    exclude_bias_and_norm.__module__, exclude_bias_and_norm.__qualname__ = "__main__", "exclude_bias_and_norm"
    monkeypatch.setattr(
        sys.modules["__main__"], "exclude_bias_and_norm", exclude_bias_and_norm, raising=False
    )
    content = lay_out("barlowtwins, training", tensors)
    content["optimizer"]["param_groups"][0]["weight_decay_filter"] = exclude_bias_and_norm
    with temporary(content) as path:
        with pytest.raises(WeightsFormatError, match=r"__main__\.exclude_bias_and_norm") as caught:
            load_method("barlowtwins", checkpoint=path)
        assert "weights convert" in caught.value.hint
        converted = convert_weights(path).path
        with torch.no_grad():
            assert (
                distance(load_method("barlowtwins", checkpoint=converted)(as_input(pictures)), expected)
                < 1e-4
            )
        converted.unlink()
