"Kinds of tables that were read as something else than they are."

import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from leukocls.audit.findings import audit
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
