"What a random split adds to the figure: every image is predicted once, by a model that has not seen it."

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukocls.core.errors import DataError
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.table import read_table
from leukocls.runs.leakage import cross_validate, leakage_gap
from leukocls.runs.run import Run

RECIPE = 'p3-naive-bayes'  # a second for a fold
HOW = dict(recipe=RECIPE, folds=2, size=32, device='cpu', progress=False)

pytestmark = pytest.mark.once


def test_every_image_is_tested_once_by_a_run_that_has_not_seen_it(table, tmp_path):
    found = cross_validate(table, **HOW, out=str(tmp_path))
    assert found.path.tolist() == sorted(table.path) and set(found.fold) == {0, 1}
    runs = [Run(folder) for folder in tmp_path.iterdir()]
    assert len(runs) == 2
    for run in runs:
        t = run.table
        tested = set(t.path[t.split == 'test'])
        (fold,) = found.fold[found.path.isin(tested)].unique()
        assert tested == set(found.path[found.fold == fold])
        # nor has it seen another image of these patients
        assert not set(t.patient[t.split == 'test']) & set(t.patient[t.split != 'test'])


def test_the_gap_is_that_of_the_same_images(tmp_path):
    films = draw_films(tmp_path / 'films', patients=6, images=8, size=48, seed=3)
    table = read_table(films, patient=FILM_PATIENT)
    gap = leakage_gap(table, **HOW, out=str(tmp_path / 'runs'))
    assert gap.honest_split == 'patient' and gap.honest['n'] == gap.random['n'] == len(table)
    random, honest = (getattr(gap, k)['accuracy']['value'] for k in ('random', 'honest'))
    assert gap.difference.difference == pytest.approx(random - honest)
    assert gap.difference.low <= random - honest <= gap.difference.high
    said = str(gap)
    assert (
        f'{100 * (random - honest):+.1f} points' in said and 'whole patients are held out' in said
    )
    assert said == repr(gap) and 'Research use only' in gap._repr_html_()
    # each patient of these films has one kind of cell, so patients are judged, too
    assert set(gap.patients) == {'honest', 'random'} and 'patients, accuracy' in said


def test_without_patients_copies_stay_together_and_that_is_said(tmp_path):
    films = draw_films(tmp_path / 'films', patients=4, images=5, size=48, seed=4)
    table = read_table(films)
    # a copy of each tenth image, turned
    copies = []
    for row in table.iloc[::10].itertuples():
        to = str(row.path).replace('.png', '-copy.png')
        Image.open(row.path).transpose(Image.Transpose.ROTATE_90).save(to)
        copies.append(to)
    table = read_table(films)
    assert set(copies) <= set(table.path)
    gap = leakage_gap(table, **HOW, out=str(tmp_path / 'runs'))
    assert gap.honest_split == 'group' and 'patients are unknown' in gap.note
    assert 'near-duplicates together' in str(gap)


def test_where_both_splits_would_be_the_same_it_says_so(tmp_path):
    rng, rows = np.random.default_rng(0), []
    for i in range(12):
        path = tmp_path / f'{i}.png'
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), 'uint8')).save(path)
        rows.append(dict(path=str(path), label='ab'[i % 2]))
    with pytest.raises(DataError, match='both splits would be the same'):
        leakage_gap(read_table(pd.DataFrame(rows)), **HOW, out=str(tmp_path / 'runs'))
