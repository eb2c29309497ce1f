"""Corpora that cost nothing and can be learnt: a disc's tint is the identity, its size or shade is α."""

import dataclasses
import json
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description, Layout
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.pretrain.settings import load_settings
from comface_bench.comface.synthesis.generator import GeneratorCard

SIDE = 32
CARD = GeneratorCard("discs", SIDE, ("size", "shade"), "CC0-1.0", {"discs": "1"}, {})


class Discs:
    card = CARD

    def identities(self, seed, count, first=0):
        return [(seed, number) for number in range(first, first + count)]

    def render(self, identity, attribute, alphas):
        random = np.random.default_rng(identity)
        tint, middle = random.uniform(40, 200, 3), random.uniform(13, 19, 2)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        away = np.hypot(rows - middle[0], columns - middle[1])
        images = []
        for alpha in alphas:
            radius = 8 + (alpha if attribute == "size" else 0)
            shade = 1 + (0.12 * alpha if attribute == "shade" else 0)
            image = np.where(away < radius, tint[:, None, None] * shade, 30)
            images.append(np.clip(image, 0, 255).astype(np.uint8))
        return np.stack(images)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus") / "discs"
    plan = CorpusPlan(5, CARD.attributes, 24, alphas=8)
    generate(root, Discs, Description.of(CARD, plan, suffix="png", records_per_shard=10))
    return root


@pytest.fixture(scope="session")
def relabel(corpus):
    """Copy the corpus as though its generator had other facts, such as `sources={}`; returns the copy."""

    def relabel(out, **facts):
        shutil.copytree(corpus, out)
        layout = Layout(out)
        description = layout.read()
        description = dataclasses.replace(description, generator=description.generator | facts)
        layout.description.write_text(json.dumps(description.as_json()))
        for shard in range(description.shards):
            done = json.loads(layout.done(shard).read_text())
            layout.done(shard).write_text(json.dumps(done | {"corpus": description.key}))
        return out

    return relabel


@pytest.fixture
def settings():
    return load_settings(Path(__file__).with_name("fast.toml"))


@pytest.fixture
def start(fork):
    """Start `python ARGUMENTS` in one process, or in several that find each other as torchrun starts them."""
    started = []

    def run(arguments, processes=1):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        shared = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        shared |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        environments = [
            {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)
        ]
        jobs = [fork(arguments, own) for own in environments]
        started.extend(jobs)
        return jobs

    yield run
    for job in started:
        job.kill()
        job.wait(30)
        job.stdout.close()


@pytest.fixture
def two_processes(start):
    """Run `python ARGUMENTS` in two processes to their end; returns the output of each."""

    def run(arguments):
        jobs = start(arguments, 2)
        said = [job.communicate(timeout=180)[0] for job in jobs]
        assert [job.returncode for job in jobs] == [0, 0], "\n".join(said)
        return said

    return run
