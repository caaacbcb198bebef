import os
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from leukocls.core.errors import DataError
from leukocls.data.films import FILM_PATIENT
from leukocls.data.images import Pixels
from leukocls.data.splits import split_table
from leukocls.data.table import CellDataLoaders, check_images, fingerprint, read_table
from leukocls.train.loaders import LoadCell


def folder(tmp_path, layout, side=8):
    for name, n in layout.items():
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            Image.new('RGB', (side, side), (i * 7 % 255, len(name) * 11 % 255, 90)).save(
                tmp_path / name / f'{i}.png'
            )
    return tmp_path


@pytest.mark.parametrize('valid', ['valid', 'val', 'validation', 'Val', 'dev'])
def test_split_folders(tmp_path, valid):
    t = read_table(
        folder(
            tmp_path,
            {
                'train/a': 3,
                'train/b': 3,
                f'{valid}/a': 2,
                f'{valid}/b': 2,
                'TEST/a': 2,
                'TEST/b': 2,
            },
        )
    )
    assert t.split.value_counts().to_dict() == {'train': 6, 'valid': 4, 'test': 4} and set(
        t.label
    ) == {'a', 'b'}


def test_contract(table, films):
    assert (
        list(table.columns) == ['path', 'label', 'patient', 'source', 'split']
        and table.path.map(os.path.isabs).all()
    )
    assert (
        len(table) == 120
        and table.patient.nunique() == 24
        and table.split.isna().all()
        and table.source.isna().all()
    )


def test_patient_below_the_class(tmp_path):
    t = read_table(folder(tmp_path, {'a/p1': 2, 'a/p2': 2, 'b/p3': 2}), patient=r'/(p\d)/')
    assert t.groupby('label').patient.nunique().to_dict() == {'a': 2, 'b': 1}


@pytest.mark.parametrize(
    'layout,message',
    [
        ({}, 'holds no images'),
        ({'a': 3}, 'one class only: a'),
        ({'a': 3, 'b': 1}, '`b` has one image only'),
        ({'.': 2, 'a': 3}, '2 images lie outside'),
        ({'train/a': 3, 'train/b': 3, 'extra/a': 2}, 'mixes split folders with others'),
        (
            {'training_data/fold_0': 3, 'testing_data/images': 3},
            'give the folder that holds the class folders',
        ),
        ({'x/a': 2, 'x/b': 2}, r'Did you mean .*x\?'),
        ({'Original/a': 2, 'Original/b': 2, 'Segmented/a': 2, 'Segmented/b': 2}, 'Choose one'),
        ({'Pro': 2, 'pro': 2}, 'differ only in case: Pro, pro'),
    ],
)
def test_bad_folders(tmp_path, layout, message):
    with pytest.raises(DataError, match=message):
        read_table(folder(tmp_path, layout))


def test_fold_folders_are_not_classes(tmp_path):
    t = read_table(
        folder(tmp_path, {'fold_0/all': 2, 'fold_0/hem': 2, 'fold_1/all': 2, 'fold_1/hem': 2})
    )
    assert set(t.label) == {'all', 'hem'} and t.split.isna().all() and len(t) == 8


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match='does not exist'):
        read_table(tmp_path / 'nowhere')


def test_other_files_are_counted(tmp_path, capsys):
    d = folder(tmp_path, {'a': 2, 'b': 2})
    (d / 'a' / 'Thumbs.db').touch()
    (d / 'README').touch()
    (d / 'b' / 'x.xml').touch()
    (d / 'b' / 'y.xml').touch()
    assert (
        len(read_table(d)) == 4
        and 'Ignored 4 files that are no images: 2 .xml' in capsys.readouterr().err
    )


@pytest.mark.parametrize('sep', [',', ';', '\t'])
@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'latin-1'])
def test_csv(tmp_path, sep, encoding):
    folder(tmp_path, {'a': 2, 'b': 2})
    (tmp_path / 't.csv').write_bytes(
        '\n'.join(
            [sep.join(['Filename', 'Class', 'patient_id', 'note'])]
            + [sep.join([f'{c}/{i}.png', c, f'00{i}', 'größe']) for c in 'ab' for i in range(2)]
        ).encode(encoding)
    )
    t = read_table(tmp_path / 't.csv')
    assert (
        t.patient.tolist() == ['000', '001'] * 2
        and t.label.tolist() == list('aabb')
        and list(t.columns)[-1] == 'note'
    )


