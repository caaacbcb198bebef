"Across laboratories: what is trained where, what is judged where, and what is said of it."

from pathlib import Path

import pandas as pd
import pytest

from leukocls import across
from leukocls.core.errors import DataError, RunError
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.table import read_table
from leukocls.runs.across import Across, read_sources


@pytest.fixture(scope='module')
def table(tmp_path_factory):
    "Two laboratories in one table; the second has no Pro."
    folder, parts = tmp_path_factory.mktemp('labs'), []
    for name, seed in (('tehran', 1), ('munich', 2)):
        films = draw_films(folder / name, 6, 3, size=48, seed=seed)
        parts.append(read_table(films, patient=FILM_PATIENT).assign(source=name))
    table = pd.concat(parts, ignore_index=True)
    table['patient'] = table.source + table.patient
    return table[(table.source == 'tehran') | (table.label != 'Pro')].reset_index(drop=True)


@pytest.fixture(scope='module')
def result(table, tmp_path_factory, without_plots):
    with without_plots():
        return across(table, "p3-knn", out=str(tmp_path_factory.mktemp("runs")), progress=False)


def test_each_source_is_held_out_in_turn(result, table):
    rows = result.table.set_index(['trained_on', 'tested_on'])
    assert set(rows.index) == {
        ('munich', 'munich'),
        ('munich', 'tehran'),
        ('tehran', 'tehran'),
        ('tehran', 'munich'),
    }
    # every image that the model can know is judged elsewhere, and none at home that was trained on
    assert rows.n['tehran', 'munich'] == (table.source == 'munich').sum()
    assert rows.n['munich', 'tehran'] == ((table.source == 'tehran') & (table.label != 'Pro')).sum()
    for run in result.runs:
        assert run.table.source.nunique() == 1
    assert 'munich has no Pro.' in result.notes
    assert any('18 images of Pro are not judged' in note for note in result.notes)
    measured = ['accuracy', 'balanced_accuracy', 'f1', 'log_loss', 'ece', 'accepted']
    for name in measured:
        low, value, high = (result.table[f'{name}{end}'] for end in ('_low', '', '_high'))
        assert ((low <= value) & (value <= high)).all()


def test_what_is_finished_is_read(result, table, monkeypatch):
    out = result.runs[0].folder.parent

    def refuse(*args, **kwargs):
        raise AssertionError('trained or predicted again')

    monkeypatch.setattr('leukocls.runs.experiment.train', refuse)
    monkeypatch.setattr('leukocls.models.predictor.predict_images', refuse)
    again = across(table, 'p3-knn', out=str(out), progress=False)
    pd.testing.assert_frame_equal(again.table, result.table, check_dtype=False)
    written = pd.read_csv(out / 'across.csv')
    assert list(written.columns) == list(result.table.columns) and len(written) == 4
    page = (out / 'across.html').read_text(encoding='utf8')
    assert 'Research use only' in page and 'munich has no Pro' in page


def row(recipe, home, value, run='r'):
    ends = dict(balanced_accuracy_low=value - 0.05, balanced_accuracy_high=value + 0.05)
    return dict(recipe=recipe, run=run, trained_on='a', home=home, balanced_accuracy=value) | ends


def test_the_verdict_names_a_fall_only_where_it_is_clear():
    rows = [row('x', True, 0.9) | dict(tested_on='a'), row('x', False, 0.88) | dict(tested_on='b')]
    rows += [row('y', True, 0.9) | dict(tested_on='a'), row('y', False, 0.5) | dict(tested_on='b')]
    first, second = Across(pd.DataFrame(rows)).verdict
    assert first.startswith('x: no clear fall') and '90.0 % (85.0–95.0) at home' in first
    assert second.startswith('y: balanced accuracy falls') and second.endswith('(45.0–55.0) in b.')


def test_what_is_wrong_is_said_in_words(table, tmp_path):
    one = table[table.source == 'tehran']
    with pytest.raises(DataError, match='names 1 sources .tehran.'):
        across(one, out=str(tmp_path))
    with pytest.raises(DataError, match='Nothing is left to judge on'):
        across(table, train_on=['tehran', 'munich'], out=str(tmp_path))
    with pytest.raises(DataError, match="classes='Blast' is no class. There are: Benign"):
        read_sources(table, classes=['Blast'])
    with pytest.raises(RunError, match='mil answers for patients'):
        across(table, 'mil', out=str(tmp_path))


def test_sources_without_a_common_class_are_refused_before_training(table, tmp_path):
    # a folder that holds something else beside the images
    theirs = table[table.source == 'munich'].assign(source='lab')
    theirs['label'] = ['images' if i % 2 else 'masks' for i in range(len(theirs))]
    both = dict(here=table[table.source == 'tehran'], there=theirs)
    with pytest.raises(DataError, match='The sources share no class: .*images, masks.*--map'):
        across(both, 'small-cnn', out=tmp_path / 'runs', progress=False)
    assert not (tmp_path / 'runs').exists() or not any((tmp_path / 'runs').iterdir())


def test_names_of_classes_are_matched(table):
    theirs = table[table.source == 'munich'].assign(source='lab', label='early')
    both = read_sources({'ours': table[table.source == 'tehran'], 'theirs': theirs})
    assert set(both.label) == {'Benign', 'Early', 'Pre', 'Pro'}
    assert both.attrs['notes'] == [
        'Classes renamed: early → Early.',
        'theirs has no Benign, Pre, Pro.',
    ]
    assert both.patient[both.source == 'theirs'].str.startswith('theirs ').all()


@pytest.mark.parametrize('table', ['labels.csv', 'cells.csv'])
def test_a_place_is_called_as_the_user_says_or_by_what_says_something(films, tmp_path, table):
    "A data set was called `labels`, after its table; `leukocls cells` calls its table `cells.csv`."
    there = draw_films(tmp_path / 'munich', patients=1, images=2, size=32, seed=9)
    read_table(there)[['path', 'label']].to_csv(there / table, index=False)
    names = set(read_sources([films, there / table]).source)
    assert names == {Path(films).name, 'munich'}
    named = read_sources([f'tehran={films}', f'lab={there / table}'])
    assert set(named.source) == {'tehran', 'lab'}
    with pytest.raises(DataError, match='Two data sets have the same name: a, a. Write NAME=PATH'):
        read_sources([f'a={films}', f'a={there / table}'])
