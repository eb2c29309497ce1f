"""SigLIP 2, PE-Core and CLIP: image towers without their projections, from the files' keys by hand."""

from __future__ import annotations

import open_clip
import pytest
import timm
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from safetensors.torch import save_file
from torch.nn import functional
from torchvision.transforms.functional import to_pil_image

from comface_bench.core.errors import WeightsFormatError, WeightsMissingError
from comface_bench.engine.encoder import load_method

WIDTH, HEAD, HALF = 192, 64, (0.5, 0.5, 0.5)
CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(autouse=True)
def small_network(small, tmp_path, monkeypatch):
    """All tests here run two narrow blocks, with an empty hub cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))


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
        self, siglip_weights, put, faces, transform, embed, normalise, apart
    ):
        put(siglip_weights)
        images = faces(224)
        expected, tokens = self.by_hand(siglip_weights, normalise(images, HALF, HALF), transform, embed)
        with torch.no_grad():
            found = load_method("siglip2")(images)
        assert apart(found, expected) < 1e-4
        assert apart(tokens.mean(1), expected) > 1e-2
        other, _ = self.by_hand(siglip_weights, normalise(images, *IMAGENET), transform, embed)
        assert apart(other, expected) > 1e-2

    def test_a_file_of_open_clip_gives_the_same(self, siglip_weights, put, faces, tmp_path):
        put(siglip_weights)
        with torch.no_grad():
            expected = load_method("siglip2")(faces(224))
        prefixed = {f"visual.trunk.{name}": tensor for name, tensor in siglip_weights.items()}
        others = {"text.positional_embedding": torch.ones(4, 4), "logit_bias": torch.zeros(1)}
        torch.save(prefixed | others, tmp_path / "open_clip_pytorch_model.bin")
        theirs = load_method("siglip2", checkpoint=tmp_path / "open_clip_pytorch_model.bin")
        with torch.no_grad():
            assert torch.equal(theirs(faces(224)), expected)

    def test_features_are_those_of_timms_own_pipeline(self, siglip_weights, put, faces, apart):
        """timm's transform of a picture, the whole of it shown, then timm's network."""
        put(siglip_weights)
        encoder = load_method("siglip2")
        config = timm.get_pretrained_cfg("vit_base_patch16_siglip_224.v2_webli").to_dict()
        fields = ("input_size", "interpolation", "mean", "std")
        transform = timm.data.create_transform(**{name: config[name] for name in fields}, crop_pct=1.0)
        pictures = [to_pil_image(face) for face in faces(224)]
        rounded = torch.stack([timm.data.transforms_factory.transforms.ToTensor()(one) for one in pictures])
        with torch.no_grad():
            expected = encoder.backbone(torch.stack([transform(one) for one in pictures]))
            assert apart(encoder(rounded), expected) < 1e-5


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

    def test_the_feature_is_what_is_projected(self, pecore_weights, save, faces, transform, normalise, apart):
        images = faces(224)
        with torch.no_grad():
            found = load_method("pecore", checkpoint=save(pecore_weights))(images)
        expected = pecore_by_hand(pecore_weights, normalise(images, HALF, HALF), transform)
        assert found.shape == (2, WIDTH)
        assert apart(found, expected) < 1e-4
        other = pecore_by_hand(pecore_weights, normalise(images, *IMAGENET), transform)
        assert apart(other, expected) > 1e-2

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
    def test_the_feature_is_what_is_projected(self, tower, file, faces, normalise, apart, method):
        normalised = normalise(faces(224), *CLIP).float()
        with torch.no_grad():
            found = load_method(method, checkpoint=file)(faces(224))
            embedding = tower(normalised)
            assert apart(found @ tower.proj, embedding) < 1e-4
            assert found.shape == (2, WIDTH)
            assert (
                apart(load_method(method, checkpoint=file, preprocess="imagenet")(faces(224)), found) > 1e-2
            )

    def test_plain_gelu_gives_other_features(self, tower, faces, normalise, apart):
        plain = VisionTransformer(224, 16, WIDTH, 2, 3, 4.0, output_dim=512).eval()
        plain.load_state_dict(tower.state_dict())
        normalised = normalise(faces(224), *CLIP).float()
        with torch.no_grad():
            assert apart(plain(normalised), tower(normalised)) > 1e-3

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


@pytest.mark.parametrize("method", ["siglip2", "pecore", "clip-openai", "clip-dfn"])
def test_missing_weights_say_how_to_get_them(method):
    with pytest.raises(WeightsMissingError, match=rf"^{method} needs timm/vit_") as caught:
        load_method(method)
    assert f"weights fetch {method}" in caught.value.hint
    assert "hf download timm/vit_" in caught.value.hint
