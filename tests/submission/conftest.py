"""Packages of `synth-age`, with its real folds and true changes and made-up answers; nothing is trained."""

import dataclasses
import functools
import hashlib
import json
import random
from types import SimpleNamespace

import pytest

from comface_bench.core.card import MethodCard, TaskCard, card_digest, facts, stored_card_digest
from comface_bench.core.digest import digest
from comface_bench.core.protocol import resolve_protocol
from comface_bench.core.registry import method_registry
from comface_bench.core.unit import Unit
from comface_bench.data.task import load_task
from comface_bench.execute.run import describe_protocol, describe_task
from comface_bench.results.predictions import Prediction, digest_rows, unit_text
from comface_bench.results.record import Content, Header, load_record
from comface_bench.results.schema import MethodInfo, Provenance, Record, UnitResult, dump_json
from comface_bench.results.store import RecordFiles, ResultStore
from comface_bench.stats.metrics import compute_metrics, no_change_baseline
from comface_bench.submission import vs_installed
from comface_bench.submission.check import check_bytes, publishable
from comface_bench.submission.package import (
    NOTE,
    PREDICTIONS,
    RECORD,
    SubmissionNote,
    write_archive,
    write_note,
)

load = functools.cache(load_task)
NEW = MethodCard(
    name="my-net",
    version=1,
    build=":build",
    backbone="ResNet-18",
    options={"width": ("64", "32")},
    trained_on=("VGGFace2",),
)
ENVIRONMENT = {
    "versions": {"python": "3.11.7", "torch": "2.6.0+cu124", "secret": "x"},
    "system": "Linux 6.1.0-alices-laptop",
    "machine": "x86_64",
    "cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz",
    "cores": 8,
    "torch": None,
    "git": {"commit": "a" * 40, "dirty": False},
    "host": "alices-laptop",
}


def note_of(method="my-net", **changes):
    note = SubmissionNote(
        method=method,
        description="A network of our own.",
        code="https://example.org/code",
        weights="",
        licence="Apache-2.0",
        training_data=("VGGFace2",),
    )
    return dataclasses.replace(note, **changes)


def card_of(name):
    return NEW if name == "my-net" else method_registry(plugins=False).get(name).card


def answer(y, chance):
    return 0.4 * y + chance.gauss(0, 4)


def run(
    results,
    method="my-net",
    seeds=(0,),
    luck=1,
    predict=answer,
    card=None,
    folds=None,
    kind="ours",
    task_name="synth-age",
    protocol=None,
):
    """Write what a run would leave, and return the record's path."""
    task, card = load(task_name), card or card_of(method)
    protocol = protocol or resolve_protocol("linear", task.card.family)
    options = {name: values[0] for name, values in card.options.items() if values} | {"preprocess": "native"}
    info = MethodInfo(
        name=method,
        card=facts(card),
        card_digest=card_digest(card),
        options=options,
        checkpoint_digest=None,
        feature_dim=card.feature_dim or 512,
        parameters=11_176_512,
    )
    provenance = Provenance(
        kind=kind, created="2026-01-02", tool_version="0.1.0", command="run --data /home/alice"
    )
    header = Header(describe_task(task), info, describe_protocol(protocol), provenance, ENVIRONMENT)
    content = Content(header)
    for seed in seeds:
        for fold in range(len(task.folds)) if folds is None else folds:
            chance = random.Random(f"{luck}/{seed}/{fold}")
            pairs = task.pairs(fold)
            names = task.sampler.identifiers(pairs)
            rows = [
                Prediction(name, int(subject), fold, seed, float(y), float(predict(float(y), chance)))
                for name, subject, y in zip(names, pairs.subject, pairs.target, strict=True)
            ]
            unit = Unit(
                task=task.card,
                task_options=task.chosen,
                method=card,
                method_options=options,
                protocol=protocol,
                manifest_digest=task.table.digest,
                split_digest=task.split.digest,
                fold=fold,
                seed=seed,
            )
            epochs = getattr(protocol, "epochs", 0)
            content.add(_result(unit, rows, task.card.metrics, epochs), unit_text(rows))
    path = ResultStore(results).record_path(task.name, protocol.name, method)
    path.parent.mkdir(parents=True, exist_ok=True)
    predictions, record = content.files()
    RecordFiles(path).predictions.write_bytes(predictions)
    path.write_bytes(record)
    return path


