"""Explanations: which regions of two photographs moved a record's estimate, and their picture."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from comface_bench.core.errors import MissingExtraError, UnitError, UnlikePhotoError, UsageError
from comface_bench.engine.attribution import STEPS, Windows, blur
from comface_bench.engine.pair_model import AttributionKind
from comface_bench.execute.explanation import Explanation, check_format
from comface_bench.execute.models import Model, load_model
from comface_bench.execute.plan import Request, make_plan
from comface_bench.execute.run import run_plan
from comface_bench.results.store import ResultStore

MakeRequest = Callable[..., Request]

CORNER = """
import torch
from comface_bench.core.card import MethodCard, Preprocess

CARDS = (MethodCard(name="corner", version=1, build=":build", backbone="tiny", preprocess=Preprocess()),)


class Corner(torch.nn.Module):  # sees the upper right corner of 6 × 6 pixels alone
    def forward(self, images):
        seen = images[:, :, :6, -6:]
        means = [seen.mean(dim=(1, 2, 3)), seen.square().mean(dim=(1, 2, 3))]
        return torch.stack([*means, seen[:, 0, 2, 2], seen[:, 2, 4, 1]], dim=1)


def build(options, weights, seed):
    return Corner()
"""


def make_model(make_request: MakeRequest, plugin: Path, protocol: str = "probe", **changes: Any) -> Model:
    request = make_request(protocol=protocol, folds=(0, 1), save_models=True, **changes)
    if protocol == "probe":
        kept = {key: request.options[key] for key in ("split", "image_size")} | changes.get("options", {})
        request = dataclasses.replace(request, options=kept)
    run_plan(make_plan(request), request, lambda event: None)
    (path,) = ResultStore(request.results).paths()
    return load_model(path, plugin_files=[plugin], use_plugins=False, device="cpu", find_faces=False)


@pytest.fixture
def pictures(data: Path) -> list[Path]:
    return sorted((data / "FGNET" / "images").iterdir())


def shown(model: Model, files: list[Path]) -> torch.Tensor:
    with model._show(files) as images:
        return images.plain(np.arange(len(files)))


@pytest.mark.parametrize(
    ("protocol", "options"),
    [("probe", {}), ("probe", {"mirror": "mean"}), ("linear", {"head": "concat"}), ("finetune", {})],
)
def test_effects_are_those_of_each_model_in_a_loop(
    protocol: str, options: dict[str, str], make_request: MakeRequest, plugin: Path, pictures: list[Path]
) -> None:
    model = make_model(make_request, plugin, protocol, options=options, seeds=(0, 1))
    files, ticks = [pictures[0], pictures[3]], []
    found = model.explain(
        *files, window=0.5, stride=0.5, progress=lambda done, total: ticks.append((done, total))
    )
    assert found.effects.shape == (2, 2, 2)
    assert ticks[-1] == (2 * 4 * len(model.shares),) * 2
    predicted = model.predict(*files)
    assert (found.change, found.low, found.high) == (predicted.change, predicted.low, predicted.high)
    assert (found.unit, found.target) == ("years", "age")
    pair = shown(model, files)
    expected = []
    for share in model.shares:
        encoder, heads = model.load(share)

        def features(image: torch.Tensor, encoder: Any = encoder, kind: str = heads.mirror) -> torch.Tensor:
            both = torch.stack([image, image.flip(2)])
            with torch.no_grad():
                own, mirrored = encoder(both).double()
            return (own + mirrored) / 2 if kind == "mean" else own

        def estimates(first: torch.Tensor, second: torch.Tensor, heads: Any = heads) -> NDArray[np.float64]:
            before, after = features(first), features(second)
            joined = torch.cat([before, after]) if heads.head == "concat" else after - before
            return (heads.weights @ joined).numpy()

        for answers in np.array(
            [
                [estimates(*pair) - estimates(*hide(pair, side, place, found.windows)) for place in range(4)]
                for side in (0, 1)
            ]
        ).transpose(2, 0, 1):
            expected.append(answers.reshape(2, 2, 2))
    assert len(expected) == 4
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found.effects, np.mean(expected, axis=0), rtol=0, atol=1e-4 * scale)


def hide(pair: torch.Tensor, side: int, place: int, windows: Windows) -> torch.Tensor:
    hidden, (down, across) = pair.clone(), windows.slices()[place]
    hidden[side, :, down, across] = blur(pair, windows.side)[side, :, down, across]
    return hidden


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_a_network_of_one_corner_lights_that_corner_alone(
    method: AttributionKind, make_request: MakeRequest, tmp_path: Path, pictures: list[Path]
) -> None:
    plugin = tmp_path / "corner.py"
    plugin.write_text(CORNER)
    model = make_model(make_request, plugin, methods=["corner"], plugin_files=[plugin])
    found = model.explain(pictures[0], pictures[3], method=method, window=0.25, stride=0.125)
    maps = np.abs(found.maps)
    assert maps.shape == (2, 16, 16)
    # 4 pixels are a window: none that reaches the corner lies outside of these 9.
    outside = np.ones((16, 16), bool)
    outside[:9, -9:] = False
    for one in maps:
        assert one[outside].max() < 1e-4 * one.max()
        row, column = np.unravel_index(one.argmax(), one.shape)
        assert row < 6 and column >= 10
    for side in (0, 1):
        effect, across, down = found.find_strongest(side)
        assert abs(effect) == np.abs(found.effects[side]).max() and across > 0.6 and down < 0.4


@pytest.mark.parametrize("method", ["occlusion", "gradients"])
def test_photographs_in_the_other_order_give_the_opposite(
    method: AttributionKind, make_request: MakeRequest, plugin: Path, pictures: list[Path]
) -> None:
    model = make_model(make_request, plugin)
    one, other = pictures[0], pictures[3]
    there, back = model.explain(one, other, method=method), model.explain(other, one, method=method)
    scale = np.abs(there.effects).max()
    np.testing.assert_allclose(back.effects[::-1], -there.effects, rtol=0, atol=1e-6 * scale)
    assert (back.images[::-1] == there.images).all()
    same = model.explain(one, one, method=method)
    assert same.change == 0
    np.testing.assert_allclose(same.effects[0], -same.effects[1], rtol=0, atol=1e-6 * scale)


def test_gradients_of_trained_backbones_sum_to_what_blurring_the_photographs_takes(
    make_request: MakeRequest, plugin: Path, pictures: list[Path]
) -> None:
    model = make_model(make_request, plugin, "finetune")
    files, ticks = [pictures[1], pictures[2]], []
    # One window over all.
    found = model.explain(
        *files,
        method="gradients",
        window=1,
        stride=1,
        progress=lambda done, total: ticks.append((done, total)),
    )
    assert ticks[-1] == (2 * STEPS * 2,) * 2
    hidden = model.explain(*files, window=1, stride=1)
    assert np.abs(hidden.effects).min() > 0
    np.testing.assert_allclose(found.effects, hidden.effects, rtol=0.05)


def test_what_cant_be_explained_is_said(
    make_request: MakeRequest,
    plugin: Path,
    pictures: list[Path],
    tmp_path: Path,
    draw_image: Callable[..., Path],
) -> None:
    model = make_model(make_request, plugin)
    one, other = pictures[:2]
    grey = draw_image(tmp_path / "grey.png", 1, (20, 20), "L")
    with pytest.raises(UnlikePhotoError, match="is grey"):
        model.explain(one, grey)
    assert model.explain(one, grey, check=False).effects.shape[0] == 2
    with pytest.raises(UnlikePhotoError, match="there is no photograph"):
        model.explain(tmp_path / "none.jpg", one)
    for options, said in (
        ({"method": "saliency"}, "no method is called 'saliency'"),
        ({"window": 0}, "a window of 0"),
        ({"window": 0.2, "stride": 0.3}, "a stride of 0.3"),
        ({"level": 95}, "a level of 95"),
    ):
        with pytest.raises(UsageError, match=said):
            model.explain(one, other, **options)  # type: ignore[arg-type]
    # Windows smaller than the usual stride lie side by side.
    assert model.explain(one, other, window=0.01).windows.rows == tuple(range(16))


def test_a_backbone_without_gradients_is_said(
    make_request: MakeRequest, plugin: Path, pictures: list[Path]
) -> None:
    plugin.write_text(
        plugin.read_text().replace(
            "return torch.nn.Sequential(*layers)",
            """
    class Cut(torch.nn.Sequential):
        def forward(self, images):
            return super().forward(images).detach()
    return Cut(*layers)