def test_csv_wrongs_are_said_at_once(tmp_path):
    folder(tmp_path, {'a': 3, 'b': 3})
    rows = [
        'path,label',
        'a/0.png,a',
        'a/1.png,',
        'a/2.png,a',
        'b/0.png,b',
        'b/0.png,b',
        'b/1.png,b',
        'b/9.png,b',
        'gone/1.png,a',
    ]
    (tmp_path / 't.csv').write_text('\n'.join(rows))
    with pytest.raises(DataError) as e:
        read_table(tmp_path / 't.csv')
    for part in (
        '1 of 8 images have no label',
        '1 of 8 images are listed more than once',
        '2 of 8 images do not exist',
        '9.png',
        'on_error="skip"',
    ):
        assert part in str(e.value)
    t = read_table(tmp_path / 't.csv', on_error='skip')
    assert len(t) == 4 and len(t.attrs['skipped']) == 4


def test_csv_columns(tmp_path):
    (tmp_path / 't.csv').write_text('x,y\n1,2\n')
    with pytest.raises(DataError, match='no column `path` and no column `label`, only: x, y'):
        read_table(tmp_path / 't.csv')
    (tmp_path / 't.csv').write_text('file,image,label\n1,2,3\n')
    with pytest.raises(DataError, match='which column is `path`: file, image'):
        read_table(tmp_path / 't.csv')


def test_conflicting_labels(table):
    twice = pd.concat([table, table.iloc[:1].assign(label='Pro')])
    with pytest.raises(DataError, match='2 of 121 images are listed twice with different labels'):
        read_table(twice)


def test_dataframe_numbers(tmp_path):
    d = folder(tmp_path, {'a': 2, 'b': 2})
    paths = sorted(d.rglob('*.png'))
    t = read_table(
        pd.DataFrame({'path': paths, 'label': [0.0, 0.0, 1.0, 1.0], 'patient': [1, 2, 3, 4]})
    )
    assert t.label.tolist() == ['0', '0', '1', '1'] and t.patient.tolist() == ['1', '2', '3', '4']


def test_labels_one_and_0_stay_text(tmp_path):
    d = folder(tmp_path, {'0': 4, '1': 4})
    t = split_table(read_table(d), valid_pct=0.25, test_pct=0)
    assert CellDataLoaders.from_table(t, size=8, bs=2, device='cpu').vocab == ['0', '1']


@pytest.mark.parametrize(
    'names', [('cell of α', 'größe 1'), ('a b', "it's"), ('x' * 120, 'y' * 120)]
)
def test_odd_class_names(tmp_path, names):
    t = read_table(folder(tmp_path, {n: 3 for n in names}))
    assert set(t.label) == set(names)


def test_pattern_errors(films):
    for pattern, message in (
        (r'UID_(\d+)', 'No patient in 120 of 120'),
        (r'(', 'neither a column nor a regular expression'),
        ('P', 'has no group'),
    ):
        with pytest.raises(DataError, match=message):
            read_table(films, patient=pattern)


def test_check_images_names_all(tmp_path):
    d = folder(tmp_path, {'a': 4, 'b': 4})
    (d / 'a' / '0.png').write_bytes(b'')
    (d / 'b' / '3.png').write_bytes(b'no')
    with pytest.raises(
        DataError,
        match=r'2 of 8 images cannot be read: a/0.png \(zero bytes\), b/3.png \(not an image\)',
    ):
        check_images(read_table(d))
    ok = check_images(read_table(d), on_error='skip')
    assert len(ok) == 6 and sorted(ok.attrs['skipped'].values()) == ['not an image', 'zero bytes']


def test_skipping_must_leave_two_classes(tmp_path):
    d = folder(tmp_path, {'a': 2, 'b': 2})
    for f in (d / 'b').iterdir():
        f.write_bytes(b'')
    with pytest.raises(DataError, match='Only one class: a'):
        check_images(read_table(d), on_error='skip')


def test_fingerprint_sees_content_labels_and_sides(table):
    one = fingerprint(table)
    assert one == fingerprint(table.sample(frac=1, random_state=1)) and one != fingerprint(
        table.assign(label=table.label[::-1].values)
    )
    assert one != fingerprint(split_table(table))


