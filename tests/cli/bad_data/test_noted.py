"""Oddities that aren't wrong: read, and reported in a note."""

from __future__ import annotations

import shutil


def test_the_authors_44_lines_of_sn010_are_no_problem(lay_out, check):
    root = lay_out("DISFA")
    for path in (root / "ActionUnit_Labels" / "SN010").iterdir():
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    seen = check(root)
    assert seen.status == 0
    assert any("SN010 5" in note for note in seen.found["notes"])


def test_excluded_frames_are_left_out_and_counted(lay_out, check):
    root = lay_out("DISFA")
    (root / "exclude.csv").write_text('subject,first,last,reason\nSN001,1,2,"blurred, dark"\n')
    seen = check(root)
    assert seen.found["per_subject"]["SN001"]["images"] == 1
    assert "SN001: 2 frames excluded: blurred, dark" in seen.found["notes"]


def test_columns_that_nobody_reads_are_noted(lay_out, check):
    root = lay_out("Edema-A")
    clean = check(root).found
    path = root / "manifest.csv"
    path.write_text(
        "\n".join(f"{line},x" for line in path.read_text().splitlines()).replace("kg,x", "kg,nurse")
    )
    found = check(root).found
    assert found["manifest_digest"] == clean["manifest_digest"]
    assert "columns of manifest.csv that aren't read: nurse" in found["notes"]


def test_an_unusual_weight_that_somebody_has_checked(lay_out, check):
    root = lay_out("Edema-A")
    path = root / "manifest.csv"
    lines = path.read_text().replace(",51\n", ",61\n", 1).splitlines()
    marked = [
        f"{line},{'checked' if number == 0 else 'yes' if number < 3 else ''}"
        for number, line in enumerate(lines)
    ]
    path.write_text("\n".join(lines) + "\n")
    assert check(root).status == 2
    path.write_text("\n".join(marked) + "\n")
    assert check(root).status == 0


def test_a_patient_of_one_phase_is_noted(lay_out, check, draw_image):
    root = lay_out("Edema-A")
    with (root / "manifest.csv").open("a") as table:
        for day in (1, 2):
            draw_image(root / "images" / f"P5_{day}.jpg", seed=50 + day)
            table.write(f"images/P5_{day}.jpg,P5,{day},pre,60\n")
    seen = check(root)
    assert seen.status == 0
    assert "patients of one phase, who are trained on and can't be tested: 1 (P5 pre)" in seen.found["notes"]
    assert seen.found["per_subject"]["P5"] == {"images": 2, "labelled": 2, "train_pairs": 1, "test_pairs": 0}


def test_unlabelled_frames_are_counted_not_guessed(lay_out, check):
    root = lay_out("UNBC")
    shutil.move(next((root / "Frame_Labels").rglob("*001_facs.txt")), root / "away.txt")
    seen = check(root)
    assert (seen.status, seen.found["images"]) == (0, 11)
    assert any("1 frame without a label, left out" in note for note in seen.found["notes"])
