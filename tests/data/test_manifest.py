from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comface_bench.core.errors import DataFormatError, DataMissingError
from comface_bench.core.problems import DataProblemsError, Note, ProblemList
from comface_bench.data.manifest import Manifest

FILES = ("b/2.jpg", "a/10.jpg", "a/9.jpg", "b/1.jpg")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("manifest")
    for number, name in enumerate(FILES):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"x" * (number + 1))
    return root


def rows(**changed):
    """Rows of all files; `changed` sets columns of the first."""
    made = [
        {"image": name, "subject": name[0], "session": "1", "phase": "pre", "kg": 60.0 + number, "age": 5.0}
        for number, name in enumerate(FILES)
    ]
    made[0] |= changed
    return made


def test_rows_are_sorted_by_image_name_with_everything_that_belongs_to_them(root):
    manifest = Manifest.from_rows("d", root, rows())
    assert manifest.images == ("a/10.jpg", "a/9.jpg", "b/1.jpg", "b/2.jpg")
    assert manifest.subjects == ("a", "a", "b", "b")
    lengths = (2, 3, 4, 1)
    assert manifest.contents == tuple(hashlib.sha256(b"x" * length).hexdigest() for length in lengths)
    assert manifest.labels["kg"].tolist() == [61, 62, 63, 60]
    assert manifest.labels["kg"].dtype == np.float64
    assert list(manifest.labels) == ["age", "kg"]
    assert manifest.subject_names == ("a", "b")
    assert len(manifest) == 4


def test_the_table_has_all_columns(root):
    frame = Manifest.from_rows("d", root, rows()).frame
    assert list(frame.columns) == ["image", "subject", "session", "phase", "age", "kg"]
    assert frame["kg"].tolist() == [61, 62, 63, 60]


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_digest_does_not_depend_on_the_order_of_rows_or_columns(root, order):
    shuffled = [dict(sorted(row.items(), key=lambda _: order.random())) for row in rows()]
    order.shuffle(shuffled)
    assert Manifest.from_rows("d", root, shuffled).digest == Manifest.from_rows("d", root, rows()).digest


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "a"},
        {"session": "2"},
        {"session": None},
        {"phase": "post"},
        {"phase": None},
        {"kg": 60.00000001},
        {"kg": None},
        {"age": 0.0},
        {"new": 1.0},
        {"image": "new.jpg"},
    ],
    ids=str,
)
def test_the_digest_follows_every_value(root, changed):
    (root / "new.jpg").write_bytes(b"x")
    before = Manifest.from_rows("d", root, rows()).digest
    assert Manifest.from_rows("d", root, rows(**changed)).digest != before


