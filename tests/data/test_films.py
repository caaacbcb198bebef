import numpy as np
import pytest

from leukocls.core.errors import LeukoError
from leukocls.data.films import CLASSES, FILM_PATIENT, draw_film, draw_films, draw_patient
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.runs.experiment import train


def test_films_repeat_with_the_seed(tmp_path):
    a, b, c = (
        sorted(draw_films(tmp_path / n, patients=1, images=2, size=32, seed=s).rglob('*.png'))
        for n, s in (('a', 1), ('b', 1), ('c', 2))
    )

    def same(x, y):
        return [p.read_bytes() == q.read_bytes() for p, q in zip(x, y)]

    assert all(same(a, b)) and not any(same(a, c)) and len(a) == 8


@pytest.mark.parametrize('label', CLASSES)
@pytest.mark.parametrize('size', [32, 96, 224])
def test_sizes(label, size):
    im = draw_film(draw_patient(label, 1), size=size)
    assert im.size == (size, size) and im.mode == 'RGB' and np.asarray(im).std() > 10


def test_stain_is_drawn_without_looking_at_the_class():
    for n in range(5):
        assert len({tuple(draw_patient(c, n).stain.round(9)) for c in CLASSES}) == 1


def test_unknown_class():
    with pytest.raises(LeukoError, match='know: Benign, Early, Pre, Pro'):
        draw_patient('CML')


@pytest.mark.slow
@pytest.mark.usefixtures('no_plots')
def test_new_patients_are_harder_than_new_images(tmp_path):
    """The same recipe on the same films: divided by image it looks better than divided by patient,
    and both beat chance.
    """
    t = read_table(
        draw_films(tmp_path / 'f', patients=10, images=9, size=48, seed=7), patient=FILM_PATIENT
    )
    found = {}
    for method in ('random', 'patient'):
        run = train(
            'small-cnn',
            split_table(t, method, valid_pct=0, test_pct=0.25, seed=7),
            out=tmp_path,
            progress=False,
            device='cpu',
            lr=5e-3,
            seed=7,
            size=24,
            epochs=8,
        )
        found[method] = run.metrics['accuracy']['value']
    assert found['random'] > found['patient'] + 0.05 and found['patient'] > 0.45, found