def _result(unit, rows, metrics, epochs):
    y, yhat = [row.y for row in rows], [row.yhat for row in rows]
    return UnitResult(
        fold=unit.fold,
        seed=unit.seed,
        key=unit.key(),
        metrics=compute_metrics(y, yhat, metrics),
        constant=no_change_baseline(y, metrics),
        n_pairs=len(rows),
        n_subjects=len({row.subject for row in rows}),
        best_epoch=epochs,
        validation_curve=[float(100 - epoch) for epoch in range(epochs)],
        seconds=1.5,
        peak_memory_mb=None,
        details={"precision": "float32", "device": "cuda"},
        predictions_digest=digest_rows(rows),
    )


def members_of(path, note=None):
    """The members that a package of one record has, made past all checks."""
    record = load_record(path)
    stem = "/".join(path.parts[-3:]).removesuffix(RECORD)
    return {
        NOTE: write_note(note or note_of(record.method.name)).encode(),
        f"{stem}{RECORD}": dump_json(publishable(record)).encode(),
        f"{stem}{PREDICTIONS}": RecordFiles(path).predictions.read_bytes(),
    }


def seal(record):
    """Write a record's JSON with the digest of its text, as somebody would who knows how."""
    text = json.dumps({name: value for name, value in record.items() if name != "digest"}, indent=1) + "\n"
    return (
        json.dumps({**record, "digest": hashlib.sha256(text.encode()).hexdigest()}, indent=1) + "\n"
    ).encode()


def forge(members, change, stem="synth-age/linear/my-net", fit=()):
    """Change the JSON of a record and seal it again; `fit` names digests that are made to fit, too."""
    record = json.loads(members[f"{stem}{RECORD}"])
    change(record)
    if "cards" in fit:
        record["task"]["card_digest"] = stored_card_digest(record["task"]["card"], TaskCard)
        record["method"]["card_digest"] = stored_card_digest(record["method"]["card"], MethodCard)
        record["protocol"]["digest"] = digest(record["protocol"]["values"])
    if "keys" in fit:
        model = Record.model_validate(record)
        for unit in record["units"]:
            unit["key"] = model.unit_key(unit["fold"], unit["seed"])
    return {**members, f"{stem}{RECORD}": seal(record)}


def check(members, results=None):
    return check_bytes(write_archive(members), "it.zip", results)


def messages(report):
    """All findings as one text; there must be some, none of them a fault of the check, all harmless."""
    assert not report.ok
    text = "\n".join(map(str, report.findings))
    assert "could not be checked" not in text, text
    assert text.isascii() and all(line.isprintable() for line in text.splitlines())
    return text


def put(place, value):
    """A change of one field of a record."""

    def change(record):
        *outer, last = place.split(".")
        for part in outer:
            record = record[int(part) if isinstance(record, list) else part]
        record[int(last) if isinstance(record, list) else last] = value

    return change


@pytest.fixture(scope="session", autouse=True)
def read_once():
    """One installation for all checks, so that its data are read once."""
    with pytest.MonkeyPatch.context() as context:
        context.setattr(vs_installed, "Installation", functools.cache(vs_installed.Installation))
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Ways to make packages; `members` are those of a good one."""
    path = run(tmp_path_factory.mktemp("good"))
    members = members_of(path)
    return SimpleNamespace(
        run=run,
        note=note_of,
        members_of=members_of,
        members=members,
        package=write_archive(members),
        results=path.parents[2],
        stem="synth-age/linear/my-net",
        forge=forge,
        check=check,
        messages=messages,
        put=put,
        card=NEW,
        digest=digest,
    )
