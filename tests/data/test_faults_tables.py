"Kinds of tables that were read as something else than they are."

import gzip
import importlib.util
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukocls.audit.findings import audit
from leukocls.core.errors import DataError, LeukoError
from leukocls.data.films import draw_films
from leukocls.data.splits import split_table
from leukocls.data.table import check_images, read_table


def pictures(folder, names):
    "Small pictures, no two alike."
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 256, (12, 12, 3), dtype='uint8')
        Image.fromarray(noise).save(path, 'JPEG' if path.suffix == '.jpg' else 'PNG')


# A patient for each image -------------------------------------------------------------------------


def table_of(folder, ids, name='patient', n=24):
    names = [f'{"ab"[i % 2]}/UID_{i // 4}_{i}_1_{["all", "hem"][i % 2]}.png' for i in range(n)]
    pictures(folder, names)
    return pd.DataFrame(
        {
            'path': [str(folder / n) for n in names],
            'label': [n[0] for n in names],
            name: [ids(i, os.path.basename(n)) for i, n in enumerate(names)],
        }
    )


def plain(folder, ids, name='patient', n=24):
    "The same without names that tell the patient."
    names = [f'{"ab"[i % 2]}/cell{i}.png' for i in range(n)]
    pictures(folder, names)
    return pd.DataFrame(
        {
            'path': [str(folder / n) for n in names],
            'label': [n[0] for n in names],
            name: [ids(i, os.path.basename(n)) for i, n in enumerate(names)],
        }
    )


IMAGE_IDS = {
    'file names': lambda i, name: name,
    'stems': lambda i, name: name.split('.')[0],
    'running numbers': lambda i, name: i + 1,
    'padded numbers': lambda i, name: f'{i:05}',
    'nearly all different': lambda i, name: max(i, 1),
    'hashes': lambda i, name: hex(i * 7919 + 65536),
}


@pytest.mark.parametrize('column', ['patient', 'patient_id', 'case', 'subject'])
@pytest.mark.parametrize('kind', IMAGE_IDS)
def test_ids_of_images_are_no_patients(tmp_path, capsys, kind, column):
    t = read_table(plain(tmp_path, IMAGE_IDS[kind], column))
    assert t.patient.isna().all() and t.own_patient.notna().all()
    assert 'Patients are unknown' in capsys.readouterr().err
    assert 'Patients are unknown' in t.attrs['notes'][0]


def test_an_asked_column_or_pattern_that_names_the_image_is_no_patient(tmp_path):
    frame = plain(tmp_path, IMAGE_IDS['running numbers'], 'number')
    assert read_table(frame, patient='number').patient.isna().all()
    assert read_table(frame, patient=r'cell(\d+)').patient.isna().all()


@pytest.mark.parametrize('per_patient', [2, 3, 8])
def test_patients_with_several_images_stay(tmp_path, per_patient):
    t = read_table(plain(tmp_path, lambda i, name: f'P{i // per_patient}'))
    assert t.patient.nunique() == 24 // per_patient and 'notes' not in t.attrs


@pytest.mark.parametrize('kind', ['file names', 'stems'])
def test_file_names_of_a_known_card_tell_the_person(tmp_path, kind):
    "C-NMC's own table: its column Patient_ID holds the original file names."
    frame = table_of(tmp_path, IMAGE_IDS[kind], 'Patient_ID')
    frame['path'] = frame.path.sample(frac=1, random_state=0).values  # the pictures were renamed
    t = read_table(frame)
    assert t.patient.nunique() == 6 and set(t.patient) == set('012345')
    split = split_table(t, valid_pct=0.2, test_pct=0.2)
    assert split.groupby('patient').split.nunique().max() == 1


def test_notes_reach_the_split_the_audit_and_a_manifest(tmp_path):
    frame = plain(tmp_path, IMAGE_IDS['running numbers'], 'case')
    t = split_table(check_images(read_table(frame)))
    assert 'name images, not people' in t.attrs['notes'][0]
    assert t.attrs['split']['method'] == 'group'
    found = audit(frame, progress=False)
    kinds = {f['kind']: f['what'] for f in found.data['findings']}
    assert 'name images, not people' in kinds['reading']
    assert 'Patients are unknown' in kinds['patients']
    manifest = frame.assign(sha256=[f'{i:064x}' for i in range(len(frame))])
    kinds = {f['kind']: f['what'] for f in audit(manifest, progress=False).data['findings']}
    assert 'name images, not people' in kinds['reading']


