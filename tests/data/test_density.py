"Fast forms in the search for cells give what the simple ones give, to the bit."

import numpy as np
import pytest
from scipy import ndimage as ndi

from leukocls.data import density
from leukocls.data.films import draw_film, draw_patient


def nine(votes):
    "The sum of each pixel and its eight neighbours; the border stays empty."
    sums = np.zeros(votes.shape)
    inner = ndi.uniform_filter(votes.astype(float), (1, 3, 3), mode='constant') * 9
    sums[:, 1:-1, 1:-1] = np.rint(inner)[:, 1:-1, 1:-1]
    return sums


@pytest.mark.parametrize('seed', range(20))
@pytest.mark.parametrize('many', [3, 200, 5000])
def test_circles_and_their_peaks(seed, many):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(5, 60, 2)
    # votes lie in heaps, as those of real circles do, and some at the border
    heaps = rng.integers(0, (rows, columns), (5, 2))
    places = np.clip(heaps[rng.integers(5, size=many)] + rng.integers(-2, 3, (many, 2)), 0, None)
    places = np.minimum(places, (rows - 1, columns - 1))
    votes = np.zeros((4, rows, columns), int)
    np.add.at(votes, (rng.integers(4, size=many), *places.T), 1)
    whole, least = np.pi * rng.uniform(3.5, 64) / 2, 0.4
    simple = np.minimum(nine(votes) / whole, 1).mean(0)
    drawn = density._drawn(votes, whole, least)
    assert np.array_equal(np.where(drawn > least, drawn, 0), np.where(simple > least, simple, 0))
    peaks = simple[(simple == ndi.maximum_filter(simple, 5)) & (simple > least)]
    assert np.array_equal(density._peaks(drawn, least), peaks)


def test_peaks_at_the_border_and_side_by_side():
    a = np.zeros((6, 7))
    a[0, 0] = a[0, 2] = a[5, 6] = 0.9
    a[3, 2] = a[3, 3] = 0.7
    assert density._peaks(a, 0.4).tolist() == [0.9, 0.9, 0.7, 0.7, 0.9]
    a[2, 2] = 0.8
    assert density._peaks(a, 0.4).tolist() == [0.9, 0.9, 0.9]
    assert len(density._peaks(a, 0.95)) == 0


def test_total_density():
    picture = draw_film(draw_patient('Early', 1), 0, 120)
    found, valid = density.optical_density(picture)
    assert np.array_equal(density.total_density(found), np.maximum(found, 0).sum(2))
    assert valid.all()
