"""Masked autoencoders on faces: FSFM, FMAE and MAE-Face.

A method is one row: its card and `build_<name>`. All have one encoder, a ViT-B/16, in files that also hold a
decoder.

FSFM's authors name every file `checkpoint-400.pth`: the one meant lies in their folder `VF2_ViT-B`, and only
its statistics are built in. `checkpoint-te-400.pth` beside it is the teacher, which isn't for use. FMAE's
authors also publish networks fine-tuned on action units of DISFA, BP4D and others; those files are refused
by their classification heads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comface_bench.core.card import Checkpoint, MethodCard, Preprocess
from comface_bench.core.errors import WeightsFormatError
from comface_bench.weights.parts import load_backbone
from comface_bench.weights.strict import select_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from comface_bench.baselines.networks import Build

FEATURES = ("cls", "mean")
"""The authors' two feature taps; `cls` is theirs for a network that isn't fine-tuned."""

_FINE_TUNED = ("head.", "fc_norm.", "AU_head.", "ID_head.")
"""Beginnings of keys that only fine-tuning for a task adds."""

FSFM = MethodCard(
    name="fsfm",
    version=1,
    build=":build_fsfm",
    backbone="ViT-B/16",
    feature="class token after the last norm (cls); mean of the patches, normalised afterwards (mean)",
    feature_dim=768,
    # The authors' own statistics of their faces, cropped 30 % wider than the detector's box.
    preprocess=Preprocess(mean=(0.5482, 0.4234, 0.3655), std=(0.2789, 0.2439, 0.2349), multiple=16),
    checkpoint=Checkpoint(
        file="checkpoint-400.pth",
        url="https://huggingface.co/Wolowolo/fsfm-3c/resolve/main/pretrained_models/VF2_ViT-B/checkpoint-400.pth",
    ),
    options={"feature": FEATURES, "checkpoint": (), "part": ()},
    dropped_keys=("mask_token", "decoder_", "rep_decoder_", "projector.", "predictor."),
    trained_on=("VGGFace2",),
    supervision=("self-supervised",),
    group="Facial Representation Learning",
    summary="Masked autoencoder with masks that follow facial regions. Unverified: the keys of the published"
    " file, which are taken from the authors' code.",
    licence="CC BY-NC 4.0",
    source="Hugging Face Wolowolo/fsfm-3c, VF2_ViT-B/checkpoint-400.pth (the same name elsewhere is another"
    " file)",
    paper="Wang et al., CVPR 2025",
    training_scale="3M",
    training_source="Face images",
)

FMAE = dataclasses.replace(
    FSFM,
    name="fmae",
    build=":build_fmae",
    preprocess=Preprocess(multiple=16),
    checkpoint=Checkpoint(
        file="fmae_pretrain_vit_base.pth",
        url="https://drive.google.com/file/d/1uCdJq4xQAbYQHTVpcflrnK8OPavJ8Fz7/view",
    ),
    dropped_keys=("mask_token", "decoder_"),
    trained_on=("Face9M",),
    summary="Masked autoencoder on faces. The pre-trained network only: the authors' fine-tuned files are"
    " refused. Unverified: the name of the published file (rename it, or use -o checkpoint=FILE) and"
    " its keys.",
    source="forever208/FMAE-IAT, ViT-base of the table of pre-trained files",
    paper="Ning, Salah and Ertugrul 2024",
    training_scale="9M",
)

MAEFACE = dataclasses.replace(
    FMAE,
    name="maeface",
    build=":build_maeface",
    checkpoint=Checkpoint(
        file="mae_face_pretrain_vit_base.pth",
        url="https://github.com/FuxiVirtualHuman/MAE-Face/releases",
    ),
    trained_on=("AffectNet", "CASIA-WebFace", "CelebA", "IMDB-WIKI"),
    summary="Masked autoencoder on faces. Unverified: its mean and standard deviation, which the authors"
    " don't state; ImageNet's are those of the code they build upon.",
    licence="MIT",
    source="FuxiVirtualHuman/MAE-Face, release",
    paper="Ma et al. 2022; CVPR 2023 workshops",
    training_scale="2.17M",
)

CARDS = (FSFM, FMAE, MAEFACE)


def load_encoder(card: MethodCard, options: Mapping[str, str], weights: Path | None, seed: int) -> nn.Module:
    """Build the encoder of a masked autoencoder and load it strictly.

    Args:
        card: The method; it says which keys of the file are the decoder's.
        options: `feature` is one of `FEATURES`.
        weights: The pre-trained file.
        seed: Of the random weights, none of which stays.

    Returns:
        A module from normalised images (N, 3, H, W), H and W in multiples of 16, to features (N, 768).

    Raises:
        WeightsFormatError: The file doesn't fit, or was fine-tuned for a task.
    """
    import timm
    import torch

    mean = options["feature"] == "mean"

    def take(path: Path, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        assert card.checkpoint is not None
        _refuse_fine_tuned(card, tensors, path)
        taken = select_backbone(tensors, path, card.checkpoint.prefixes, card.dropped_keys)
        # The authors put a fresh norm behind the mean and leave the pre-trained one out.
        for leaf, value in (("weight", 1.0), ("bias", 0.0)):
            if mean and (trained := taken.pop(f"norm.{leaf}", None)) is not None:
                taken[f"fc_norm.{leaf}"] = torch.full_like(trained, value)
        return taken

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder: nn.Module = timm.create_model(
            "vit_base_patch16_224",
            num_classes=0,
            global_pool="avg" if mean else "token",
            dynamic_img_size=True,
        )
    if weights is not None:
        load_backbone(encoder, weights, card, options, partial(take, weights))
    return encoder


build_fsfm: Build = partial(load_encoder, FSFM)
build_fmae: Build = partial(load_encoder, FMAE)
build_maeface: Build = partial(load_encoder, MAEFACE)


def _refuse_fine_tuned(card: MethodCard, tensors: Mapping[str, Tensor], path: Path) -> None:
    found = [name for name in tensors if name.startswith(_FINE_TUNED)]
    if found:
        raise WeightsFormatError(
            f"{path.name} was fine-tuned for a task: it has {', '.join(found[:3])}",
            f"{card.name} is the pre-trained network. One that has seen labels of a task, DISFA's for"
            " instance, must not be compared on it.",
        )