def test_every_run_repeats_the_notes(tmp_path):
    from leukocls.train.folder import start_run
    from leukocls.train.recipes import get_recipe

    films = draw_films(tmp_path / 'films', patients=3, images=4, size=32)
    rows = [(p, p.parent.name, p.stem) for p in sorted(films.rglob('*.png'))]
    t = split_table(read_table(pd.DataFrame(rows, columns=['path', 'label', 'case'])))
    _, info = start_run(get_recipe('small-cnn'), t, tmp_path / 'runs')
    assert any('name images, not people' in note for note in info['notes'])


# Words that are no missing values -----------------------------------------------------------------


@pytest.mark.parametrize(
    'word',
    ['None', 'NA', 'N/A', 'nan', 'NaN', 'null', 'NULL', '<NA>', '#N/A', '-nan', 'n/a', '1.#IND'],
)
@pytest.mark.parametrize('ending', ['csv', 'frame'])
def test_a_word_is_a_class_and_a_patient(tmp_path, word, ending):
    pictures(tmp_path, [f'{i}.png' for i in range(6)])
    rows = [dict(path=f'{i}.png', label='ab'[i % 2], patient=str(i // 2)) for i in range(6)]
    for row in rows[:2]:
        row |= dict(label=word, patient=word)
    frame = pd.DataFrame(rows)
    if ending == 'csv':
        frame.to_csv(tmp_path / 't.csv', index=False)
        t = read_table(tmp_path / 't.csv')
    else:
        t = read_table(frame, root=tmp_path)
    assert len(t) == 6 and set(t.label) == {'a', 'b', word} and set(t.patient) == {word, '1', '2'}


def test_only_an_empty_field_is_missing(tmp_path):
    pictures(tmp_path, [f'{i}.png' for i in range(4)])
    (tmp_path / 't.csv').write_text('path,label\n0.png,None\n1.png,None\n2.png,b\n3.png,\n')
    with pytest.raises(DataError, match=r'1 of 4 images have no label: .*3.png \(row 5\)'):
        read_table(tmp_path / 't.csv')


def test_a_file_called_na_is_a_file(tmp_path):
    pictures(tmp_path, ['NA', 'null.png', 'a.png', 'b.png'])
    (tmp_path / 't.csv').write_text('path,label\nNA,x\nnull.png,x\na.png,y\nb.png,y\n')
    assert len(read_table(tmp_path / 't.csv')) == 4


# Files that are no CSV ----------------------------------------------------------------------------


def zip_of(path, names):
    with zipfile.ZipFile(path, 'w') as f:
        for name in names:
            f.writestr(name, b'x')


def tar_of(path, mode):
    with tarfile.open(path, mode) as f:
        f.add(__file__, 'cells/a.png')


NO_TABLES = {
    'images.zip': (lambda p: zip_of(p, ['a.png', 'b.png']), 'Unpack it, and give the folder'),
    'one_table.zip': (lambda p: zip_of(p, ['train.csv']), 'Unpack it'),
    'empty.zip': (lambda p: zip_of(p, []), 'Unpack it'),
    'renamed.csv': (lambda p: zip_of(p, ['a.png']), 'Unpack it'),
    'a.tar': (lambda p: tar_of(p, 'w'), 'Unpack it'),
    'a.tar.gz': (lambda p: tar_of(p, 'w:gz'), 'Unpack it'),
    'a.tar.bz2': (lambda p: tar_of(p, 'w:bz2'), 'Unpack it'),
    'a.tar.xz': (lambda p: tar_of(p, 'w:xz'), 'Unpack it'),
    'a.csv.gz': (lambda p: p.write_bytes(gzip.compress(b'path,label\n')), 'Unpack it'),
    'a.7z': (lambda p: p.write_bytes(b"7z\xbc\xaf'\x1c" + bytes(20)), 'Unpack it'),
    'a.rar': (lambda p: p.write_bytes(b'Rar!\x1a\x07\x00'), 'Unpack it'),
    'old.xls': (lambda p: p.write_bytes(b'\xd0\xcf\x11\xe0' + bytes(99)), 'an old Excel file'),
    'a.ods': (lambda p: zip_of(p, ['mimetype', 'content.xml']), 'spreadsheet of LibreOffice'),
    'a.parquet': (lambda p: p.write_bytes(b'PAR1' + bytes(9)), 'a Parquet file'),
    'a.h5': (lambda p: p.write_bytes(b'\x89HDF\r\n\x1a\n'), 'an HDF5 file'),
    'a.npy': (lambda p: np.save(p, np.zeros(3)), 'holds one array'),
    'a.pkl': (lambda p: p.write_bytes(b'\x80\x04\x95\x00\x00'), 'is a pickle'),
    'a.pdf': (lambda p: p.write_bytes(b'%PDF-1.4'), 'is a PDF'),
    'a.sqlite': (lambda p: p.write_bytes(b'SQLite format 3\x00'), 'is a database'),
    'a.json': (lambda p: p.write_text('{"images": []}'), 'is JSON'),
    'coco.json': (lambda p: p.write_text('{\n "images": []}'), 'is JSON'),
    'page.csv': (lambda p: p.write_text('<!DOCTYPE html><html>'), 'is a web page'),
    'lfs.csv': (lambda p: p.write_text('version https://git-lfs.github.com/spec/v1'), 'Git LFS'),
    'cell.png': (lambda p: Image.new('RGB', (3, 3)).save(p), 'is a picture'),
    'noise.csv': (lambda p: p.write_bytes(bytes(range(256))), 'is no text'),
}


@pytest.mark.parametrize('name', NO_TABLES)
def test_a_file_that_is_no_table_says_what_it_is(tmp_path, name):
    write, words = NO_TABLES[name]
    write(tmp_path / name)
    for read in (read_table, lambda p: audit(p, progress=False)):
        with pytest.raises(DataError) as e:
            read(tmp_path / name)
        assert words in str(e.value) and str(e.value).isprintable()


def xlsx(path, rows):
    "A spreadsheet as Excel writes it, with the text in place."
    cells = ''.join(
        f'<row r="{r}">'
        + ''.join(
            f'<c r="{"ABCDEFGH"[c]}{r}" t="inlineStr"><is><t>{v}</t></is></c>'
            for c, v in enumerate(row)
            if v != ''
        )
        + '</row>'
        for r, row in enumerate(rows, 1)
    )
    main = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main'
    kind = 'application/vnd.openxmlformats-officedocument.spreadsheetml'
    office = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships'
    package = 'http://schemas.openxmlformats.org/package/2006'
    parts = {
        '[Content_Types].xml': f'<Types xmlns="{package}/content-types">'
        '<Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
        f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/>'
        '</Types>',
        '_rels/.rels': f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1"'
        f' Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        'xl/workbook.xml': f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet'
        ' name="cells" sheetId="1" r:id="r1"/></sheets></workbook>',
        'xl/_rels/workbook.xml.rels': f'<Relationships xmlns="{package}/relationships">'
        f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/>'
        '</Relationships>',
        'xl/worksheets/sheet1.xml': f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData>'
        '</worksheet>',
    }
    with zipfile.ZipFile(path, 'w') as f:
        for name, text in parts.items():
            f.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')


SHEET = [['Cells of 2019'], [], ['Image', 'Class', 'Patient']]
SHEET += [[f'{i}.png', 'NA' if i % 2 else 'b', f'00{i // 2}'] for i in range(4)]


def test_a_spreadsheet_is_read_or_says_what_to_install(tmp_path):
    pictures(tmp_path, [f'{i}.png' for i in range(4)])
    xlsx(tmp_path / 'labels.xlsx', SHEET)
    if importlib.util.find_spec('openpyxl'):
        t = read_table(tmp_path / 'labels.xlsx')
        assert set(t.label) == {'NA', 'b'} and t.patient.tolist() == ['000', '000', '001', '001']
    else:
        with pytest.raises(LeukoError, match='or save the sheet as CSV.*leukocls.excel'):
            read_table(tmp_path / 'labels.xlsx')


def medmnist(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {}
    for side, n in dict(train=24, val=8, test=16).items():
        arrays[f'{side}_images'] = rng.integers(0, 256, (n, 28, 28, 3), dtype='uint8')
        arrays[f'{side}_labels'] = np.arange(n, dtype='uint8').reshape(-1, 1) % 8
    arrays |= changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def test_medmnist_is_a_table_with_its_own_split(tmp_path):
    arrays = medmnist(tmp_path / 'bloodmnist.npz')
    t = read_table(tmp_path / 'bloodmnist.npz', root=tmp_path / 'out')
    assert t.split.value_counts().to_dict() == dict(train=24, valid=8, test=16)
    assert set(t.label) == {
        'basophil', 'eosinophil', 'erythroblast', 'ig', 'lymphocyte', 'monocyte', 'neutrophil',
        'platelet',
    }  # fmt: skip
    first = t[(t.split == 'test') & (t.label == 'eosinophil')].path.iloc[0]
    assert np.array_equal(np.asarray(Image.open(first)), arrays['test_images'][1])
    assert split_table(check_images(t)).attrs['split']['method'] == 'given'
    # written once
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*.png')}
    assert read_table(tmp_path / 'bloodmnist.npz', root=tmp_path / 'out').equals(t)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('*.png')}
    # without a folder, into the cache
    cached = read_table(tmp_path / 'bloodmnist.npz')
    assert cached.label.tolist() == t.label.tolist()
    assert cached.path[0].startswith(os.environ['LEUKOCLS_CACHE'])
    assert (
        len(audit(tmp_path / 'bloodmnist.npz', progress=False, root=tmp_path / 'out').table) == 48
    )


ZERO = np.zeros((24, 28, 28), 'uint8')


@pytest.mark.parametrize(
    'changes,words',
    [
        (dict(train_labels=np.zeros((24, 14), int)), '336 labels for 24 images'),
        (dict(train_images=np.zeros((24, 8, 8, 8), 'uint8')), 'images of uint8 (24, 8, 8, 8)'),
        (dict(train_images=ZERO.astype('float32')), 'images of float32'),
        (dict(train_images=ZERO[:, :0]), 'no pixels'),
        (dict(train_images=np.array([None] * 24)), 'cannot be unpacked'),
        (dict.fromkeys([f'{s}_labels' for s in ('train', 'val', 'test')]), 'holds the arrays'),
    ],
)
def test_other_arrays_are_explained(tmp_path, changes, words):
    medmnist(tmp_path / 'x.npz', **changes)
    with pytest.raises(DataError) as e:
        read_table(tmp_path / 'x.npz', root=tmp_path / 'out')
    assert words in str(e.value)


@pytest.mark.parametrize(
    'labels', [['../../evil', '/abs'], ['a/b', 'a\\b'], ['.', '..'], ['ok', 'größe']]
)
def test_labels_of_arrays_stay_in_their_folder(tmp_path, labels):
    np.savez(tmp_path / 'x.npz', images=ZERO, labels=np.array(labels * 12))
    t = read_table(tmp_path / 'x.npz', root=tmp_path / 'out')
    assert set(t.label) == set(labels)
    assert all((tmp_path / 'out').resolve() in p.resolve().parents for p in map(Path, t.path))


def test_grey_arrays_and_numbers(tmp_path):
    x = dict(x_train=ZERO[..., None], y_train=np.arange(24.0) % 2, x_test=ZERO, y_test=np.ones(24))
    np.savez(tmp_path / 'mnist.npz', **x)
    t = read_table(tmp_path / 'mnist.npz', root=tmp_path)
    assert set(t.label) == {'0', '1'} and len(t) == 48 and Image.open(t.path[0]).mode == 'L'


def test_no_place_for_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv('LEUKOCLS_CACHE', 'off')
    medmnist(tmp_path / 'x.npz')
    with pytest.raises(DataError, match='Pass root=…'):
        read_table(tmp_path / 'x.npz')


# CSV as Windows and Excel write it ----------------------------------------------------------------


def csv_text(sep=',', slash='/', first='', prefix='', end='', eol='\r\n'):
    rows = [sep.join(['path', 'label', 'note'])]
    for i in range(6):
        rows.append(sep.join([f'{prefix}{"ab"[i % 2]}{slash}{i}.png', 'ab'[i % 2], 'größe']) + end)
    return first + eol.join(rows) + eol


CSVS = {
    'backslashes': csv_text(slash='\\').encode(),
    'dot and backslash': csv_text(slash='\\', prefix='.\\').encode(),
    'UTF-16': csv_text('\t').encode('utf-16'),
    'UTF-16, big end first': b'\xfe\xff' + csv_text('\t').encode('utf-16-be'),
    'UTF-16 without a mark': csv_text(';').encode('utf-16-le'),
    'UTF-32': csv_text().encode('utf-32'),
    'cp1252': csv_text(';').encode('cp1252'),
    'sep=;': csv_text(';', first='sep=;\r\n').encode(),
    '"sep=;"': csv_text(';', first='"sep=;"\r\n').encode('utf-8-sig'),
    'sep=tab': csv_text('\t', first='sep=\t\r\n').encode(),
    'a title': csv_text(first='Cells of 2019, second batch\r\n').encode(),
    'a title and an empty line': csv_text(';', first='Cells of 2019;;\r\n\r\n').encode(),
    'three lines above': csv_text(first='Export\r\nby: me\r\n\r\n').encode(),
    'comments': csv_text(first='# made by a program\r\n').encode(),
    'empty rows at the end': (csv_text() + ',,\r\n,,\r\n').encode(),
    'empty rows of blanks': (csv_text(';') + ' ; ;\r\n;;\r\n').encode(),
    'empty lines between': csv_text(eol='\r\n\r\n').encode(),
    '|': csv_text('|').encode(),
    '| with commas': csv_text('|').replace('größe', 'a,b;c').encode(),
    'a separator at every end': csv_text(end=',').encode(),
    'old Mac': csv_text(eol='\r').encode(),
    "R's write.table": csv_text().replace('\r\na', '\r\n1,a').replace('\r\nb', '\r\n1,b').encode(),
    'absolute, Windows': csv_text(slash='\\', prefix='C:\\Users\\anna\\cells\\').encode(),
    'absolute, Colab': csv_text(prefix='/content/drive/MyDrive/cells/').encode(),
    'absolute, Kaggle': csv_text(prefix='/kaggle/input/cells/').encode(),
    'a share': csv_text(slash='\\', prefix='\\\\server\\lab\\cells\\').encode(),
    'another folder': csv_text(prefix='../data/').encode(),
}


@pytest.mark.skipif(os.sep != '/', reason='Windows has its own paths')
@pytest.mark.parametrize('kind', CSVS)
def test_csv_as_it_comes(tmp_path, kind):
    pictures(tmp_path, [f'{"ab"[i % 2]}/{i}.png' for i in range(6)])
    (tmp_path / 't.csv').write_bytes(CSVS[kind])
    t = read_table(tmp_path / 't.csv')
    assert t.path.tolist() == sorted(str(tmp_path / f'{"ab"[i % 2]}/{i}.png') for i in range(6))
    assert t.label.tolist() == ['a'] * 3 + ['b'] * 3 and t.note.notna().all()
    if kind.startswith('absolute'):
        assert 'The images were found in' in t.attrs['notes'][0]
    assert len(audit(tmp_path / 't.csv', progress=False).table) == 6


MISSING = {
    'C:\\Users\\anna\\{}.png': 'is a path of a Windows computer. Pass root=…',
    '/content/drive/{}.png': 'There is no folder /content. Pass root=…',
    'scans/{}.png': 'There is no folder {base}/scans. Pass root=…',
    '{}.png': '{base} holds no such file. Pass root=…',
    'https://example.org/{}.png': 'Download the images first',
    's3://bucket/{}.png': 'Download the images first',
}


@pytest.mark.skipif(os.sep != '/', reason='Windows has its own paths')
@pytest.mark.parametrize('on_error', ['raise', 'skip'])
@pytest.mark.parametrize('path', MISSING)
def test_where_all_paths_are_wrong_the_reason_is_said(tmp_path, path, on_error):
    rows = [f'{path.format(i)},{"ab"[i % 2]}' for i in range(4)]
    (tmp_path / 't.csv').write_text('\n'.join(['path,label', *rows]))
    with pytest.raises(DataError) as e:
        read_table(tmp_path / 't.csv', on_error=on_error)
    assert MISSING[path].format(base=tmp_path) in str(e.value)
    assert '4 of 4 images do not exist' in str(e.value) and 'skip' not in str(e.value)


def test_a_file_that_is_really_gone_is_not_found_elsewhere(tmp_path):
    pictures(tmp_path, ['a/0.png', 'a/1.png', 'b/2.png', 'b/3.png', 'other/9.png'])
    rows = 'path,label\na/0.png,a\na/1.png,a\nb/2.png,b\nb/3.png,b\na/9.png,a\n'
    (tmp_path / 't.csv').write_text(rows)
    with pytest.raises(DataError, match=r'1 of 5 images do not exist: .*a/9.png \(row 6\)'):
        read_table(tmp_path / 't.csv')


def test_rows_are_named_as_a_spreadsheet_counts_them(tmp_path):
    pictures(tmp_path, ['0.png', '1.png', '2.png', '3.png'])
    rows = 'Title,\n\npath,label\n0.png,a\n,\n1.png,\n2.png,a\n2.png,b\n,c\n3.png,b\n'
    (tmp_path / 't.csv').write_text(rows)
    with pytest.raises(DataError, match=r'1 of 6 images have no path: .*row 9\)'):
        read_table(tmp_path / 't.csv')
    rows = rows.replace(',c\n', '')
    (tmp_path / 't.csv').write_text(rows)
    with pytest.raises(DataError) as e:
        read_table(tmp_path / 't.csv')
    for part in ('have no label', '1.png (row 6)', 'with different labels', '2.png (row 7)'):
        assert part in str(e.value)
    with pytest.raises(DataError, match='has one image only|Only one class|no rows'):
        read_table(tmp_path / 't.csv', on_error='skip')


def test_a_first_line_that_is_no_header_is_said(tmp_path):
    (tmp_path / 't.csv').write_text('0.png,a\n1.png,b\n')
    with pytest.raises(DataError, match='Write path,label above it'):
        read_table(tmp_path / 't.csv')


# A CSV beside the images --------------------------------------------------------------------------


def kaggle(root, ids, header='image,label', folder='train_images', ending='.png'):
    pictures(root, [f'{folder}/{i}{ending}' for i in ids])
    rows = [f'{i},{"ab"[n % 2]}' for n, i in enumerate(ids)]
    (root / 'train.csv').write_text('\n'.join([header, *rows]))
    return root / 'train.csv'


HEADERS = [
    'image,label',
    'id_code,diagnosis',
    'image_id,dx',
    'Image ID,Class',
    'id,target',
    'File Name,Label',
]


@pytest.mark.parametrize('header', HEADERS)
@pytest.mark.parametrize('ids', [['x1', 'x2', 'x3', 'x4'], ['000c1434d8d7', '001', '2', '10']])
def test_ids_without_ending_beside_their_folder(tmp_path, capsys, header, ids):
    csv = kaggle(tmp_path, ids, header)
    t = read_table(csv)
    assert t.path.tolist() == sorted(str(tmp_path / f'train_images/{i}.png') for i in ids)
    assert f'were found in {tmp_path / "train_images"}' in capsys.readouterr().err
    asked = read_table(csv, root=tmp_path / 'train_images')
    assert asked.path.tolist() == t.path.tolist() and 'notes' not in asked.attrs


def test_names_that_occur_twice_are_not_guessed(tmp_path):
    csv = kaggle(tmp_path, ['1', '2', '3', '4'])
    pictures(tmp_path, ['test_images/1.png'])
    with pytest.raises(DataError, match='4 of 4 images do not exist.*Pass root=…'):
        read_table(csv)
    assert len(read_table(csv, root=tmp_path / 'train_images')) == 4


def test_an_id_that_is_two_files_is_not_guessed(tmp_path):
    csv = kaggle(tmp_path, ['1', '2', '3', '4'])
    Image.new('RGB', (9, 9)).save(tmp_path / 'train_images' / '1.jpg')
    with pytest.raises(DataError, match='1 of 4 images do not exist'):
        read_table(csv, root=tmp_path / 'train_images')


def test_root_is_searched_to_its_ends(tmp_path):
    csv = kaggle(tmp_path, ['1', '2', '3', '4'], folder='data/cells/all')
    with pytest.raises(DataError, match='Pass root=…'):
        read_table(csv)
    assert len(read_table(csv, root=tmp_path / 'data')) == 4


def test_root_everywhere(tmp_path, monkeypatch):
    import inspect

    from leukocls.deploy.classifier import Classifier
    from leukocls.models.predictor import evaluate
    from leukocls.runs.experiment import train_all
    from leukocls.runs.reproduction import reproduce

    for function in (audit, train_all, evaluate, reproduce, Classifier.evaluate, read_table):
        assert {'root', 'label'} <= inspect.signature(function).parameters.keys()
    csv = kaggle(tmp_path, ['1', '2', '3', '4'])
    pictures(tmp_path, ['test_images/1.png'])
    assert len(audit(csv, progress=False, root=tmp_path / 'train_images').table) == 4


def test_the_command_line_takes_images_and_says_so(tmp_path, capsys):
    from leukocls.cli.commands import main

    csv = kaggle(tmp_path, ['1', '2', '3', '4'])
    pictures(tmp_path, ['test_images/1.png'])
    with pytest.raises(SystemExit) as e:
        main(['audit', str(csv)])
    assert (
        e.value.code == 2
        and 'Add --images …, the folder that holds the images' in capsys.readouterr().err
    )
    with pytest.raises(SystemExit) as e:
        main(['audit', str(csv), '--images', str(tmp_path / 'train_images')])
    assert e.value.code == 0 and '4 images' in capsys.readouterr().out


@pytest.mark.parametrize('ones', [('0', '1'), ('0.0', '1.0'), ('False', 'True')])
def test_one_hot_columns_are_a_label(tmp_path, capsys, ones):
    pictures(tmp_path, [f'{i}.png' for i in range(6)])
    rows = [[f'{i}.png', *(ones[i % 3 == k] for k in range(3)), str(30 + i)] for i in range(6)]
    head = 'image,AML,ALL,normal,age'
    (tmp_path / 't.csv').write_text('\n'.join([head, *map(','.join, rows)]))
    t = read_table(tmp_path / 't.csv')
    assert t.label.tolist() == ['AML', 'ALL', 'normal'] * 2 and t.age.tolist()[0] == '30'
    assert 'The class is the column that holds a 1: AML, ALL, normal.' in capsys.readouterr().err
    frame = pd.read_csv(tmp_path / 't.csv')
    assert read_table(frame, root=tmp_path).label.tolist() == t.label.tolist()


def test_one_hot_rows_without_a_class_are_named(tmp_path):
    pictures(tmp_path, [f'{i}.png' for i in range(6)])
    rows = ['0.png,1,0', '1.png,0,1', '2.png,1,0', '3.png,0,1', '4.png,0,0', '5.png,1,1']
    (tmp_path / 't.csv').write_text('\n'.join(['image,AML,ALL', *rows]))
    with pytest.raises(DataError, match=r'2 of 6 images have no label: .*\(row 6\), .*\(row 7\)'):
        read_table(tmp_path / 't.csv')
    assert len(read_table(tmp_path / 't.csv', on_error='skip')) == 4


def test_two_columns_of_0_and_1_that_are_no_classes(tmp_path):
    (tmp_path / 't.csv').write_text('image,smoker,male\n0.png,0,0\n1.png,1,1\n2.png,0,0\n')
    with pytest.raises(DataError, match='pass label="COLUMN"'):
        read_table(tmp_path / 't.csv')


@pytest.mark.parametrize(
    'box',
    [
        'xmin,ymin,xmax,ymax',
        'x,y,w,h',
        'x1,y1,x2,y2',
        'x_min,y_min,x_max,y_max',
        'x,y,width,height',
    ],
)
@pytest.mark.parametrize('on_error', ['raise', 'skip'])
def test_boxes_are_explained(tmp_path, box, on_error):
    pictures(tmp_path, ['0.png', '1.png'])
    rows = [f'{i % 2}.png,{"ab"[i // 3]},1,2,3,4' for i in range(6)]
    (tmp_path / 't.csv').write_text('\n'.join([f'filename,class,{box}', *rows]))
    with pytest.raises(DataError, match='has boxes .*Cut the cells out of the pictures first'):
        read_table(tmp_path / 't.csv', on_error=on_error)


def test_one_box_in_each_picture_is_a_column_like_others(tmp_path):
    pictures(tmp_path, [f'{i}.png' for i in range(4)])
    rows = [f'{i}.png,{"ab"[i % 2]},1,2,3,4' for i in range(4)]
    (tmp_path / 't.csv').write_text('\n'.join(['filename,class,x,y,w,h', *rows]))
    assert len(read_table(tmp_path / 't.csv')) == 4


# What else is given for a data set ----------------------------------------------------------------


@pytest.mark.parametrize('data', [['a', 'b'], None, 3, {'path': ['a']}])
def test_what_is_no_data_set_is_said(data):
    with pytest.raises(DataError, match='is no data set. Give a folder'):
        read_table(data)


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.setenv('USERPROFILE', str(tmp_path))
    pictures(tmp_path, [f'cells/{"ab"[i % 2]}/{i}.png' for i in range(4)])
    assert len(read_table('~/cells')) == 4


def test_a_frame_of_another_library(tmp_path):
    class Frame:
        def to_pandas(self):
            return plain(tmp_path, lambda i, name: f'P{i // 3}')

    assert len(read_table(Frame())) == 24
