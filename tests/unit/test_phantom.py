"""The phantom: deterministic, asymmetric, plausible, and saved where it is."""

import numpy as np
import pytest
from scipy import ndimage

from napari_medsam.errors import ImageError
from napari_medsam.intensity import looks_like_ct
from napari_medsam.io import read_labels, write_labels
from napari_medsam.phantom import ORIGIN, ct_phantom


@pytest.fixture(scope="module")
def phantom():
    return ct_phantom()


def centre(labels, names, name):
    value = next(v for v, n in names.items() if n == name)
    return np.argwhere(labels == value).mean(axis=0)


def test_types_and_grid(phantom):
    image, labels, names = phantom
    assert image.data.shape == labels.shape == (60, 160, 200)
    assert (image.data.dtype, labels.dtype) == (np.int16, np.uint16)
    assert len(set(image.grid.spacing)) == 3
    assert tuple(image.grid.affine[:3, 3]) == ORIGIN
    assert set(np.unique(labels)) == {0, *names}
    assert looks_like_ct(image.data)


def test_same_seed_same_voxels(phantom):
    image, labels, _ = phantom
    again, labels_again, _ = ct_phantom()
    other, _, _ = ct_phantom(seed=1)
    assert np.array_equal(again.data, image.data)
    assert np.array_equal(labels_again, labels)
    assert not np.array_equal(other.data, image.data)


@pytest.mark.parametrize(
    "name", ["liver", "liver lesion", "spleen", "right kidney", "left kidney", "vertebra", "marker"]
)
def test_no_organ_is_a_mirror_image_of_itself(phantom, name):
    _, labels, names = phantom
    value = next(v for v, n in names.items() if n == name)
    where = np.argwhere(labels == value)
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    cut = labels[box] == value
    mask = labels == value
    for axis in range(3):
        assert not np.array_equal(np.flip(mask, axis), mask)
    assert len({tuple(plane.ravel()) for plane in cut}) > 1 or cut.shape[0] == 1


def test_patient_lies_in_lps(phantom):
    _, labels, names = phantom
    liver, spleen = centre(labels, names, "liver"), centre(labels, names, "spleen")
    right, left = centre(labels, names, "right kidney"), centre(labels, names, "left kidney")
    assert liver[2] < spleen[2]
    assert right[2] < left[2]
    assert right[0] < left[0]
    assert centre(labels, names, "aorta")[1] < centre(labels, names, "vertebra")[1]
    assert centre(labels, names, "left lung base")[0] > left[0]


def test_marker_is_an_l_in_every_view(phantom):
    image, labels, names = phantom
    value = next(v for v, n in names.items() if n == "marker")
    where = np.argwhere(labels == value)
    lengths = (np.ptp(where, axis=0) + 1) * image.grid.spacing
    assert lengths == pytest.approx((40, 26, 60), abs=3)


def test_intensities_and_noise(phantom):
    image, labels, names = phantom
    for name, hu in {"liver": 110, "spleen": 125, "fat": -100, "muscle": 50, "left lung base": -820}.items():
        value = next(v for v, n in names.items() if n == name)
        inner = ndimage.binary_erosion(labels == value)
        assert image.data[inner].mean() == pytest.approx(hu, abs=3)
    middle = tuple(np.rint(centre(labels, names, "left kidney")).astype(int))
    patch = image.data[middle[0], middle[1] - 4 : middle[1] + 5, middle[2] - 4 : middle[2] + 5].astype(float)
    assert patch.std() == pytest.approx(12, abs=3.5)
    beside = np.corrcoef(patch[:, :-1].ravel(), patch[:, 1:].ravel())[0, 1]
    assert beside > 0.2


def test_any_shape_and_spacing():
    image, labels, names = ct_phantom((20, 40, 50), spacing=(9, 7.5, 7.2))
    assert image.grid.spacing == (9, 7.5, 7.2)
    assert set(np.unique(labels)) == {0, *names}
    assert ct_phantom((1, 1, 1))[1].shape == (1, 1, 1)
    with pytest.raises(ImageError, match="three axes"):
        ct_phantom((40, 50))


def test_labels_are_saved_with_the_phantoms_grid(tmp_path, phantom):
    image, labels, names = phantom
    path = write_labels(tmp_path / "o", labels, grid=image.grid, source=image.source, names=names)
    read = read_labels(path)
    assert np.array_equal(read.array, labels)
    assert read.image.grid.same_as(image.grid)
    assert read.names == names