@given(
    column=st.sampled_from(["kg", "age"]),
    row=st.integers(0, 3),
    value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_digest_follows_any_label(root, column, row, value):
    changed = rows()
    same = changed[row][column] == value and math.copysign(1, changed[row][column]) == math.copysign(1, value)
    changed[row][column] = value
    digests = {Manifest.from_rows("d", root, made).digest for made in (rows(), changed)}
    assert len(digests) == (1 if same else 2)


def test_the_digest_follows_the_content_of_a_file_and_not_the_folder(tmp_path):
    digests = []
    for number, content in enumerate((b"x", b"x", b"y")):
        place = tmp_path / str(number)
        place.mkdir()
        (place / "a.jpg").write_bytes(content)
        digests.append(Manifest.from_rows("d", place, [{"image": "a.jpg", "subject": "s"}]).digest)
    assert digests[0] == digests[1] != digests[2]


def test_columns_do_not_run_into_each_other(root):
    one = Manifest.from_rows("d", root, rows(subject="a", session="bc"))
    two = Manifest.from_rows("d", root, rows(subject="ab", session="c"))
    assert one.digest != two.digest


def test_no_rows_are_no_manifest(root):
    with pytest.raises(DataMissingError, match="d: no images under"):
        Manifest.from_rows("d", root, [])


def test_an_image_may_not_stand_twice(root):
    twice = rows()
    twice.append({**twice[2], "where": "table.csv:5"})
    with pytest.raises(DataFormatError, match=r"table\.csv:5: a/9\.jpg stands twice"):
        Manifest.from_rows("d", root, twice)


@pytest.mark.parametrize("image", ["../a.jpg", "a/../../b.jpg", "/etc/passwd", "a/.."])
def test_no_image_leaves_the_root(root, image):
    with pytest.raises(DataFormatError, match=r"table\.csv:2: .* leaves the data root"):
        Manifest.from_rows("d", root, rows(image=image, where="table.csv:2"))


@pytest.mark.parametrize("image", ["./b/2.jpg", "b//2.jpg", "b/./2.jpg", "b/2.jpg/"])
def test_a_file_has_one_name(root, image):
    with pytest.raises(DataFormatError, match=r"is written plainly as .b/2\.jpg"):
        Manifest.from_rows("d", root, rows(image=image))


@pytest.mark.parametrize("image", ["nothing.jpg", "a", "b/2.jpg/x.jpg"])
def test_an_image_must_be_a_file(root, image):
    with pytest.raises(DataFormatError, match=r"table\.csv:2: .* isn't a file under"):
        Manifest.from_rows("d", root, rows(image=image, where="table.csv:2"))


@pytest.mark.parametrize("value", ["heavy", "", "7_5", float("nan"), float("inf"), [1]], ids=repr)
def test_labels_that_are_no_finite_numbers_are_refused(root, value):
    with pytest.raises(DataFormatError, match=r"table\.csv:2: kg is .*, not a (finite )?number"):
        Manifest.from_rows("d", root, rows(kg=value, where="table.csv:2"))


def test_labels_that_an_image_lacks_are_nan_and_within_every_range(root):
    made = rows()
    del made[0]["kg"]
    manifest = Manifest.from_rows("d", root, made)
    assert np.isnan(manifest.labels["kg"]).tolist() == [False, False, False, True]
    assert np.isnan(manifest.target("kg", (0, 100))[3])


def test_labels_must_be_within_their_range(root):
    manifest = Manifest.from_rows("d", root, rows())
    assert manifest.target("kg", (60, 63)).tolist() == [61, 62, 63, 60]
    with pytest.raises(DataFormatError, match=r"b/1\.jpg: kg is 63, not within 60 to 62"):
        manifest.target("kg", (60, 62))
    with pytest.raises(DataFormatError, match=r"b/2\.jpg: kg is 60, not within 61 to 63"):
        manifest.target("kg", (61, 63))


def test_unknown_labels_name_the_known_ones(root):
    with pytest.raises(DataFormatError, match="d has no label 'au1'; it has: age, kg"):
        Manifest.from_rows("d", root, rows()).target("au1", (0, 5))


def test_numbers_become_names(root):
    manifest = Manifest.from_rows("d", root, rows(subject=7, session=3))
    assert manifest.subjects[3] == "7"
    assert manifest.sessions[3] == "3"


def test_a_link_may_not_leave_the_root_but_may_stay_in_it(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "real").mkdir(parents=True)
    outside.mkdir()
    for folder in (root / "real", outside):
        (folder / "a.jpg").write_bytes(b"x")
    (root / "file.jpg").symlink_to(outside / "a.jpg")
    (root / "folder").symlink_to(outside)
    (root / "inner").symlink_to(root / "real")
    (root / "inner.jpg").symlink_to(root / "real" / "a.jpg")
    for image in ("file.jpg", "folder/a.jpg"):
        with pytest.raises(DataFormatError, match=f"{image} is a link that leaves the data root"):
            Manifest.from_rows("d", root, [{"image": image, "subject": "s"}])
    for image in ("inner/a.jpg", "inner.jpg"):
        assert len(Manifest.from_rows("d", root, [{"image": image, "subject": "s"}])) == 1


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.jpg").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(Manifest.from_rows("d", tmp_path / "link", [{"image": "a.jpg", "subject": "s"}])) == 1


def test_all_problems_are_reported_at_once_with_those_of_the_loader(root):
    def read():
        yield from rows(image="nothing.jpg", where="t.csv:2")
        yield Note("two left out")
        yield {"image": "b/2.jpg", "subject": "b", "kg": "heavy", "age": 1, "where": "t.csv:6"}
        own = ProblemList()
        own.add("t.csv:7", "a cell is missing", "Add it.")
        own.raise_any()

    with pytest.raises(DataProblemsError) as caught:
        Manifest.from_rows("d", root, read())
    assert [str(problem) for problem in caught.value.problems] == [
        "t.csv:7: a cell is missing",
        "t.csv:6: kg is 'heavy', not a number",
        f"t.csv:2: nothing.jpg isn't a file under {root}",
    ]
    noted = ProblemList()
    manifest = Manifest.from_rows("d", root, read(), noted)
    assert noted.found == caught.value.problems
    assert manifest.images == ("a/10.jpg", "a/9.jpg", "b/1.jpg", "b/2.jpg")
    assert manifest.notes == ("two left out",)


def test_two_data_sets_side_by_side(root, tmp_path):
    for part in ("A", "B"):
        (tmp_path / part / "p").mkdir(parents=True)
        (tmp_path / part / "p" / "1.jpg").write_bytes(part.encode())
    first, second = (
        Manifest.from_rows(part, tmp_path / part, [{"image": "p/1.jpg", "subject": "p", "kg": kg, part: 1.0}])
        for part, kg in (("A", 60.0), ("B", 70.0))
    )
    joined = Manifest.join(first, second)
    assert joined.images == ("A/p/1.jpg", "B/p/1.jpg")
    assert joined.subject_names == ("A/p", "B/p")
    assert [joined.own_name(name) for name in joined.subjects] == ["p", "p"]
    assert first.own_name("p/1.jpg") == "p/1.jpg"
    assert list(joined.labels) == ["kg"]
    assert joined.labels["kg"].tolist() == [60, 70]
    assert all((joined.root / image).is_file() for image in joined.images)
    assert len({joined.digest, first.digest, second.digest}) == 3


def test_two_data_sets_need_a_common_label(root):
    one, two = (
        Manifest.from_rows("d", root, [{"image": "b/2.jpg", "subject": "s", label: 1.0}])
        for label in ("kg", "age")
    )
    with pytest.raises(DataFormatError, match="no label in common"):
        Manifest.join(one, two)


@pytest.mark.parametrize(("here", "there"), [("A", "more/B"), ("one/A", "two/A"), ("A", "A")])
def test_two_data_sets_lie_side_by_side(tmp_path, here, there):
    parts = []
    for folder in (here, there):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "1.jpg").write_bytes(folder.encode())
        row = {"image": "1.jpg", "subject": "p", "kg": 60.0}
        parts.append(Manifest.from_rows(folder, tmp_path / folder, [row]))
    with pytest.raises(DataFormatError, match="don't lie side by side") as caught:
        Manifest.join(*parts)
    assert "two folders of one folder" in caught.value.hint


def test_frames_are_told_but_are_no_label_and_no_part_of_the_digest(root):
    still, frames = Manifest.from_rows("d", root, rows()), Manifest.from_rows("d", root, rows(frame=12))
    assert (still.video, frames.video) == (False, True)
    assert set(frames.labels) == {"kg", "age"}
    assert frames.digest == still.digest
