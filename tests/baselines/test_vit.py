"""ViT methods from timm: features of small networks from the files' keys by hand, then the real sizes."""

from __future__ import annotations

import math

import open_clip
import pytest
import timm
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from safetensors.torch import save_file
from torch.nn import functional
from torchvision.transforms.functional import to_pil_image

from comface_bench.baselines import vit
from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.core.registry import method_registry
from comface_bench.engine.encoder import load_method

WIDTH, HEAD = 192, 64
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(autouse=True)
def small_network(request):
    """Shrink the network to two narrow blocks, but for tests of the real sizes."""
    if "real_size" not in request.fixturenames:
        request.getfixturevalue("small")


@pytest.fixture
def real_size():
    """Leave the network as it is."""


@pytest.fixture(scope="module")
def dinov2_weights(draw, vit_shapes):
    registers = {"register_tokens": (1, 4, WIDTH), "mask_token": (1, WIDTH)}
    return draw(vit_shapes(patch=14, tokens=1 + 37 * 37, scale=True) | registers, 4)


@pytest.fixture(scope="module")
def dinov3_weights(draw, vit_shapes):
    extra = {"storage_tokens": (1, 4, WIDTH), "mask_token": (1, WIDTH)}
    shapes = vit_shapes(scale=True) | extra
    del shapes["pos_embed"]
    weights = draw(shapes, 5)
    for number in range(2):
        # Biases of q and v came out zero; k's is masked, whatever stands there.
        name = f"blocks.{number}.attn.qkv.bias"
        weights[name] = torch.cat([torch.zeros(WIDTH), torch.ones(WIDTH), torch.zeros(WIDTH)])
        weights[f"{name}_mask"] = 1 - weights[name]
    return weights | {"rope_embed.periods": periods().float()}


