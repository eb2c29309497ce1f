import zipfile

import pytest

from comface_bench.core.errors import DataFormatError, DataMissingError, UsageError
from comface_bench.prepare import fgnet
from comface_bench.prepare.fgnet import git_blob, prepare_fgnet, published_images

NAMES = ("001A02.JPG", "001A08.JPG", "002A43a.JPG", "002A43b.JPG")


@pytest.fixture
def source(tmp_path, make_fgnet, monkeypatch):
    """Four drawn images, spelled in four ways among junk, that stand for the published ones."""
    clean = make_fgnet(tmp_path / "clean", NAMES) / "images"
    known = {name: git_blob((clean / name).read_bytes()) for name in NAMES}
    monkeypatch.setattr(fgnet, "published_images", lambda: known)
    folder = tmp_path / "source" / "FGNET" / "images"
    folder.mkdir(parents=True)
    for name, spelled in zip(NAMES, ("001a02.jpg", "001A08.jpeg", "002A43A.JPG", "002A43b.JPG"), strict=True):
        (folder / spelled).write_bytes((clean / name).read_bytes())
    (folder / "._001A02.JPG").write_bytes(b"junk")
    (folder / ".DS_Store").write_bytes(b"junk")
    (folder.parent / "points").mkdir()
    (folder.parent / "points" / "001a02.pts").write_text("version: 1\r\n")
    (tmp_path / "source" / "__MACOSX").mkdir()
    (tmp_path / "source" / "__MACOSX" / "001A02.JPG").write_bytes(b"junk")
    return tmp_path / "source"


def pack(folder, path, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_images_get_their_published_names(source, tmp_path, digest_tree, packed):
    origin = pack(source, tmp_path / "FGNET.zip") if packed else source
    before = digest_tree(source)
    report = prepare_fgnet(origin, tmp_path / "data")
    assert digest_tree(tmp_path / "data") == {
        f"FGNET/{name}": digest for name, digest in digest_tree(tmp_path / "clean").items()
    }
    assert (report.images, report.copied) == (4, 4)
    assert not report.missing + report.unknown + report.differing + report.broken
    assert prepare_fgnet(origin, tmp_path / "data").copied == 0
    assert digest_tree(source) == before


def test_two_at_once_into_one_folder(source, tmp_path):
    def meddle(done, total):
        if done == 1:
            with pytest.raises(UsageError, match="is being filled by another process"):
                prepare_fgnet(source, tmp_path / "data")

    assert prepare_fgnet(source, tmp_path / "data", progress=meddle).copied == 4
    assert sorted(path.name for path in (tmp_path / "data" / "FGNET").iterdir()) == ["images"]


def test_what_isnt_as_published_is_reported(source, tmp_path, draw_image):
    folder = source / "FGNET" / "images"
    content = (folder / "001a02.jpg").read_bytes()
    (folder / "001a02.jpg").write_bytes(content[: len(content) // 2])
    draw_image(folder / "001A08.jpeg", seed=99)
    (folder / "002A43b.JPG").unlink()
    draw_image(folder / "099A01.JPG")
    draw_image(folder / "holiday.jpg")
    report = prepare_fgnet(source, tmp_path / "data")
    assert report.missing == ["001A02.JPG", "002A43b.JPG"]
    assert report.differing == ["001A08.JPG"]
    assert report.broken == [str(folder / "001a02.jpg")]
    assert report.unknown == [str(folder / "099A01.JPG"), str(folder / "holiday.jpg")]
    images = tmp_path / "data" / "FGNET" / "images"
    assert sorted(path.name for path in images.iterdir()) == ["001A08.JPG", "002A43a.JPG"]


@pytest.mark.parametrize("name", ["../001A02.JPG", "/tmp/001A02.JPG", "a/../../001A02.JPG", "..\\001A02.JPG"])
def test_member_that_leaves_the_archive_is_refused(source, tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(DataFormatError, match="outside of the folder"):
        prepare_fgnet(tmp_path / "bad.zip", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_member_that_grows_without_bounds_is_refused(source, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("001A02.JPG", b"\0" * (2**24 + 1))
    with pytest.raises(DataFormatError, match="none should have more"):
        prepare_fgnet(tmp_path / "bomb.zip", tmp_path / "data")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_archive_is_reported(source, tmp_path, compression):
    path = pack(source, tmp_path / "FGNET.zip", compression)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = archive.getinfo("FGNET/images/001a02.jpg")
    at = place.header_offset + 30 + len(place.filename)
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="can't be unpacked"):
        prepare_fgnet(path, tmp_path / "data")
    path.write_bytes(bytes(content[:100]))
    with pytest.raises(DataFormatError, match="neither a folder nor a ZIP archive"):
        prepare_fgnet(path, tmp_path / "data")


def test_two_copies_are_one_if_they_are_alike(source, tmp_path, draw_image):
    copy = source / "copy" / "001A02.JPG"
    copy.parent.mkdir()
    copy.write_bytes((source / "FGNET" / "images" / "001a02.jpg").read_bytes())
    assert prepare_fgnet(source, tmp_path / "data").copied == 4
    draw_image(copy, seed=5)
    with pytest.raises(DataFormatError, match=r"001A02\.JPG is in the source twice"):
        prepare_fgnet(source, tmp_path / "other")


def test_target_with_other_files_is_refused(source, tmp_path, draw_image):
    images = tmp_path / "data" / "FGNET" / "images"
    draw_image(images / "001A02.JPG", seed=7)
    before = (images / "001A02.JPG").read_bytes()
    with pytest.raises(UsageError, match="differs from the source"):
        prepare_fgnet(source, tmp_path / "data")
    assert (images / "001A02.JPG").read_bytes() == before
    draw_image(images / "mine.png")
    with pytest.raises(UsageError, match=r"mine\.png isn't an image of FG-NET"):
        prepare_fgnet(source, tmp_path / "data")


def test_source_without_images(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissingError, match="no image of FG-NET"):
        prepare_fgnet(tmp_path / "empty", tmp_path / "data")
    with pytest.raises(DataMissingError, match="doesn't exist"):
        prepare_fgnet(tmp_path / "gone", tmp_path / "data")


def test_published_list_is_whole():
    known = published_images()
    assert len(known) == 1002
    assert len({name[:3] for name in known}) == 82
    assert len(set(known.values())) == 1002
    assert known["001A02.JPG"] == "e2f6e81ce782aea7a3ee81187578c9c4b9e5b485"
    lettered = [name for name in known if name[6] != "."]
    assert len(lettered) == 28
    assert all(name[6] in "ab" for name in lettered)
    ages = [int(name[4:6]) for name in known]
    assert (min(ages), max(ages), round(sum(ages) / 1002, 2)) == (0, 69, 15.84)


def test_digest_is_that_of_git():
    # What `git hash-object` prints for these two contents.
    assert git_blob(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert git_blob(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"
