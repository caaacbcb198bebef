"Kinds of folders that were read as something else than they are, or not at all."

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from leukocls.cli.options import images_of
from leukocls.core.errors import DataError
from leukocls.data.images import image_files
from leukocls.data.splits import split_table
from leukocls.data.table import check_images, read_table
from leukocls.runs.run import Run


def folder(root, layout):
    "Folders with so many pictures each."
    rng = np.random.default_rng(0)
    for name, n in layout.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            noise = rng.integers(0, 256, (12, 12, 3), dtype='uint8')
            Image.fromarray(noise).save(root / name / f'{i}.png')
    return root


# Folders of patients ------------------------------------------------------------------------------


def per_patient(name, classes=('Blast', 'Lymphocyte', 'Monocyte'), between='', patients=4):
    "Every patient lacks one of the classes, as in life."
    between = f'{between}/' if between else ''
    return {
        f'{name.format(i)}/{between}{c}': 2
        for i in range(patients)
        for j, c in enumerate(classes)
        if j != i % len(classes)
    }


PATIENT_FOLDERS = {
    'Patient_00': per_patient('Patient_{:02}'),
    'signed slides': per_patient('Patient_{:02}', between='Signed slides'),
    'P12': per_patient('P{}'),
    'case 7': per_patient('case {}'),
    'sub-01': per_patient('sub-{:02}'),
    'Slide3': per_patient('Slide{}'),
    'numbers': per_patient('{:04}'),
    'hospital numbers': per_patient('2019-{:03}'),
    'people': {
        f'{who}/{c}': 2
        for who, cs in dict(anna='ab', ben='bc', carl='ac', dora='abc').items()
        for c in (f'{k}-cell' for k in cs)
    },
    'two hospitals': {'north/Blast': 3, 'north/Lymph': 3, 'south/Blast': 3, 'south/Mono': 2},
    'the same classes': {f'Patient_{i}/{c}': 2 for i in range(3) for c in ('Blast', 'Lymph')},
    'below train and test': {
        f'{side}/Patient_{i}/{c}': 2
        for side, patients in dict(train=(0, 1, 2), test=(3, 4)).items()
        for i in patients
        for c in ('Blast', 'Lymph')
    },
}


@pytest.mark.parametrize('layout', PATIENT_FOLDERS.values(), ids=PATIENT_FOLDERS)
def test_patient_folders_are_refused_and_read_by_level(tmp_path, layout):
    folder(tmp_path, layout)
    with pytest.raises(DataError) as e:
        read_table(tmp_path)
    for advice in ('label=-1', 'patient=0', 'label=0', 'learn whose cell'):
        assert advice in str(e.value)
    t = read_table(tmp_path, label=-1, patient=0)
    depth = 1 if 'train' in str(layout) else 0
    assert set(t.label) == {k.split('/')[-1] for k in layout}
    assert set(t.patient) == {k.split('/')[depth] for k in layout}
    assert len(t) == sum(layout.values())
    # the same words from the command line
    assert read_table(tmp_path, label='-1', patient='0').equals(t)
    top = read_table(tmp_path, label=0)
    assert set(top.label) == {k.split('/')[depth] for k in layout}


def test_patient_folders_without_classes(tmp_path):
    folder(tmp_path, {f'Patient_{i}': 3 for i in range(4)})
    with pytest.raises(DataError, match='no folder below them names a class.*Give a CSV'):
        read_table(tmp_path)
    assert read_table(tmp_path, label=0).label.nunique() == 4