def periods():
    return 100.0 ** (torch.arange(HEAD // 4, dtype=torch.float64) / (HEAD // 4))


def dinov2_tokens(weights, images, transform, embed, resample):
    position = resample(weights["pos_embed"], *(side // 14 for side in images.shape[-2:]))
    first = (weights["cls_token"].double() + position[:, :1]).expand(len(images), -1, -1)
    registers = weights["register_tokens"].double().expand(len(images), -1, -1)
    patches = embed(weights, images) + position[:, 1:]
    return transform(weights, torch.cat([first, registers, patches], dim=1))


def dinov3_tokens(weights, images, transform, embed, resample):
    patches = embed(weights, images)
    side = math.isqrt(patches.shape[1])
    centres = 2 * (torch.arange(side, dtype=torch.float64) + 0.5) / side - 1
    places = torch.stack(torch.meshgrid(centres, centres, indexing="ij"), dim=-1).reshape(-1, 2, 1)
    angles = (2 * math.pi * places / periods()).flatten(1).tile(2)

    def turn(heads):
        fixed, moved = heads[:, :, :5], heads[:, :, 5:]
        half = HEAD // 2
        rotated = torch.cat([-moved[..., half:], moved[..., :half]], dim=-1)
        return torch.cat([fixed, moved * angles.cos() + rotated * angles.sin()], dim=2)

    tokens = [weights[name].double().expand(len(images), -1, -1) for name in ("cls_token", "storage_tokens")]
    unbiased = {name: tensor for name, tensor in weights.items() if not name.endswith("qkv.bias")}
    return transform(unbiased, torch.cat([*tokens, patches], dim=1), 1e-5, turn)


@pytest.mark.parametrize(("method", "tokens"), [("dinov2", dinov2_tokens), ("dinov3", dinov3_tokens)])
@pytest.mark.parametrize("size", [112, 224])
def test_features_are_the_class_token_of_the_authors_network(
    request,
    tmp_path,
    draw_images,
    transform,
    embed,
    resample,
    normalise,
    assert_same,
    assert_other,
    method,
    tokens,
    size,
):
    weights = request.getfixturevalue(f"{method}_weights")
    torch.save(weights, tmp_path / "theirs.pth")
    images = draw_images(size)
    expected = tokens(weights, normalise(images, *IMAGENET), transform, embed, resample)
    with torch.no_grad():
        found = load_method(method, checkpoint=tmp_path / "theirs.pth")(images)
    assert found.shape == (2, WIDTH)
    assert_same(found, expected[:, 0])
    assert_other(expected[:, 5:].mean(1), expected[:, 0])  # What pooling the patches would give.


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
def test_images_are_resized_to_whole_patches(request, tmp_path, draw_images, method):
    torch.save(request.getfixturevalue(f"{method}_weights"), tmp_path / "theirs.pth")
    encoder = load_method(method, checkpoint=tmp_path / "theirs.pth")
    whole = 98 if method == "dinov2" else 96  # Seven patches of 14 pixels, six of 16.
    fitted = functional.interpolate(draw_images(100), (whole, whole), mode="bicubic", antialias=True).clamp(
        0, 1
    )
    with torch.no_grad():
        assert (encoder(draw_images(100)) - encoder(fitted)).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("method", "file"),
    [
        ("dinov2", "dinov2_vitb14_reg4_pretrain.pth"),
        ("dinov3", "dinov3_vitb16_pretrain_lvd1689m-73cec8be.pth"),
    ],
)
@pytest.mark.parametrize("folder", ["", "own"])
def test_the_authors_file_is_found_in_the_weights_folder(request, own_folders, method, file, folder):
    place = own_folders / "weights" / (method if folder else "")
    place.mkdir(exist_ok=True)
    torch.save(request.getfixturevalue(f"{method}_weights"), place / file)
    assert load_method(method).backbone.num_features == WIDTH


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
def test_timms_own_file_gives_the_same_features(request, own_folders, tmp_path, draw_images, method):
    torch.save(request.getfixturevalue(f"{method}_weights"), tmp_path / "theirs.pth")
    theirs = load_method(method, checkpoint=tmp_path / "theirs.pth")
    name = {"dinov2": "vit_base_patch14_reg4_dinov2.lvd142m", "dinov3": "vit_base_patch16_dinov3.lvd1689m"}
    (own_folders / "weights" / "timm").mkdir()
    tensors = {key: tensor.contiguous() for key, tensor in theirs.backbone.state_dict().items()}
    save_file(tensors, own_folders / "weights" / "timm" / f"{name[method]}.safetensors")
    with torch.no_grad():
        assert torch.equal(load_method(method)(draw_images(112)), theirs(draw_images(112)))


@pytest.mark.parametrize("method", ["dinov2", "dinov3"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blocks.1.attn.proj.weight", None),
        ("blocks.0.ls1.gamma", lambda tensor: tensor[:-1].clone()),
        ("blocks.0.mlp.fc1.weight", lambda tensor: tensor.T.contiguous()),
        ("blocks.2.norm1.weight", lambda tensor: torch.ones(WIDTH)),
        ("norm.weight", lambda tensor: torch.full_like(tensor, float("nan"))),
    ],
    ids=["missing", "narrower", "transposed", "deeper", "NaN"],
)
def test_mutations_are_refused(request, tmp_path, method, name, change):
    weights = dict(request.getfixturevalue(f"{method}_weights"))
    old = weights.pop(name, None)
    if change:
        weights[name] = change(old)
    torch.save(weights, tmp_path / "theirs.pth")
    with pytest.raises(WeightsFormatError):
        load_method(method, checkpoint=tmp_path / "theirs.pth")


def test_a_bias_that_timm_would_drop_unseen_is_refused(tmp_path, dinov3_weights):
    changed = dinov3_weights | {"blocks.1.attn.qkv.bias": torch.ones(3 * WIDTH)}
    torch.save(changed, tmp_path / "theirs.pth")
    with pytest.raises(WeightsFormatError, match=r"blocks\.1\.attn\.qkv\.bias isn't zero"):
        load_method("dinov3", checkpoint=tmp_path / "theirs.pth")


def test_loading_prints_nothing(tmp_path, dinov3_weights, capsys):
    torch.save(dinov3_weights, tmp_path / "theirs.pth")
    load_method("dinov3", checkpoint=tmp_path / "theirs.pth")
    assert capsys.readouterr().out == ""


def pool(weights, tokens, heads, eps):
    """Attention pooling: one learned query over all tokens, then a residual perceptron."""
    given = {name: tensor.double() for name, tensor in weights.items()}
    count, width = len(tokens), tokens.shape[-1]

    def linear(values, name):
        return functional.linear(values, given[f"{name}.weight"], given[f"{name}.bias"])

    def split(values):
        return values.view(count, -1, heads, width // heads).transpose(1, 2)

    q = split(linear(given["attn_pool.latent"], "attn_pool.q").expand(count, -1, -1).contiguous())
    k, v = (split(part.contiguous()) for part in linear(tokens, "attn_pool.kv").chunk(2, dim=-1))
    mixed = ((q @ k.mT / (width // heads) ** 0.5).softmax(-1) @ v).transpose(1, 2).reshape(count, -1, width)
    mixed = linear(mixed, "attn_pool.proj")
    normed = functional.layer_norm(
        mixed, (width,), given["attn_pool.norm.weight"], given["attn_pool.norm.bias"], eps
    )
    hidden = functional.gelu(linear(normed, "attn_pool.mlp.fc1"))
    return (mixed + linear(hidden, "attn_pool.mlp.fc2"))[:, 0]


POOL_SHAPES = {"attn_pool.latent": (1, 1, WIDTH)}
for _name, _out, _into in (("q", 1, 1), ("kv", 2, 1), ("proj", 1, 1), ("mlp.fc1", 4, 1), ("mlp.fc2", 1, 4)):
    POOL_SHAPES[f"attn_pool.{_name}.weight"] = (_out * WIDTH, _into * WIDTH)
    POOL_SHAPES[f"attn_pool.{_name}.bias"] = (_out * WIDTH,)
POOL_SHAPES |= {"attn_pool.norm.weight": (WIDTH,), "attn_pool.norm.bias": (WIDTH,)}


@pytest.fixture(scope="module")
def siglip_weights(draw, vit_shapes):
    shapes = vit_shapes(tokens=196) | POOL_SHAPES
    del shapes["cls_token"]
    return draw(shapes, 6)


class TestSigLIP2:
    @pytest.fixture
    def put(self, own_folders):
        def write(tensors):
            path = own_folders / "weights" / "timm" / "vit_base_patch16_siglip_224.v2_webli.safetensors"
            path.parent.mkdir(exist_ok=True)
            save_file(tensors, path)

        return write

    def by_hand(self, weights, images, transform, embed):
        tokens = transform(weights, embed(weights, images) + weights["pos_embed"].double())
        return pool(weights, tokens, 3, 1e-6), tokens

    def test_the_feature_is_the_pooled_one(
        self, siglip_weights, put, draw_images, transform, embed, normalise, assert_same, assert_other
    ):
        put(siglip_weights)
        images = draw_images()
        expected, tokens = self.by_hand(siglip_weights, normalise(images, *HALF), transform, embed)
        with torch.no_grad():
            found = load_method("siglip2")(images)
        assert_same(found, expected)
        assert_other(tokens.mean(1), expected)
        other, _ = self.by_hand(siglip_weights, normalise(images, *IMAGENET), transform, embed)
        assert_other(other, expected)

    def test_a_file_of_open_clip_gives_the_same(self, siglip_weights, put, draw_images, tmp_path):
        put(siglip_weights)
        with torch.no_grad():
            expected = load_method("siglip2")(draw_images())
        prefixed = {f"visual.trunk.{name}": tensor for name, tensor in siglip_weights.items()}
        others = {"text.positional_embedding": torch.ones(4, 4), "logit_bias": torch.zeros(1)}
        torch.save(prefixed | others, tmp_path / "open_clip_pytorch_model.bin")
        theirs = load_method("siglip2", checkpoint=tmp_path / "open_clip_pytorch_model.bin")
        with torch.no_grad():
            assert torch.equal(theirs(draw_images()), expected)

    def test_features_are_those_of_timms_own_pipeline(self, siglip_weights, put, draw_images, assert_same):
        """timm's transform of a picture, the whole of it shown, then timm's network."""
        put(siglip_weights)
        encoder = load_method("siglip2")
        config = timm.get_pretrained_cfg("vit_base_patch16_siglip_224.v2_webli").to_dict()
        fields = ("input_size", "interpolation", "mean", "std")
        transform = timm.data.create_transform(**{name: config[name] for name in fields}, crop_pct=1.0)
        pictures = [to_pil_image(face) for face in draw_images()]
        rounded = torch.stack([timm.data.transforms_factory.transforms.ToTensor()(one) for one in pictures])
        with torch.no_grad():
            expected = encoder.backbone(torch.stack([transform(one) for one in pictures]))
            assert_same(encoder(rounded), expected, 1e-5)


@pytest.fixture(scope="module")
def pecore_weights(draw, vit_shapes):
    shapes = vit_shapes() | POOL_SHAPES | {"norm_pre.weight": (WIDTH,), "norm_pre.bias": (WIDTH,)}
    del shapes["patch_embed.proj.bias"]
    return draw(shapes, 7)


class TestPECore:
    @pytest.fixture
    def save(self, tmp_path):
        def write(weights):
            torch.save(as_the_authors(weights), tmp_path / "PE-Core-B16-224.pt")
            return tmp_path / "PE-Core-B16-224.pt"

        return write

    def test_the_feature_is_what_is_projected(
        self, pecore_weights, save, draw_images, transform, normalise, assert_same, assert_other
    ):
        images = draw_images()
        with torch.no_grad():
            found = load_method("pecore", checkpoint=save(pecore_weights))(images)
        expected = pecore_by_hand(pecore_weights, normalise(images, *HALF), transform)
        assert found.shape == (2, WIDTH)
        assert_same(found, expected)
        other = pecore_by_hand(pecore_weights, normalise(images, *IMAGENET), transform)
        assert_other(other, expected)

    def test_images_are_resized_to_whole_patches_bilinearly(self, pecore_weights, save, draw_images):
        encoder, given = load_method("pecore", checkpoint=save(pecore_weights)), draw_images(100)
        fitted, other = (
            functional.interpolate(given, (96, 96), mode=mode, antialias=True).clamp(0, 1)
            for mode in ("bilinear", "bicubic")
        )
        with torch.no_grad():
            assert (encoder(given) - encoder(fitted)).abs().max() < 1e-4
            assert (encoder(given) - encoder(other)).abs().max() > 1e-3

    def test_mutations_are_refused(self, pecore_weights, save):
        part = {name: tensor for name, tensor in pecore_weights.items() if name != "attn_pool.latent"}
        with pytest.raises(WeightsFormatError, match=r"attn_pool\.latent"):
            load_method("pecore", checkpoint=save(part))
        with pytest.raises(WeightsFormatError, match="doesn't fit timm's"):
            load_method("pecore", checkpoint=save({**pecore_weights, "norm.weight": torch.ones(WIDTH - 1)}))


PE_NAMES = {
    "patch_embed.proj.weight": "conv1.weight",
    "norm_pre.": "ln_pre.",
    "attn_pool.norm.": "attn_pool.layernorm.",
    "attn_pool.latent": "attn_pool.probe",
    "attn_pool.proj.": "attn_pool.attn.out_proj.",
    "blocks.": "transformer.resblocks.",
    ".norm1.": ".ln_1.",
    ".norm2.": ".ln_2.",
    "attn.qkv.": "attn.in_proj_",
    "attn.proj.": "attn.out_proj.",
    "mlp.fc1.": "mlp.c_fc.",
    "mlp.fc2.": "mlp.c_proj.",
}


def as_the_authors(weights):
    """Perception Encoder's own names, tower and text; the pooling packs q, k and v into one."""
    weights = dict(weights)
    file = {"logit_scale": torch.ones(()), "positional_embedding": torch.ones(32, 8)}
    if "attn_pool.latent" in weights or "attn_pool.q.weight" in weights:
        for leaf in ("weight", "bias"):
            packed = [weights.pop(f"attn_pool.{part}.{leaf}") for part in ("q", "kv")]
            file[f"visual.attn_pool.attn.in_proj_{leaf}"] = torch.cat(packed)
    for name, tensor in weights.items():
        if name == "cls_token":
            name, tensor = "class_embedding", tensor[0, 0]
        elif name == "pos_embed":
            name, tensor = "positional_embedding", tensor[0]
        elif name in ("norm.weight", "norm.bias"):
            name = name.replace("norm", "ln_post")
        for ours, theirs in PE_NAMES.items():
            name = name.replace(ours, theirs)
        file[f"visual.{name}"] = tensor.contiguous()
    return file | {"visual.proj": torch.ones(WIDTH, 1024)}


def pecore_by_hand(weights, images, transform):
    """Absolute positions, and rotary ones in x then y that count from 1; the class token stays put."""
    patches = functional.conv2d(images, weights["patch_embed.proj.weight"].double(), stride=16).flatten(2).mT
    token = weights["cls_token"].double().expand(len(images), -1, -1)
    tokens = torch.cat([token, patches], dim=1) + weights["pos_embed"].double()
    leaves = [weights[f"norm_pre.{leaf}"].double() for leaf in ("weight", "bias")]
    tokens = functional.layer_norm(tokens, (WIDTH,), *leaves, 1e-5)
    bands = 10000.0 ** (-torch.arange(HEAD // 4, dtype=torch.float64) / (HEAD // 4))
    row, column = torch.meshgrid(torch.arange(14) + 1, torch.arange(14) + 1, indexing="ij")
    angles = torch.cat([place.reshape(-1, 1) * bands for place in (column, row)], dim=1)
    angles = torch.cat([torch.zeros(1, HEAD // 2), angles]).repeat_interleave(2, dim=1)

    def turn(heads):
        rotated = torch.stack([-heads[..., 1::2], heads[..., ::2]], dim=-1).flatten(-2)
        return heads * angles.cos() + rotated * angles.sin()

    return pool(weights, transform(weights, tokens, 1e-5, turn), 8, 1e-5)


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(8)
    tower = VisionTransformer(224, 16, WIDTH, 2, 3, 4.0, output_dim=512, act_layer=QuickGELU).eval()
    for name, parameter in tower.named_parameters():
        if name.endswith("bias"):
            parameter.data.uniform_(-0.2, 0.2)
    return tower


class TestCLIP:
    """The reference is open_clip's own tower."""

    @pytest.fixture
    def file(self, tower, tmp_path):
        """The whole model as open_clip saves it, text tower included."""
        text = {"positional_embedding": torch.ones(8, 4), "text_projection": torch.ones(4, 4)}
        text |= {"transformer.resblocks.0.ln_1.weight": torch.ones(4), "logit_scale": torch.ones(())}
        visual = {f"visual.{name}": tensor for name, tensor in tower.state_dict().items()}
        torch.save(visual | text, tmp_path / "open_clip_pytorch_model.bin")
        return tmp_path / "open_clip_pytorch_model.bin"

    @pytest.mark.parametrize("method", ["clip-openai", "clip-dfn"])
    def test_the_feature_is_what_is_projected(
        self, tower, file, draw_images, normalise, assert_same, assert_other, method
    ):
        images = draw_images() * torch.tensor([1.0, 0.1, 0.0]).view(3, 1, 1)  # Far from any mean.
        with torch.no_grad():
            found = load_method(method, checkpoint=file)(images)
            assert_same(found @ tower.proj, tower(normalise(images, *CLIP).float()))
            assert found.shape == (2, WIDTH)
            assert_other(load_method(method, checkpoint=file, preprocess="imagenet")(images), found)

    def test_plain_gelu_gives_other_features(self, tower, draw_images, normalise, assert_other):
        plain = VisionTransformer(224, 16, WIDTH, 2, 3, 4.0, output_dim=512).eval()
        plain.load_state_dict(tower.state_dict())
        normalised = normalise(draw_images(), *CLIP).float()
        with torch.no_grad():
            assert_other(plain(normalised), tower(normalised), 1e-3)

    def test_only_a_text_tower_is_refused(self, tmp_path):
        torch.save(
            {"positional_embedding": torch.ones(8, 4), "logit_scale": torch.ones(())}, tmp_path / "a.bin"
        )
        with pytest.raises(WeightsFormatError, match="doesn't fit timm's"):
            load_method("clip-openai", checkpoint=tmp_path / "a.bin")

    @pytest.mark.filterwarnings("ignore:`torch.jit")
    def test_openais_program_is_refused(self, tmp_path):
        torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "ViT-B-16.pt")
        with pytest.raises(WeightsFormatError, match="can't be read as plain tensors"):
            load_method("clip-openai", checkpoint=tmp_path / "ViT-B-16.pt")


def test_dfn_was_trained_with_quickgelu():
    """open_clip says so of the same weights, which timm lists under plain GELU only."""
    assert open_clip.get_pretrained_cfg("ViT-B-16-quickgelu", "dfn2b")["quick_gelu"]
    assert "vit_base_patch16_clip_224.dfn2b" in timm.list_pretrained("vit_base_patch16_clip_*224.dfn2b")


@pytest.mark.parametrize("card", vit.CARDS, ids=lambda card: card.name)
def test_missing_weights_say_how_to_get_them(card):
    with pytest.raises(WeightsMissingError, match=rf"^{card.name} needs timm/vit_") as caught:
        load_method(card.name)
    assert f"weights fetch {card.name}" in caught.value.hint
    repository = card.checkpoint.file.removesuffix(".safetensors")
    assert f"hf download {repository} model.safetensors" in caught.value.hint


WHOLE_NETWORKS = {
    "dinov2": "vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov3": "vit_base_patch16_dinov3.lvd1689m",
    "siglip2": "vit_base_patch16_siglip_224.v2_webli",
    "pecore": "vit_pe_core_base_patch16_224.fb",
    "clip-dfn": "vit_base_patch16_clip_224.dfn2b",
    "maeface": "vit_base_patch16_224.mae",
}
"""Method → timm's network of which all tensors are taken."""


def numbers_of(shapes):
    """Tensors of given shapes that differ from each other and take the room of one in a file."""
    longest = max(map(math.prod, shapes.values()))
    noise = 0.02 * torch.randn(longest + len(shapes), generator=torch.Generator().manual_seed(0))
    return {
        name: noise[place : place + math.prod(shape)].view(shape)
        for place, (name, shape) in enumerate(shapes.items())
    }


@pytest.mark.slow
@pytest.mark.parametrize("method", WHOLE_NETWORKS)
def test_timms_whole_network_is_taken(real_size, undrawn, tmp_path, draw_images, method):
    with torch.device("meta"):
        whole = timm.create_model(WHOLE_NETWORKS[method], pretrained=False).state_dict()
    tensors = numbers_of({name: tuple(tensor.shape) for name, tensor in whole.items()})
    torch.save(tensors, tmp_path / "whole.pth")
    encoder = load_method(method, checkpoint=tmp_path / "whole.pth")
    own = encoder.backbone.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in own.items())
    with torch.no_grad():
        features = encoder(draw_images(112))
    card = method_registry(plugins=False).get(method).card
    assert features.shape == (2, card.feature_dim) == (2, 768)
    assert torch.isfinite(features).all()
