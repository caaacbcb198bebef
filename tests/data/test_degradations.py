"Degradations: the set is fixed, so that figures that were measured with it keep their meaning."

import numpy as np
import pytest

from leukocls.data.degradations import DEGRADATIONS, SHIFTS, degrade
from leukocls.data.films import draw_film, draw_patient

# Mean distance from the picture as it is, in grey levels
FAR = {
    'stain-blue': 8.2,
    'stain-red': 6.6,
    'magnified': 40.0,
    'farther': 31.0,
    'camera-warm': 18.4,
    'camera-flat': 9.5,
    'dark': 51.8,
    'uneven': 51.0,
    'blurred': 4.4,
    'jpeg': 5.3,
    'noisy': 7.8,
    'cut-out': 163.3,
}


@pytest.fixture(scope='module')
def film():
    return np.asarray(draw_film(draw_patient('Early', 2), size=120))


def test_the_set_is_twelve_of_eight_kinds():
    assert list(DEGRADATIONS) == list(FAR)
    assert len(SHIFTS) == 8 and {d.kind for d in DEGRADATIONS.values()} == set(SHIFTS)
    assert all(d.words and d.reason for d in DEGRADATIONS.values())


@pytest.mark.parametrize('name', FAR)
def test_a_degradation_keeps_its_strength(film, name):
    far = np.abs(degrade(film, name).astype(float) - film).mean()
    assert far == pytest.approx(FAR[name], rel=0.05)