@pytest.mark.parametrize(
    'layout',
    [
        {'all/1': 2, 'all/2': 2, 'hem/3': 2},
        # patients with cells of several classes
        {f'{c}/P{i}': 2 for c in ('Blast', 'Lymph', 'Mono') for i in range(2 + len(c) % 2)},
        {'all/anna': 2, 'all/ben': 2, 'hem/anna': 2, 'hem/carl': 2, 'hem/dora': 2},
        {'basophil/images': 2, 'eosinophil/images': 2},
        {'0': 2, '1': 2, '2': 2},
        {'M0': 2, 'M1': 2, 'L1': 2},
        {'healthy_patients': 2, 'sick_patients': 2},
        {'case': 2, 'control': 2},
        {'train/a': 3, 'train/b': 3, 'val/a': 2, 'val/b': 2},
    ],
)
def test_class_folders_stay_class_folders(tmp_path, layout):
    t = read_table(folder(tmp_path, layout))
    depth = 1 if 'train/a' in layout else 0
    assert set(t.label) == {k.split('/')[depth] for k in layout}


def test_data_sets_beside_each_other_are_noticed(tmp_path):
    "Whether or not their classes have the same names; folders of numbers are patients or fields."
    cases = {'one/Blast': 2, 'one/Lymph': 2, 'two/blast': 2, 'two/lymph': 2}
    with pytest.raises(DataError, match='holds 2 data sets with the same classes: one, two'):
        read_table(folder(tmp_path / 'same', cases))
    others = {'one/Blast': 2, 'one/Lymph': 2, 'two/band': 2, 'two/smudge': 2}
    root = folder(tmp_path / 'others', others)
    (note,) = read_table(root).attrs['notes']
    assert 'The classes are the first folders: one, two' in note and 'label=-1' in note
    assert set(read_table(root, label=-1).label) == {'Blast', 'Lymph', 'band', 'smudge'}
    numbered = {
        f'{c}/{first + n:03}': 2 for c, first in dict(Blast=0, Lymph=3).items() for n in range(3)
    }
    assert not read_table(folder(tmp_path / 'fields', numbered)).attrs.get('notes')


def test_levels_are_checked(tmp_path):
    folder(tmp_path, {'a/x': 2, 'b': 2})
    with pytest.raises(DataError, match='label=1: 2 of 4 images have no folder at that level'):
        read_table(tmp_path, label=1)
    with pytest.raises(DataError, match='names a column, and .* is a folder'):
        read_table(tmp_path, label='class')
    frame = read_table(tmp_path)
    with pytest.raises(
        DataError, match='patient=0 is a level of folders, and the data are a table'
    ):
        read_table(frame, patient=0)
    with pytest.raises(DataError, match="no column `kind`.*Correct label='kind'"):
        read_table(frame, label='kind')
    named = frame.rename(columns={'label': 'grade'}).assign(label='x')
    assert read_table(named, label='grade').label.tolist() == frame.label.tolist()


# Parts of a folder that are no training data ------------------------------------------------------

TRAIN = {'train/Blast': 3, 'train/Lymph': 3}


@pytest.mark.parametrize(
    'rest', [{'test': 3}, {'test/test': 3}, {'test/unknown': 3}, {'Test/images': 2}, {'val': 1}]
)
def test_an_unlabelled_side_names_the_folder_to_give(tmp_path, rest):
    folder(tmp_path, TRAIN | rest)
    with pytest.raises(DataError) as e:
        read_table(tmp_path)
    assert f'Give {tmp_path / "train"}' in str(e.value) and 'test_pct' not in str(e.value)
    assert len(read_table(tmp_path / 'train')) == 6


@pytest.mark.parametrize('empty', ['val', 'test', None])
def test_train_alone_is_divided_anew(tmp_path, capsys, empty):
    folder(tmp_path, TRAIN | ({empty: 0} if empty else {}))
    t = read_table(tmp_path)
    assert t.split.isna().all() and set(t.label) == {'Blast', 'Lymph'}
    assert f'as if you had given {tmp_path / "train"}' in capsys.readouterr().err
    assert t.attrs['notes']
    assert set(split_table(t, valid_pct=0.4, test_pct=0).split) == {'train', 'valid'}


def test_a_side_made_of_links_is_said(tmp_path, capsys):
    folder(tmp_path, TRAIN)
    (tmp_path / 'valid').mkdir()
    for c in ('Blast', 'Lymph'):
        os.symlink(tmp_path / 'train' / c, tmp_path / 'valid' / c)
    t = read_table(tmp_path)
    assert len(t) == 6 and t.split.isna().all()
    assert 'listed once' in capsys.readouterr().err


