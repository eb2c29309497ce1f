from __future__ import annotations

import dataclasses

import pytest

from comface_bench.comface.pretrain.settings import (
    CurriculumStage,
    Settings,
    learning_rate,
    load_preset,
    load_settings,
    override_settings,
    preset_names,
    read_curriculum,
    stage_at,
)
from comface_bench.core.card import TABLE_B
from comface_bench.core.errors import UsageError


def test_the_preset_of_table_b_is_table_b():
    settings = load_preset("table-b")
    assert settings.batch_size == 1024
    assert settings.learning_rate == 4.0e-4
    assert (settings.epochs, settings.halve_at, settings.schedule) == (12, 10, "halved")
    assert settings.image_size == 224
    assert settings.backbone == "resnet50"
    assert settings.augmentation == "table-b"
    assert TABLE_B.crop_scale == (0.2, 1.0)


def test_every_preset_is_read():
    assert preset_names() == ["gpu-1h", "laptop", "table-b"]
    digests = {load_preset(name).digest() for name in preset_names()}
    assert len(digests) == 3


def test_every_setting_decides_the_digest():
    changed = {
        "backbone": "resnet18",
        "schedule": "cosine",
        "augmentation": "none",
        "degradation": "photograph",
        "heads": "shared",
        "precision": "float32",
        "freeze": "1",
        "attributes": ("age",),
        "curriculum": (CurriculumStage(), CurriculumStage(2, 1.0)),
    }
    for field in dataclasses.fields(Settings):
        value = changed.get(field.name)
        if value is None:
            was = getattr(Settings(), field.name)
            value = was + 1 if isinstance(was, int) else was + 0.01
        assert dataclasses.replace(Settings(), **{field.name: value}).digest() != Settings().digest(), (
            field.name
        )


def test_a_file_goes_on_from_a_preset(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('preset = "laptop"\nepochs = 3\nattributes = ["age"]\n[[curriculum]]\nsmallest = 1\n')
    settings = load_settings(file)
    assert settings == dataclasses.replace(
        load_preset("laptop"), epochs=3, attributes=("age",), curriculum=(CurriculumStage(1, 1.0),)
    )
    assert override_settings(settings, {"epochs": "4", "learning_rate": "1e-2"}).learning_rate == 0.01


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch = 3", "Did you mean epochs"),
        ("epochs = 2.5", "epochs = 2.5: not of type int"),
        ("epochs = true", "epochs = True: not of type int"),
        ("epochs = 0", "epochs = 0: less than 1"),
        ("temperature = 0", "temperature = 0.0: not a number above 0"),
        ("validation_share = 1.0", "not below 1"),
        ('heads = "two"', "not one of shared, attribute"),
        ('augmentation = "table-x"', "no augmentation is called 'table-x'"),
        ("inter_weight = 0\nintra_weight = 0", "nothing to learn"),
        ('attributes = "age"', "no list of names"),
        ("curriculum = 3", "curriculum is no table"),
        ("[[curriculum]]\nepoch = 2", "the first is 1"),
        ("[[curriculum]]\nepoch = 1\n[[curriculum]]\nepoch = 1", "they rise"),
        ("[[curriculum]]\nsmallest = 8\nlargest = 5", "changes from 8.0 to 5.0"),
        ("[[curriculum]]\nfrom = 5", "unknown from"),
        ('[[curriculum]]\nsmallest = "much"', "smallest = 'much': not a number"),
        ("[[curriculum]]\nepoch = 1.0", "epoch = 1.0: not a whole number"),
        ("[[curriculum]]\nepoch = true", "epoch = True: not a whole number"),
        ("epochs = 2\n[[curriculum]]\n[[curriculum]]\nepoch = 3", "is never reached in 2 epochs"),
        ("[[curriculum]]\nimage_size = 4", "image_size 4 is below 16"),
        ("[[curriculum]]\nimage_size = 1000000", "image_size 1000000 is above 2048"),
        ("image_size = 1000000", "image_size = 1000000: more than 2048"),
        ("intra_weight = inf", "intra_weight = inf: more than 1000000"),
        ("intra_weight = nan", "intra_weight = nan: not a number"),
        ("epochs = ", "mine.toml"),
        ('preset = "lap"', "Did you mean laptop"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, text, said):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(file)
    assert said in str(caught.value)


def test_what_is_typed_is_checked():
    with pytest.raises(UsageError, match="-o epochs=many: not a whole number"):
        override_settings(Settings(), {"epochs": "many"})
    with pytest.raises(UsageError, match="written in a file"):
        override_settings(Settings(), {"curriculum": "1"})
    assert override_settings(Settings(), {"attributes": "age,smile"}).attributes == ("age", "smile")


def test_stages_hold_until_the_next():
    stages = read_curriculum([{"epoch": 1, "smallest": 5}, {"epoch": 4}])
    assert [stage_at(stages, epoch).smallest for epoch in (1, 3, 4, 12)] == [5, 5, 0, 0]


def test_the_rate_is_halved_from_epoch_10_on():
    settings = Settings()
    assert learning_rate(settings, 0, 0.0) == 4e-4
    assert learning_rate(settings, 0, 8.99) == 4e-4
    assert learning_rate(settings, 0, 9.0) == 2e-4  # the tenth epoch begins
    assert learning_rate(settings, 0, 11.9) == 2e-4


def test_the_rate_rises_and_falls_to_nothing():
    settings = dataclasses.replace(Settings(), schedule="cosine", warmup_steps=10)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(4e-5)
    assert learning_rate(settings, 9, 0.0) == pytest.approx(4e-4)
    assert learning_rate(settings, 99, 6.0) == pytest.approx(2e-4)
    assert learning_rate(settings, 999, 12.0) == pytest.approx(0.0, abs=1e-12)
