"""Which files hold the directions of which attributes, and what is known of each.

The ones that ship lie in `boundary_files`, under their authors' names and licences (MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_INTERFACEGAN = "https://github.com/genforce/interfacegan (commit 8da3fc0), folder boundaries"
_PLUS_PLUS = "https://github.com/younesbelkada/interfacegan (commit 9d8df61)"
_WEIGHT = "https://github.com/aekpalakorn/StyleGAN-Facial-Weight (commit 5222232), folder StyleGAN1"
_EDITING = "https://github.com/yuval-alaluf/stylegan3-editing (its Drive folder 'Aligned FFHQ')"
_3DGANTEX = "https://github.com/rohit7044/3DGANTex (commit 4b703c8)"


@dataclass(frozen=True)
class BoundaryFile:
    """A file of a direction as somebody publishes it.

    Attributes:
        file: Its name.
        source: Where it comes from.
        sha256: Its digest, or empty where nobody has seen the file.
        folder: Folder of `boundary_files` that it ships in, or empty.
    """

    file: str
    source: str
    sha256: str = ""
    folder: str = ""


@dataclass(frozen=True)
class BoundarySpec:
    """How the direction of one attribute is made.

    Attributes:
        attribute: Its name.
        main: The file.
        orthogonal_to: Files whose directions are projected out of it before it gets unit length again.
        note: What a reader of a corpus should know, such as that it is a stand-in.
    """

    attribute: str
    main: BoundaryFile
    orthogonal_to: tuple[BoundaryFile, ...] = ()
    note: str = ""


def _plus_plus(attribute: str, sha256: str) -> BoundaryFile:
    return BoundaryFile(f"boundary_{attribute}.npy", _PLUS_PLUS, sha256, "interfacegan-plus-plus")


STYLEGAN: Final = (
    BoundarySpec("weight", BoundaryFile("weight_orth_mouth.npy", _WEIGHT)),
    BoundarySpec(
        "age",
        BoundaryFile(
            "stylegan_ffhq_age_w_boundary.npy",
            _INTERFACEGAN,
            "f92c72c6621fd9630a2100168462a15a531bee410099847fdcdf844159eb7e30",
            "interfacegan",
        ),
    ),
    BoundarySpec(
        "smile",
        BoundaryFile(
            "stylegan_ffhq_smile_w_boundary.npy",
            _INTERFACEGAN,
            "5a729c200c2c933806116cb77624ccedbd6fce21aa98fca8be49aeaa35caa1c7",
            "interfacegan",
        ),
    ),
    BoundarySpec(
        "weight-chubby",
        _plus_plus("Chubby", "f53fab18a91cc07a286c90fd6eac0eee53eb1527ea4c07884c0dd9f0383dff23"),
        (
            _plus_plus("Smiling", "46da261091bee338eb6ba765016327893170fb741eac2287d8b29261a6d61a98"),
            _plus_plus(
                "Mouth_Slightly_Open", "ad3d92eba684c42ffa10010b8f73a8922eac7d7f7e3db6899b0f6d14d9af9c41"
            ),
            _plus_plus("Young", "5e41d8fba84f3753190f1f703b32c407e893e7edcea94877c7123481ce6eb446"),
            _plus_plus("Gender", "180e40636d196836e7c141331a693ddf8556caa058dae89dfd8341e779b84380"),
        ),
        "stand-in for weight: Chubby made orthogonal to Smiling, Mouth_Slightly_Open, Young and Gender",
    ),
)
"""Directions for StyleGAN on FFHQ at 1024, in W before truncation."""

CELEBA: Final = (
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
)
"""CelebA's 40 attributes, in its order."""

_STYLEGAN3_DIGESTS: Final = {
    "Male": "c3e8f18e1c2f917727ab07684e33b9d96c02638abc800a00e735e76e996af7db",
    "Smiling": "d27b8250bf7e1668b37fb081a753bf547091da0bb15adf1d26a94b92041af5c0",
    "age": "b353180dc759befca41b709cbd2ada4fdd1fc5ce86e6474516e484d885ea2f15",
    "pose": "a551a7ddd96aa341dc4a6593f4f74738a2efc0c1e300df411f27e9faa8818605",
}

STYLEGAN3: Final = tuple(
    BoundarySpec(
        attribute,
        BoundaryFile(
            f"{attribute}_boundary.npy",
            _3DGANTEX if attribute in _STYLEGAN3_DIGESTS else _EDITING,
            _STYLEGAN3_DIGESTS.get(attribute, ""),
            "3dgantex" if attribute in _STYLEGAN3_DIGESTS else "",
        ),
    )
    for attribute in (*CELEBA, "age", "pose")
)
"""Directions for StyleGAN3-R on aligned FFHQ at 1024, in W after truncation: CelebA's 40, age and pose."""
