"Tables that survive a stop: of a learner, of a run, of whatever answers for files."

import csv
import os
from pathlib import Path

import pandas as pd
import pytest

from leukocls import Run
from leukocls.core.errors import DataError, RunError
from leukocls.core.resumed import write_resumed
from leukocls.models.predictor import Predictor, predict_images, predict_to

HEAD = ['path', 'bytes']


def sizes(paths):
    for path in paths:
        yield [path, os.path.getsize(path)]


def stopping(rows_of, after, how=KeyboardInterrupt):
    "The same function, until the power goes."

    def some(paths):
        for n, cells in enumerate(rows_of(paths)):
            if n == after:
                raise how
            yield cells

    return some


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / 'files' / f'{i}, "x"\n.txt' for i in range(9)]
    paths[0].parent.mkdir()
    for i, path in enumerate(paths):
        path.write_bytes(b'x' * i)
    return [*map(str, paths), str(paths[3])]


@pytest.mark.once
@pytest.mark.parametrize('after', [0, 1, 5, 8])
@pytest.mark.parametrize('cut', [0, 1, 30])
def test_any_function_goes_on(files, tmp_path, after, cut):
    "Also where the last row was cut short; a file that stands there twice is asked for once."
    whole, out = tmp_path / 'whole.csv', tmp_path / 'out.csv'
    assert write_resumed(files, whole, HEAD, sizes, 'k', False) == 10
    with pytest.raises(KeyboardInterrupt):
        write_resumed(files, out, HEAD, stopping(sizes, after), 'k', False)
    assert not out.exists()
    (part,) = tmp_path.glob('.out.csv.*')
    os.truncate(part, max(0, part.stat().st_size - cut))
    asked = []

    def noting(paths):
        for path in paths:
            asked.append(path)
            yield from sizes([path])

    write_resumed(files, out, HEAD, noting, 'k', False)
    assert out.read_bytes() == whole.read_bytes() and not list(tmp_path.glob('.out*'))
    assert asked == files[9 - len(asked) : 9] and len(asked) >= 9 - after
    with open(out, newline='', encoding='utf8') as f:
        assert [row[0] for row in csv.reader(f)][1:] == files


@pytest.mark.once
@pytest.mark.parametrize('change', ['key', 'head', 'file'])
def test_rows_that_are_no_longer_right_are_not_taken_over(files, tmp_path, change):
    out, key, head = tmp_path / 'out.csv', 'k', HEAD
    with pytest.raises(KeyboardInterrupt):
        write_resumed(files, out, head, stopping(sizes, 5), key, False)
    if change == 'key':
        key = 'k 2'
    if change == 'head':
        head = ['path', 'length']
    if change == 'file':
        Path(files[2]).write_bytes(b'something else')
    asked = []

    def noting(paths):
        for path in paths:
            asked.append(path)
            yield from sizes([path])

    write_resumed(files, out, head, noting, key, False)
    assert files[2] in asked
    assert pd.read_csv(out)[head[1]][2] == os.path.getsize(files[2])


@pytest.mark.once
def test_an_error_of_an_image_leaves_nothing_and_a_full_disk_keeps_the_rows(files, tmp_path):
    out = tmp_path / 'out.csv'
    with pytest.raises(DataError):
        write_resumed(files, out, HEAD, stopping(sizes, 3, DataError('b.png is none')), 'k', False)
    assert not list(tmp_path.glob('*out*'))
    with pytest.raises(RunError, match='rows written so far are kept'):
        write_resumed(files, out, HEAD, stopping(sizes, 3, OSError(28, 'full')), 'k', False)
    assert len(list(tmp_path.glob('.out*'))) == 1


@pytest.mark.parametrize('kind', ['learner', 'run'])
def test_predictions_of_a_learner_go_on(run, table, tmp_path, monkeypatch, kind, capsys):
    "Stopped in between and started again: the same file, and nothing is predicted twice."
    model = run.learner if kind == 'learner' else Run(run.folder)
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no picture')
    paths = [str(broken), *table.path[:40], str(table.path[0])]
    whole, out = tmp_path / 'whole.csv', tmp_path / 'out.csv'
    predictor = Predictor(model)
    predict_to(predictor, paths, whole)
    chunks, asked = Predictor.chunks, []

    def few(self, paths, on_error='raise', rows=512):
        for n, some in enumerate(chunks(self, noting(paths), on_error, rows=16)):
            if n == stop:
                raise KeyboardInterrupt
            yield some

    def noting(paths):
        for path in paths:
            asked.append(path)
            yield path

    stop = 1
    monkeypatch.setattr(Predictor, 'chunks', few)
    with pytest.raises(KeyboardInterrupt):
        predict_to(predictor, paths, out)
    assert not out.exists() and len(list(tmp_path.glob('.out*'))) == 1
    stop, asked = None, []
    assert predict_to(predictor, paths, out, progress=True) == 42
    assert 'rows were there already; going on' in capsys.readouterr().err
    assert len(asked) <= 41 - 16 and str(broken) not in asked
    assert out.read_bytes() == whole.read_bytes() and not list(tmp_path.glob('.out*'))
    got = pd.read_csv(out, keep_default_na=False)
    assert list(got.path) == paths and got.error.ne('').tolist() == [True] + [False] * 41
    want = predict_images(predictor, paths[1:41])
    columns = [c for c in want if c.startswith('p_')]
    assert (got[columns][1:41].astype(float).to_numpy() - want[columns]).abs().max().max() < 1e-6


def test_another_learner_takes_no_rows_over(run, table, tmp_path, monkeypatch):
    "Weights, views and what happens to bad images are part of the key."
    from leukocls.models.predictor import _rows_key

    one = Predictor(run.learner)
    keys = {
        _rows_key(one, 'keep'),
        _rows_key(one, 'raise'),
        _rows_key(Predictor(run.learner, tta=True), 'keep'),
        _rows_key(Predictor(Run(run.folder)), 'keep'),
    }
    assert len(keys) == 4 and _rows_key(Predictor(run.learner), 'keep') in keys
