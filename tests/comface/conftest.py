"""A corpus of plain images; processes that start at once, forked from a server that has imported torch."""

from __future__ import annotations

import multiprocessing
import os
import sys
from subprocess import TimeoutExpired

import numpy as np
import pytest

from comface_bench.comface.corpus.generate import generate
from comface_bench.comface.corpus.layout import Description
from comface_bench.comface.corpus.plan import CorpusPlan
from comface_bench.comface.corpus.read import Corpus
from comface_bench.comface.corpus.score_store import write_quality
from comface_bench.comface.synthesis.generator import GeneratorCard

PRELOADED = [
    "pytest",
    "torch",
    "torchvision",
    "torch._dynamo",  # imported by the first optimiser of a process, which takes seconds
    "comface_bench.comface.pretrain.faces",
    "comface_bench.comface.pretrain.train",
]

_MAIN = """
import os, runpy, sys

os.environ.clear()
os.environ.update(environment)
os.dup2(output.fileno(), 1)
os.dup2(1, 2)
output.close()
if start_new_session:
    os.setsid()
sys.path[:] = path
if arguments[0] == "-c":
    sys.argv = ["-c", *arguments[2:]]
    exec(compile(arguments[1], "-c", "exec"), {"__name__": "__main__"})
elif arguments[0] == "-m":
    sys.argv = arguments[1:]
    runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
else:
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
"""


class ForkedProcess:
    """Stands for `subprocess.Popen([sys.executable, *arguments], stdout=PIPE, stderr=STDOUT, text=True)`.

    The child has an environment, arguments and an output of its own, and shares only the modules that the
    server had imported.
    """

    def __init__(self, context, arguments, env, start_new_session):
        reader, writer = context.Pipe(duplex=False)
        facts = {
            "arguments": [str(argument) for argument in arguments],
            "environment": dict(os.environ if env is None else env),
            "output": writer,
            "path": sys.path,
            "start_new_session": start_new_session,
        }
        self._process = context.Process(target=exec, args=(_MAIN, facts))
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self._process.exitcode

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("a forked process", timeout)
        return self._process.exitcode

    def communicate(self, timeout=None):
        output = self.stdout.read()
        self.wait(timeout)
        return output, None


@pytest.fixture(scope="session")
def fork():
    """Start `python ARGUMENTS` (a file, or -m, or -c) as a process that needn't import torch first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def start(arguments, env=None, start_new_session=False):
        return ForkedProcess(context, arguments, env, start_new_session)

    return start


class Grey:
    """Plain grey images: 100 + 10·α for `light`, 100 for `none`."""

    card = GeneratorCard("grey", 4, ("light", "none"), "CC0-1.0", {}, {})

    def identities(self, seed, count, first=0):
        return list(range(first, first + count))

    def render(self, identity, attribute, alphas):
        levels = [100 + (10 * alpha if attribute == "light" else 0) for alpha in alphas]
        return np.stack([np.full((3, 4, 4), round(level), np.uint8) for level in levels])


@pytest.fixture(scope="session")
def grey_generator():
    return Grey


@pytest.fixture(scope="session")
def grey_corpus(tmp_path_factory):
    """Three people, two attributes, the whole grid; nobody changes it."""
    root, plan = tmp_path_factory.mktemp("corpus") / "grey", CorpusPlan(0, ("light", "none"), 3, alphas=101)
    generate(root, Grey, Description.of(Grey.card, plan, suffix="png"))
    with Corpus(root) as corpus:
        yield corpus


SIDE = 32


class Patches:
    """Each identity is a pattern of coloured patches; α adds noise until nothing is left of it."""

    card = GeneratorCard("patches", SIDE, ("noise",), "CC0-1.0", {}, {})

    def identities(self, seed, count, first=0):
        return [(seed, first + number) for number in range(count)]

    def render(self, identity, attribute, alphas):
        own = np.random.default_rng(identity).uniform(0, 255, (3, 4, 4)).repeat(8, 1).repeat(8, 2)
        images = []
        for alpha in alphas:
            noise = np.random.default_rng([*identity, round(10 * alpha) + 50]).uniform(0, 255, own.shape)
            share = (alpha + 5) / 10
            images.append((1 - share) * own + share * noise)
        return np.stack(images).astype(np.uint8)


@pytest.fixture(scope="session")
def patches():
    return Patches


@pytest.fixture(scope="session")
def make_patches():
    """Generate a corpus of patches."""

    def make(root, *plan, card=Patches.card, generator=Patches, **options):
        plan = CorpusPlan(*plan, **options)
        generate(root, generator, Description.of(card, plan, suffix="png"))
        return root

    return make


@pytest.fixture
def scored(tmp_path, make_patches):
    root = make_patches(tmp_path / "scored", 0, ("noise",), 3, alphas=4)
    write_quality(root, np.linspace(0.8, 0.9, 12, dtype=np.float32).reshape(3, 4), {})
    return root
