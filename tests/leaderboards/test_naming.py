"""Words for protocols, families and action units; what has none keeps its name."""

import pytest

from comface_bench.core.protocol import protocol_names
from comface_bench.leaderboards.naming import family_title, protocol_title, target_note, target_title


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("linear+image_size=112", "Linear evaluation, 112 pixels"),
        ("probe+align=five-points", "Ridge probe, aligned faces"),
        ("probe+image_size=112+mirror=mean", "Ridge probe, 112 pixels, mirror mean"),
        ("finetune+head_start=scratch", "Fine-tuning, a drawn head"),
        ("mine+train_fraction=0.1", "mine, train fraction 0.1"),
        ("<b>+a=b=c", "<b>, a b=c"),
        ("", ""),
    ],
)
def test_protocols_in_words(name, title):
    assert protocol_title(name) == title


def test_every_protocol_that_comes_with_the_package_has_words():
    titles = [protocol_title(name) for name in protocol_names()]
    assert len(set(titles)) == len(titles)
    assert not set(titles) & set(protocol_names())


def test_targets_and_families_in_words():
    assert target_title("au12") == "AU12, lip corner puller"
    assert target_note("au12") == "AU12 is “lip corner puller”."
    assert (target_title("hair"), target_note("hair"), family_title("hair")) == ("hair", "", "hair")
    assert (target_title("weight_kg"), family_title("synth")) == ("body weight", "Rendered faces")