@pytest.mark.parametrize(
    'layout,meant',
    [
        ({'TRAIN/a': 2, 'TRAIN/b': 2, 'TEST/a': 2, 'TEST/b': 2, 'TEST_SIMPLE/a': 2}, 'TRAIN'),
        ({'training_set/a': 2, 'training_set/b': 2, 'test_set/a': 2}, 'training_set'),
        ({'train_images': 4, 'test_images': 2}, 'train_images'),
    ],
)
def test_other_names_of_sides_name_the_folder_to_give(tmp_path, layout, meant):
    with pytest.raises(DataError, match=f'such as {tmp_path / meant}'):
        read_table(folder(tmp_path, layout))


def test_a_test_folder_alone(tmp_path):
    with pytest.raises(DataError, match=f'Give the folder .*: {tmp_path / "test"}'):
        read_table(folder(tmp_path, {'test/a': 2, 'test/b': 2}))


@pytest.mark.parametrize('wrapper', ['wrap', 'wrap/dataset', 'wrap/dataset/images'])
def test_the_folder_below_wrappers_is_named(tmp_path, wrapper):
    folder(tmp_path, {f'{wrapper}/a': 2, f'{wrapper}/b': 2})
    with pytest.raises(DataError) as e:
        read_table(tmp_path)
    assert f'Did you mean {tmp_path / wrapper}?' in str(e.value)


@pytest.mark.parametrize(
    'layout', [{'images': 4}, {'.': 4}, {'train_images': 4, 'test_images': 2}, {}]
)
def test_a_table_beside_the_images_is_named(tmp_path, layout):
    folder(tmp_path, layout)
    (tmp_path / 'labels.csv').write_text('image,label\n0,a\n')
    with pytest.raises(DataError) as e:
        read_table(tmp_path)
    assert f'If {tmp_path / "labels.csv"} says which image is of which class' in str(e.value)


def test_an_archive_in_the_folder_is_named(tmp_path):
    (tmp_path / 'cells.zip').write_bytes(b'PK')
    with pytest.raises(DataError, match='Unpack cells.zip first'):
        read_table(tmp_path)


# Folders of the system ----------------------------------------------------------------------------

SYSTEM = [
    '@eaDir',
    '#recycle',
    '#snapshot',
    '$RECYCLE.BIN',
    '$Recycle.Bin',
    'RECYCLER',
    'System Volume Information',
    'lost+found',
    '@Recycle',
    '@Recently-Snapshot',
    '__MACOSX',
    'FOUND.000',
    'LOST.DIR',
    '.Trash-1000',
    '.ipynb_checkpoints',
]


@pytest.mark.parametrize('name', SYSTEM)
@pytest.mark.parametrize('where', ['', 'a/', 'a/deeper/'])
def test_folders_of_the_system_hold_no_data(tmp_path, capsys, name, where):
    folder(tmp_path, {'a/deeper': 2, 'b': 2, f'{where}{name}': 3, f'{where}{name}/below': 2})
    t = read_table(tmp_path)
    assert len(t) == 4 and set(t.label) == {'a', 'b'}
    files = image_files(tmp_path)
    assert sorted(files) == t.path.tolist()
    said = capsys.readouterr().err
    if not name.startswith('.'):
        assert said.count(f'Left out 1 folders of the system: 1 {name}.') == 2


# Pictures with other endings, or none -------------------------------------------------------------

ENDINGS = {
    '.jfif': 'JPEG',
    '.jpe': 'JPEG',
    '.JPG': 'JPEG',
    '.webp': 'WEBP',
    '.gif': 'GIF',
    '.jp2': 'JPEG2000',
    '.dib': 'DIB',
    '.ppm': 'PPM',
    '': 'JPEG',
    '.001': 'TIFF',
    '.5um': 'PNG',
    '.image': 'JPEG',
    '.jpg_large': 'JPEG',
    '.x': 'WEBP',
    '.y': 'GIF',
    '.z': 'BMP',
}