""",
        )
    )
    model = make_model(make_request, plugin)
    with pytest.raises(UnitError, match="no gradients") as caught:
        model.explain(*pictures[:2], method="gradients")
    assert "occlusion" in caught.value.hint
    assert np.abs(model.explain(*pictures[:2]).effects).max() > 0


def made(target: str = "age", unit: str = "years", first: str = "young.jpg") -> Explanation:
    """An explanation in which one region of the first photograph raises, and one of the second lowers."""
    windows = Windows.over(24, 24, 0.25, 0.25)
    effects = np.zeros((2, *windows.shape))
    effects[0, 0, 0], effects[1, 3, 3] = 2, -1
    images = np.full((2, 24, 24, 3), 128, np.uint8)
    return Explanation(
        Path(first), Path("old.jpg"), target, unit, 3.0, 1.0, 6.0, "occlusion", windows, images, effects
    )


def test_the_picture_shows_both_photographs_and_both_maps() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    drawn = made().draw()
    with Image.open(io.BytesIO(drawn), formats=["JPEG", "PNG"]) as opened:
        assert opened.format == "PNG" and opened.size == (810, 840)
        pixels = np.asarray(opened.convert("RGB")).astype(int)
    assert made().draw() == drawn
    # Maps over grey photographs, on one scale: red upper left of the first, half as strong blue lower right
    # of the second.
    colours = matplotlib.colormaps["RdBu_r"]
    for (row, column), share in (((405, 55), 1.0), ((700, 755), 0.25), ((405, 460), 0.5), ((700, 300), 0.5)):
        expected = 0.4 * 128 + 0.6 * 255 * np.array(colours(share)[:3])
        np.testing.assert_allclose(pixels[row, column], expected, rtol=0, atol=2)
    # The photographs themselves are grey all over.
    assert np.abs(pixels[80:370, 60:750, 0] - pixels[80:370, 60:750, 2]).max() == 0


def test_other_formats_and_texts_of_anybody(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    hostile = made(r"$\frac{<script>$", "a\x1b[31m" + "b" * 200, "写真 $x$.jpg")
    hostile.save(tmp_path / "a.svg")
    text = "".join(ElementTree.parse(tmp_path / "a.svg").getroot().itertext())
    assert r"$\frac{<script>$: +3" in text and "\x1b" not in text and "b" * 100 not in text
    assert "写真 $x$.jpg" in text
    made().save(tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    made().save(tmp_path / "a.JPG")
    with Image.open(tmp_path / "a.JPG", formats=["JPEG", "PNG"]) as opened:
        assert opened.format == "JPEG"
    with pytest.raises(UsageError, match=r"a picture is called \.png, \.jpg, \.svg or \.pdf"):
        made().save(tmp_path / "a.gif")
    assert not (tmp_path / "a.gif").exists()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError) as caught:
        check_format(Path("a.png"))
    assert "comface-bench[plots]" in caught.value.hint
    assert made()._repr_png_() is None


def test_an_explanation_says_itself_briefly() -> None:
    assert str(made()) == "age: +3 years (+1 to +6)"
    assert repr(made()) == (
        "<Explanation of age: +3 years (+1 to +6) by occlusion, 4 × 4 windows of each photograph>"
    )
    assert made().find_strongest(0) == (2, 0.125, 0.125)
    assert made().find_strongest(1) == (-1, 0.875, 0.875)
