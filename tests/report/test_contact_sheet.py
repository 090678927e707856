import numpy as np
import pytest

from tcl_jax.report.contact_sheet import Column, contact_sheet

RANDOM = np.random.RandomState(7)


def images(count, height, width, channels):
    return RANDOM.randint(0, 256, (count, height, width, channels), np.uint8)


def columns_of(pictures):
    """Two groups: one column, and two."""
    first, *others = pictures
    return [Column("original", "", first), *(Column("view", str(i), other) for i, other in enumerate(others))]


def place_of(picture, sheet):
    """(top, left) where the sheet shows exactly this picture; there must be one such place."""
    first_pixel = (sheet[: -len(picture) + 1, : -picture.shape[1] + 1] == picture[0, 0]).all(-1)
    places = [
        (top, left)
        for top, left in np.argwhere(first_pixel).tolist()
        if np.array_equal(sheet[top : top + picture.shape[0], left : left + picture.shape[1]], picture)
    ]
    assert len(places) == 1
    return places[0]


@pytest.mark.parametrize(
    ("height", "width", "channels", "factor"),
    [(8, 8, 1, 12), (28, 28, 1, 3), (32, 32, 3, 3), (10, 32, 3, 3), (97, 60, 3, 1), (256, 256, 3, 1)],
)
def test_every_image_stands_in_its_row_and_column_enlarged_by_whole_pixels(height, width, channels, factor):
    pictures = [images(2, height, width, channels) for _ in range(3)]
    sheet = np.asarray(contact_sheet("title", columns_of(pictures), ["a", "b"]))
    places = np.array(
        [
            [
                place_of(
                    np.broadcast_to(image, (*image.shape[:2], 3)).repeat(factor, 0).repeat(factor, 1), sheet
                )
                for image in column
            ]
            for column in pictures
        ]
    )  # [column, row, (top, left)]
    tops, lefts = places[..., 0], places[..., 1]
    assert (tops == tops[:1]).all()
    assert (lefts == lefts[:, :1]).all()
    assert tops[0, 1] - tops[0, 0] >= height * factor
    between = np.diff(lefts[:, 0]) - width * factor
    assert 0 < between[1] < between[0]  # groups stand apart


@pytest.mark.parametrize(("channels", "shown"), [(2, 1), (5, 3)])
def test_of_channels_that_no_picture_has_the_first_are_shown_and_the_title_says_so(channels, shown):
    pictures = images(2, 8, 8, channels)
    sheet = contact_sheet("digits", columns_of([pictures]), ["a", "b"])
    sentence = (
        "Of the 2 channels the first is shown." if shown == 1 else "Of the 5 channels the first 3 are shown."
    )
    of_these = contact_sheet(f"digits. {sentence}", columns_of([pictures[..., :shown]]), ["a", "b"])
    np.testing.assert_array_equal(np.asarray(sheet), np.asarray(of_these))


def test_large_images_are_reduced_to_averages():
    blocks = images(1, 150, 200, 3)  # each becomes 3x3 pixels, which are averaged again
    sheet = np.asarray(contact_sheet("", [Column("", "", blocks.repeat(3, 1).repeat(3, 2))], [""]))
    place_of(blocks[0], sheet)


def ink(sheet, box):
    top, bottom, left, right = box
    return (sheet[top:bottom, left:right] < 128).any()


def test_names_stand_beside_and_above():
    """White pictures, so that all ink is text: beside the row that has a name, and above the group that has one."""
    white = np.full((2, 50, 50, 3), 255, np.uint8)
    columns = [Column("", "", white), Column("named", "", white), Column("other", "", white)]
    sheet = np.asarray(contact_sheet("", columns, ["", "cat"]))
    blank = np.asarray(contact_sheet("", [Column("", "", white)] * 3, ["", ""]))
    assert (blank == 255).all()
    rows, cols = (np.flatnonzero((sheet < 128).any((1 - axis, 2))) for axis in (0, 1))
    assert cols.min() < 60 < 100 < cols.max()
    height = len(sheet)
    lower = rows[rows > height // 2]
    assert len(lower)
    assert not ink(sheet, (100, height // 2, 0, 1000))  # the first row has no name
    assert not ink(sheet, (height // 2, height, 60, 1000))


def test_long_names_are_cut():
    picture = images(1, 8, 8, 1)
    wide = contact_sheet("", [Column("", "", picture)], ["x" * 25]).width
    assert contact_sheet("", [Column("", "", picture)], ["x" * 250]).width <= wide + 60


def test_names_beyond_the_font_are_not_an_error():
    contact_sheet("Größe", [Column("視", "n", images(1, 8, 8, 1))], ["кот 猫"])


def test_as_many_names_as_images():
    with pytest.raises(ValueError, match=r"1 row names are given for columns of \[2\] images"):
        contact_sheet("", [Column("", "", images(2, 8, 8, 1))], ["a"])


def test_notes_stand_below_their_pictures():
    """White pictures, so that all ink is text; the first column has notes, the second none."""
    white = np.full((2, 50, 50, 3), 255, np.uint8)
    sheet = np.asarray(
        contact_sheet("", [Column("", "", white, ["", "note"]), Column("", "", white)], ["", ""])
    )
    plain = np.asarray(contact_sheet("", [Column("", "", white)] * 2, ["", ""]))
    rows, cols = (np.flatnonzero((sheet < 128).any((1 - axis, 2))) for axis in (0, 1))
    assert len(sheet) > len(plain)
    assert rows.min() > len(sheet) - 50  # of the second row alone
    assert cols.max() < 40 + 50


def test_long_notes_are_cut_to_their_pictures():
    pictures = images(1, 96, 96, 3)
    sheet = contact_sheet("", [Column("", "", pictures, ["x" * 200])], [""])
    assert sheet.width == contact_sheet("", [Column("", "", pictures, ["x"])], [""]).width
    assert (np.asarray(sheet)[:, -20:] == 255).all()
