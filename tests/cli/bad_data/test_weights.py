"""Malformed tables of weights (Edema): refused, with file and line."""

from __future__ import annotations

import shutil

import pytest

FILL_IN = "Fill it in, or take the row out."
KEPT_INSIDE = "Name it relative to {root}."
CHECKED = "or write yes in a column `checked` if it is right."
HEADER = "image,patient,day,phase,weight_kg"


def replace(old, new):
    """Write something else in place of a text that stands in the table."""

    def spoil(root, draw):
        text = (root / "manifest.csv").read_text()
        assert old in text
        (root / "manifest.csv").write_text(text.replace(old, new, 1))

    return spoil


def append(row):
    def spoil(root, draw):
        with (root / "manifest.csv").open("a") as table:
            table.write(row + "\n")

    return spoil


def keep_pre(root, draw):
    path = root / "manifest.csv"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if ",post," not in line))


# Line 2 is patient P1, day 1, pre, 51 kg; line 3 post, 50 kg; the next two are day 2.
EDEMA = {
    "grams": (
        replace("51\n", "51000\n"),
        ":2",
        "weight_kg is 51000: grams, not kilograms",
        "Divide it by 1000: 51",
    ),
    "a column of grams": (
        replace("weight_kg", "weight_g"),
        ":1",
        "the column of weights is weight_g, not weight_kg",
        "Divide the grams by 1000, and call the column weight_kg.",
    ),
    "a column of pounds": (
        replace("weight_kg", "weight_lbs"),
        ":1",
        "the column of weights is weight_lbs, not weight_kg",
        "Divide the pounds by 2.2046, and call the column weight_kg.",
    ),
    "pounds in one row": (
        replace("51\n", "112.4\n"),
        ":2",
        "P1 weighs 112.4 kg here and 50 kg in line 3, 2.2 times as much: pounds?",
        f"Divide pounds by 2.2046, {CHECKED}",
    ),
    "heavier after treatment": (
        replace(
            "pre,51\nimages/P1_1_post.jpg,P1,1,post,50",
            "post,51\nimages/P1_1_post.jpg,P1,1,pre,50",
        ),
        ":2",
        "P1, day 1: 50 kg before treatment and 51 kg after it, which is more",
        f"Swap pre and post if they were mistaken, {CHECKED}",
    ),
    "a digit lost": (
        replace("51\n", "61\n"),
        ":3",
        "P1, day 1: 61 kg before treatment and 50 kg after it, a change of 18.0%",
        f"Correct the wrong weight or day, {CHECKED}",
    ),
    "two weights": (
        append("images/P1_1_more.jpg,P1,1,pre,51.5"),
        ":18",
        "P1, day 1, pre: 51.5 kg here and 51 kg in line 2",
        f"A patient has one weight a phase: correct one, give another day, {CHECKED}",
    ),
    "no weight": (replace("pre,51\n", "pre,\n"), ":2", "weight_kg is empty", FILL_IN),
    "a weight of 0": (
        replace("pre,51\n", "pre,0\n"),
        ":2",
        "weight_kg is 0, not above 0",
        "Correct it, or take the row out.",
    ),
    "a unit behind the number": (
        replace("pre,51\n", "pre,51 kg\n"),
        ":2",
        "weight_kg is '51 kg', not a number",
        "Write a number such as 60.5, without a unit.",
    ),
    "another phase": (
        replace("pre,51", "before,51"),
        ":2",
        "phase is 'before', not pre or post",
        "pre is before treatment, post after it.",
    ),
    "no patient of both phases": (
        keep_pre,
        "",
        "no patient has images of both phases, so nothing can be tested",
        "Testing takes pre/post pairs: add the other phase of at least some patients.",
    ),
    "a way out by ..": (
        replace("images/P1_1_pre.jpg", "images/../../Edema-A/images/P1_1_pre.jpg"),
        ":2",
        "images/../../Edema-A/images/P1_1_pre.jpg leaves the data root",
        KEPT_INSIDE,
    ),
    "another version": (
        lambda root, draw: (root / "manifest.csv").write_text(
            "# comface-bench edema 2\n" + (root / "manifest.csv").read_text()
        ),
        ":1",
        "this is 'edema 2', not version 1 of edema",
        "Write the file as docs/datasets/edema.md shows, and its first line as # comface-bench edema 1",
    ),
}


@pytest.mark.parametrize("name", EDEMA)
def test_weights_refused(lay_out, refuse, draw_image, name):
    root = lay_out("Edema-A")
    draw_image(root / "images" / "P1_1_more.jpg", seed=99)
    spoil, line, message, remedy = EDEMA[name]
    spoil(root, draw_image)
    refuse(root, [(f"{{root}}/manifest.csv{line}", message, remedy)])


def test_an_edema_set_without_its_table_is_reported_which_file_may_be_meant(lay_out, stop):
    root = lay_out("Edema-A")
    (root / "manifest.csv").rename(root / "Weights.CSV")
    stop(
        root,
        "{root}/manifest.csv doesn't exist",
        f"Rename Weights.CSV to manifest.csv; its header is {HEADER}",
    )


def test_a_table_of_nothing_but_a_header_has_no_images(lay_out, stop):
    root = lay_out("Edema-A")
    (root / "manifest.csv").write_text(HEADER + "\n")
    stop(
        root,
        "Edema-A: no images under {root}",
        "Put them there, or point --data at the folder that holds them.",
    )


@pytest.mark.parametrize("letter", "AB")
def test_both_sets_of_a_task_are_looked_over(lay_out, check, draw_image, letter):
    root = lay_out("Edema-A")
    shutil.copytree(root, root.parent / "Edema-B")
    for number, image in enumerate(sorted((root.parent / "Edema-B" / "images").iterdir())):
        draw_image(image, seed=900 + number)  # Other people have other faces.
    spoiled = root.parent / f"Edema-{letter}"
    replace("51\n", "51000\n")(spoiled, None)
    seen = check(root, task="edema-a2b")
    assert seen.status == 2
    assert [one["where"] for one in seen.found["problems"]] == [f"{spoiled}/manifest.csv:2"]
