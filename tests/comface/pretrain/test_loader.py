"""Batches: decoded by threads that end with the process, rendered whichever way a batch is cut up."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.pretrain.degradation import degrade
from comface_bench.comface.pretrain.faces import FaceDataset
from comface_bench.comface.pretrain.loader import Batch, augmented_images, load_batches, plain_images
from comface_bench.comface.pretrain.settings import CurriculumStage
from comface_bench.comface.pretrain.train import split_batches
from comface_bench.core.card import IMAGENET, TABLE_E
from comface_bench.core.errors import DataFormatError, UnitError
from comface_bench.data import augment
from comface_bench.data.augment import render
from comface_bench.engine.precision import choose_machine

ALL = CurriculumStage()
MACHINE = choose_machine("cpu", "float32")


def batch(count=10):
    images = torch.randint(0, 256, (count, 3, 40, 40), dtype=torch.uint8, generator=torch.manual_seed(0))
    return Batch(None, images, np.arange(count, dtype=np.uint64))


def normalise(images):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET.mean, IMAGENET.std))
    return (images - mean) / std


def test_views_are_the_augmentation_then_the_degradation(settings):
    settings = dataclasses.replace(settings, augmentation="table-e", degradation="photograph", seed=3)
    epochs = np.full(10, 2, np.int64)
    shown = render(batch().images, TABLE_E, 3, batch().keys, epochs, 32)
    assert torch.allclose(
        augmented_images(batch(), dataclasses.replace(settings, degradation="none"), 2, 32, MACHINE),
        normalise(shown),
        atol=1e-6,
    )
    worn = normalise(degrade(shown.clone(), 3, batch().keys, epochs))
    assert torch.allclose(augmented_images(batch(), settings, 2, 32, MACHINE), worn, atol=1e-5)
    assert not torch.allclose(worn, normalise(shown), atol=0.1)


def test_pieces_make_no_difference(settings, monkeypatch):
    settings = dataclasses.replace(settings, degradation="photograph")
    whole = augmented_images(batch(), settings, 1, 24, MACHINE)
    assert whole.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(augment, "_PIECE_BYTES", 3 * 4 * 3 * 24 * 24)
    assert torch.allclose(augmented_images(batch(), settings, 1, 24, MACHINE), whole, atol=1e-5)


def test_plain_images_are_only_resized():
    assert torch.allclose(plain_images(batch(), 40, MACHINE), normalise(batch().images / 255), atol=1e-6)


@pytest.fixture
def faces(corpus, settings):
    return FaceDataset([corpus], settings)


def test_batches_hold_the_images_of_their_pairs(faces, settings, corpus):
    pairs = faces.draw(settings, 1, ALL).take(slice(0, 40))
    batches = list(load_batches(faces, split_batches(pairs, 16, whole=False), threads=3))
    assert [len(batch.pairs) for batch in batches] == [16, 16, 8]
    opened, row = Corpus(corpus), 0
    for batch in batches:
        for place in range(len(batch.pairs)):
            record = int(pairs.record[row])
            assert np.array_equal(batch.images[place].numpy(), opened.image(record, int(pairs.x[row])))
            assert np.array_equal(
                batch.images[len(batch.pairs) + place].numpy(), opened.image(record, int(pairs.y[row]))
            )
            row += 1
    keys = np.concatenate([batch.keys for batch in batches])
    assert len(set(keys.tolist())) == len(keys)


def test_a_silent_loader_is_noticed(faces, settings, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(faces, "image", lambda record, place: gate.wait(5))
    pairs = faces.draw(settings, 1, ALL)
    with pytest.raises(UnitError, match="the loader is silent"):
        next(load_batches(faces, split_batches(pairs, 16), threads=1, patience=0.2))
    gate.set()


def test_a_silent_loader_does_not_keep_the_process_alive():
    # The thread hangs in a read for good: the process must end all the same.
    script = (
        "import threading\nfrom comface_bench.comface.pretrain.loader import _Decoders\n"
        "_Decoders(1).submit(threading.Event().wait)\nprint('end')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "end\n")


def test_a_damaged_image_is_named(corpus, settings, tmp_path):
    copy = tmp_path / "corpus"
    shutil.copytree(corpus, copy)
    for tar in (copy / "shards").glob("*.tar"):
        tar.write_bytes(bytes(tar.stat().st_size))
    faces = FaceDataset([copy], settings)
    pairs = faces.draw(settings, 1, ALL)
    with pytest.raises(
        DataFormatError, match=r"image \d of record \d+ isn't the one that was written"
    ) as caught:
        next(load_batches(faces, split_batches(pairs, 16), threads=1))
    assert "synth check" in caught.value.hint


def test_leaving_early_ends_the_threads(faces, settings):
    pairs = faces.draw(settings, 1, ALL)
    loading = load_batches(faces, split_batches(pairs, 16), threads=2)
    next(loading)
    loading.close()
    for thread in threading.enumerate():
        if thread.name.startswith("decode"):
            thread.join(5)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]