@pytest.mark.parametrize('ending,kind', ENDINGS.items())
def test_what_can_be_read_is_read(tmp_path, capsys, ending, kind):
    folder(tmp_path, {'a': 2, 'b': 2})
    picture = Image.open(tmp_path / 'a' / '0.png').convert('RGB')
    picture.save(tmp_path / 'a' / f'more{ending}', kind)
    t = check_images(read_table(tmp_path))
    assert len(t) == 5 and len(image_files(tmp_path)) == 5
    assert 'Ignored' not in capsys.readouterr().err


@pytest.mark.parametrize(
    'name,content,words',
    [
        ('README', b'hello', 'Ignored 1 files that are no images: 1 no ending'),
        ('empty', b'', '1 no ending'),
        ('a.odd', b'BMW', '1 .odd'),
        ('a.txt', b'\xff\xd8\xff\xe0', '1 .txt'),
        # half of a download
        ('a.jpg.crdownload', b'\xff\xd8\xff\xe0', '1 .crdownload'),
        ('slide.svs', b'II*\x00', 'in formats that are not read here: 1 .svs'),
        ('raw.nef', b'MM\x00*', 'not read here: 1 .nef'),
        ('phone.HEIC', b'\x00\x00\x00 ftypheic', 'not read here: 1 .heic'),
        ('scan.lif', b'II*\x00', 'not read here: 1 .lif'),
        ('of_another_program.xyz', b'II*\x00', '1 .xyz'),
    ],
)
def test_what_is_left_out_is_said(tmp_path, capsys, name, content, words):
    folder(tmp_path, {'a': 2, 'b': 2})
    (tmp_path / 'a' / name).write_bytes(content)
    assert len(read_table(tmp_path)) == 4
    assert words in capsys.readouterr().err
    assert len(image_files(tmp_path)) == 4
    assert words in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='this system has no pipes')
def test_a_pipe_is_not_waited_for(tmp_path):
    folder(tmp_path, {'a': 2, 'b': 2})
    os.mkfifo(tmp_path / 'a' / 'pipe')
    assert len(read_table(tmp_path)) == 4


def test_a_folder_without_images_does_not_stop_the_others(tmp_path, capsys):
    folder(tmp_path, {'a': 2, 'none': 0, 'b': 3})
    places = [tmp_path / 'a', tmp_path / 'none', tmp_path / 'b']
    assert len(images_of(places)) == 5
    assert f'{tmp_path / "none"} holds no image' in capsys.readouterr().err
    with pytest.raises(DataError, match='holds no image'):
        images_of([tmp_path / 'none'])


def test_ten_thousand_other_files_cost_no_opening(tmp_path, monkeypatch):
    folder(tmp_path, {'a': 2, 'b': 2})
    for i in range(50):
        (tmp_path / 'a' / f'{i}.xml').touch()
    opened = []
    monkeypatch.setattr('leukocls.data.images.open_regular', lambda p, *a: opened.append(p))
    assert len(read_table(tmp_path)) == 4 and not opened


# Images that were moved after a training ----------------------------------------------------------


def test_a_run_whose_images_were_moved_says_so(run, tmp_path, capsys):
    shutil.copytree(run.folder, tmp_path / 'run')
    table = tmp_path / 'run' / 'table.csv'
    where = os.path.commonpath([os.path.dirname(p) for p in run.table.path])
    table.write_text(table.read_text(encoding='utf8').replace(where, '/old/place'), encoding='utf8')
    assert Run(tmp_path / 'run').learner is not None
    n = len(run.table)
    words = f'{n} of {n} images of this run are no longer in /old/place.'
    assert words in capsys.readouterr().err
    capsys.readouterr()
    assert Run(run.folder).learner is not None and 'no longer' not in capsys.readouterr().err
