import numpy as np
import pytest

from blindspots.pictures import picture, picture_of_change


@pytest.mark.parametrize("shape", [(5, 4), (1, 5, 4), (3, 5, 4)])
def test_a_picture_holds_the_pixels_of_its_image(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape)
    expected = values.transpose(1, 2, 0) if shape[0] == 3 else values.reshape(5, 4)
    assert (np.asarray(picture(values / 255)) == expected).all()


def test_a_grey_change_is_blue_where_darker_red_where_brighter_clear_where_none() -> None:
    darker, none, brighter = np.asarray(picture_of_change(np.array([[[-1, 0, 1], [-1, 0, 1.0]]])))[0]
    assert darker[2] > darker[0]
    assert brighter[0] > brighter[2]
    assert (darker[3], none[3], brighter[3]) == (255, 0, 255)


def test_a_colour_change_is_centred_on_grey() -> None:
    seen = np.asarray(picture_of_change(np.array([-1, 0, 1]).reshape(3, 1, 1).repeat(2, 1).repeat(2, 2)))
    assert seen[0, 0].tolist() == [0, 128, 255]