@pytest.mark.parametrize('kw', [dict(), dict(grey=True, median=3), dict(remember=False)])
def test_loader_gives_what_pil_gives(table, kw):
    "fastai's pipeline must not change a pixel that our own preparation did not."
    t = split_table(table, valid_pct=0.2, test_pct=0)
    dls = CellDataLoaders.from_table(t, size=32, bs=4, device='cpu', num_workers=0, **kw)
    x = dls.valid.one_batch()[0]
    path = dls.valid_ds.items[0]
    im = LoadCell(Pixels(32, kw.get('grey', False), kw.get('median', 0)))(path)
    want = torch.tensor(np.asarray(im)).float() / 255
    assert torch.allclose(
        x[0].as_subclass(torch.Tensor),
        want[None] if kw.get('grey') else want.permute(2, 0, 1),
        atol=1e-6,
    )


def test_batches_repeat_with_the_seed(table):
    from leukocls.core.machine import set_seed

    t = split_table(table)
    out = []
    for _ in range(2):
        set_seed(3)
        out.append(CellDataLoaders.from_table(t, size=16, bs=8, device='cpu').one_batch()[0])
    assert torch.equal(*out)


def test_small_training_sets_still_have_a_batch(table):
    t = split_table(table)
    dls = CellDataLoaders.from_table(t, size=16, bs=4096, device='cpu')
    assert len(dls.train) == 1 and dls.one_batch()[0].shape[0] == (t.split == 'train').sum()


def test_from_csv_and_folder_agree(films, table, tmp_path):
    table[['path', 'label', 'patient']].to_csv(tmp_path / 't.csv', index=False)
    a = CellDataLoaders.from_folder(films, patient=FILM_PATIENT, size=16, device='cpu')
    b = CellDataLoaders.from_csv(tmp_path / 't.csv', size=16, device='cpu')
    assert list(a.valid_ds.items) == list(b.valid_ds.items) and a.vocab == b.vocab


def test_pickle_holds_no_names(table):
    saved = pickle.dumps(
        CellDataLoaders.from_table(split_table(table), size=16, device='cpu').new_empty()
    )
    assert b'leukocls' not in saved and os.path.dirname(table.path[0]).encode() not in saved


def test_spawned_workers_keep_our_loader(table):
    """A worker that is started fresh must still turn EXIF and deepen nothing: the loader stays
    itself there.
    """
    import multiprocessing.context as c

    load = LoadCell(Pixels(16))
    c.set_spawning_popen(object())
    try:
        again = pickle.loads(pickle.dumps(load))
    finally:
        c.set_spawning_popen(None)
    assert type(again) is LoadCell and again.pixels.size == 16


def test_remembered_on_disk_is_the_same(table, monkeypatch):
    "Where memory is short, the prepared images lie in a temporary file, and nothing else changes."
    import leukocls.train.loaders as loaders

    t = split_table(table)
    torch.manual_seed(0)
    a = CellDataLoaders.from_table(t, size=24, bs=16, device='cpu')
    monkeypatch.setattr(loaders, 'room_for', lambda *args: False)
    b = CellDataLoaders.from_table(t, size=24, bs=16, device='cpu')
    for (x, y), (p, q) in zip(a.valid, b.valid):
        assert torch.equal(x, p) and torch.equal(y, q)
    assert type(b.valid) is loaders.RememberDL and b.valid.x.shape[0] == len(b.valid_ds)
    monkeypatch.setattr(loaders, 'disk_for', lambda *args: False)
    assert (
        type(CellDataLoaders.from_table(t, size=24, bs=16, device='cpu').valid)
        is not loaders.RememberDL
    )


def test_a_damaged_image_stops_the_filling_with_its_name(table, tmp_path):
    t = split_table(table)
    bad = tmp_path / 'bad.png'
    bad.write_bytes(open(t.path[0], 'rb').read()[:300])
    t.loc[t.index[t.split == 'train'][5], 'path'] = str(bad)
    with pytest.raises(DataError, match='bad.png'):
        next(iter(CellDataLoaders.from_table(t, size=24, device='cpu').train))


@pytest.mark.parametrize('name', ['patient_id', 'subject_id', 'Patient ID', 'site', 'my_people'])
def test_the_column_of_patients_is_named_as_it_stands_in_the_file(films, tmp_path, name):
    "`--patient patient_id` was taken for a pattern, since the column had its usual name already."
    known = read_table(films, patient=FILM_PATIENT)
    rows = pd.DataFrame({'path': known.path, 'diagnosis': known.label, name: known.patient})
    rows.to_csv(tmp_path / 'cells.csv', index=False)
    table = read_table(tmp_path / 'cells.csv', patient=name, label='diagnosis')
    assert table.patient.tolist() == known.patient.tolist()
    assert (
        read_table(rows, patient=name, label='diagnosis').patient.tolist() == table.patient.tolist()
    )
