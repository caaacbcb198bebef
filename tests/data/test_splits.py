import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from leukocls.core.errors import DataError
from leukocls.data.splits import (
    SPLIT_RULES,
    fold_tables,
    grouped_folds,
    groups_of,
    identical_files,
    register_split,
    shared_files,
    shared_patients,
    sides_of,
    source_tables,
    split_note,
    split_table,
    with_note,
)
from leukocls.data.table import read_table


def make(rng, classes, patients, most, mixed=False):
    rows = []
    for c in range(classes):
        for p in range(patients):
            for i in range(rng.integers(1, most + 1)):
                rows.append(
                    dict(
                        path=f'/x/{c}/{p}/{i}.png',
                        label=f'c{c}',
                        patient=f'p{p if mixed else (c, p)}',
                    )
                )
    return pd.DataFrame(rows).assign(source=pd.NA, split=pd.NA)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(2, 5),
    patients=st.integers(4, 30),
    most=st.integers(1, 15),
    test=st.sampled_from([0, 0.1, 0.2, 0.3, 0.5]),
    valid=st.sampled_from([0.1, 0.16, 0.2]),
    mixed=st.booleans(),
)
def test_no_patient_on_two_sides(seed, classes, patients, most, test, valid, mixed):
    t = make(np.random.default_rng(seed), classes, patients, most, mixed)
    s = split_table(t, 'patient', valid, test, seed)
    assert shared_patients(s) == [] and len(s) == len(t) and s.split.notna().all()
    assert set(s.label) == set(s.label[s.split == 'train'])
    assert s.path.tolist() == t.path.tolist() and t.split.isna().all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(40, 400))
def test_random_split_keeps_class_shares(seed, n):
    rng = np.random.default_rng(seed)
    t = pd.DataFrame(
        dict(path=[f'/x/{i}.png' for i in range(n)], label=rng.choice(['a', 'b'], n, p=[0.7, 0.3]))
    ).assign(patient=pd.NA, source=pd.NA, split=pd.NA)
    if t.label.value_counts().min() < 10:
        return
    s = split_table(t, 'random', 0.2, 0.2, seed)
    for side in ('valid', 'test'):
        assert abs((s.label[s.split == side] == 'a').mean() - (t.label == 'a').mean()) < 0.12


def test_p2_shares():
    t = pd.DataFrame(
        dict(path=[f'/{i}' for i in range(3000)], label=[f'c{i % 5}' for i in range(3000)])
    ).assign(patient=pd.NA, source=pd.NA, split=pd.NA)
    assert split_table(t).split.value_counts().to_dict() == {
        'train': 1920,
        'test': 600,
        'valid': 480,
    }


def test_taleqani_shares():
    t = pd.DataFrame(
        [
            dict(path=f'/{c}/{i}', label=c)
            for c, n in dict(Benign=504, Early=985, Pre=963, Pro=804).items()
            for i in range(n)
        ]
    ).assign(patient=pd.NA, source=pd.NA, split=pd.NA)
    s = split_table(t, 'random', 0.2, 0).split.value_counts()
    assert (s['train'], s['valid']) in ((2604, 652), (2605, 651))


def test_same_seed_same_split(table):
    a, b, c = (split_table(table, seed=s).split.tolist() for s in (1, 1, 2))
    assert a == b != c


def test_copies_stay_together_even_between_patients(tmp_path):
    rows = []
    for i in range(40):
        p = tmp_path / f'{i}.png'
        p.write_bytes(b'same' if i in (0, 39) else bytes([i]) * 50)
        rows.append(dict(path=str(p), label='ab'[i % 2], patient=f'p{i // 4}'))
    t = pd.DataFrame(rows).assign(source=pd.NA, split=pd.NA)
    assert list(identical_files(t).values()) == [[0, 39]] and groups_of(t)[0] == groups_of(t)[38]
    for method in ('patient', 'random'):
        for seed in range(5):
            s = split_table(t, method, seed=seed)
            assert s.split[0] == s.split[39] and not shared_files(s)


def test_random_is_labelled(table):
    s = split_table(table, 'random')
    assert (
        shared_patients(s)
        and 'too good' in s.attrs['split']['note']
        and s.attrs['split']['shared_patients'] > 0
    )


def test_given_leaks_are_told(table):
    s = split_table(table.assign(split=['train', 'test'] * 60))
    assert 'It leaks: 24 patients' in s.attrs['split']['note']


@pytest.mark.parametrize(
    'kw,message',
    [
        (dict(method='vertical'), 'Use one of'),
        (dict(valid_pct=0, test_pct=0), 'something must be held out'),
        (dict(test_pct=1.2), 'between 0 and 0.9'),
        (dict(valid_pct=0.5, test_pct=0.6), 'something left to train on'),
    ],
)
def test_bad_arguments(table, kw, message):
    with pytest.raises(DataError, match=message):
        split_table(table, **kw)


def test_one_patient_per_class_cannot_be_divided():
    t = pd.DataFrame(
        dict(
            path=[f'/{i}' for i in range(20)],
            label=['a'] * 10 + ['b'] * 10,
            patient=['x'] * 10 + ['y'] * 10,
        )
    ).assign(source=pd.NA, split=pd.NA)
    with pytest.raises(
        DataError, match='held out.*There are 2, and each holds images of one class only'
    ):
        split_table(t, 'patient')


@pytest.mark.parametrize('folds', [2, 3, 5])
def test_folds_test_everything_once(table, folds):
    parts = fold_tables(table, folds, valid_pct=0.1)
    assert np.array_equal(
        sum((p.split == 'test').to_numpy().astype(int) for p in parts), np.ones(len(table))
    )
    for p in parts:
        assert shared_patients(p) == [] and (p.split == 'valid').any()


@pytest.mark.data
def test_cnmc_folds_share_files(shared):
    "The official manifest, without pixels: names give patients, sha256 gives copies."
    from leukocls.data.datasets import card, patients_of

    m = pd.read_csv(shared / 'data/cnmc2019/train_prelim_test_manifest.csv', dtype=str).dropna(
        subset=['subject']
    )
    train = m[m.split.str.contains('train', case=False)]
    found = pd.Series(patients_of(train.name, card('c-nmc').pattern), index=train.index)
    assert len(train) == 10661 and found.notna().all() and found.nunique() <= card('c-nmc').patients
    assert (
        card('c-nmc').check(
            pd.DataFrame(
                dict(
                    label=train.label.map(lambda s: {'1': 'all', '0': 'hem'}.get(s, s)),
                    patient=found,
                )
            )
        )
        == []
    )


@pytest.mark.parametrize('seed', range(60))
def test_grouped_folds_are_scikit_learns(seed):
    """The same rows in the same folds, and a refusal where there is one, whatever the classes, the
    groups and the number of folds; and the same without groups.
    """
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    from leukocls.data.splits import _first_stratified_fold

    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 400))
    folds = int(rng.integers(2, 12))
    y = rng.integers(0, int(rng.integers(2, 12)), n) ** (1 + seed % 2)
    groups = rng.integers(0, int(rng.integers(10, n + 1)), n) if seed % 3 else np.arange(n)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            want = list(
                StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(y, y, groups)
            )
        except ValueError:
            with pytest.raises(DataError, match=f'folds={folds}: there are'):
                grouped_folds(y, groups, folds, seed)
            return
        got = grouped_folds(y, groups, folds, seed)
        assert np.array_equal(
            _first_stratified_fold(y, folds, seed),
            next(StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y))[1],
        )
    assert len(got) == len(want) and all(
        np.array_equal(a, c) and np.array_equal(b, d) for (a, b), (c, d) in zip(got, want)
    )


@pytest.mark.parametrize('lost', [1, 10, 25])
def test_one_blank_patient_does_not_unprotect_the_others(table, lost):
    """Patients that are known stay together where some are not, in every kind of split; and the
    note says how many are unknown.
    """
    part = table.assign(
        patient=table.patient.mask(np.random.default_rng(lost).permutation(len(table)) < lost)
    )
    for t in (
        split_table(part, test_pct=0.25),
        *fold_tables(part, 3),
        *fold_tables(part, 3, valid_pct=0.1),
    ):
        assert (
            shared_patients(t) == []
            and t.attrs['split']['method'] == 'group'
            and f'{lost} of {len(table)} images unknown' in t.attrs['split']['note']
        )
    given = split_table(
        part.assign(
            split=np.where(
                split_table(table, test_pct=0.25, valid_pct=0).split == 'test', 'test', 'train'
            )
        ),
        valid_pct=0.2,
    )
    assert set(given.split) == {'train', 'valid', 'test'}
    known = given[given.split != 'test']
    assert (
        shared_patients(known) == []
        and f'{lost} of {len(table)} images unknown' in given.attrs['split']['note']
    )
    assert 'images of one patient were not' in split_table(table, 'group').attrs['split']['note']


def test_a_split_without_two_sides_is_said(table):
    for side, message in (
        ('train', 'nothing but training'),
        ('test', 'no image to train on'),
        ('valid', 'no image to train on'),
    ):
        with pytest.raises(DataError, match=message):
            split_table(table.assign(split=side))


def test_a_column_group_of_words_is_no_group_of_copies(table, capsys):
    "The arms of a study, cases and controls: near-duplicates are looked for all the same."
    arms = table.assign(group=np.where(np.arange(len(table)) % 2, 'A', 'B'))
    t = split_table(arms, 'group')
    assert t.group.nunique() > 2 and 'holds no whole numbers' in capsys.readouterr().err
    assert shared_patients(split_table(arms)) == [] and set(split_table(arms).group) == {
        'A',
        'B',
    }  # by patient it is not asked, and stays
    again = split_table(t.assign(split=pd.NA, group=t.group.astype(str)), 'group')
    assert again.group.astype(int).tolist() == t.group.tolist()  # as a CSV file brings it


@pytest.mark.parametrize('valid_pct', [-0.1, 0.45, 0.9])
def test_folds_leave_something_to_train_on(table, valid_pct):
    with pytest.raises(DataError, match='something must be left to train on'):
        fold_tables(table, 2, valid_pct=valid_pct)


def test_folds_say_that_a_given_split_is_not_used(table, capsys):
    fold_tables(table.assign(split='train'), 2)
    assert 'not used' in capsys.readouterr().err
    fold_tables(table.assign(split=pd.NA), 2)
    assert capsys.readouterr().err == ''


def test_a_split_changed_by_hand_is_called_given(table):
    nobody = table.assign(patient=pd.NA)
    t = split_table(nobody, 'group')
    assert with_note(t) is t
    t2 = t.copy()
    t2['split'] = pd.array(np.random.default_rng(0).permutation(t.split), dtype='string')
    assert split_note(with_note(t2))['method'] == 'given'
    assert split_note(with_note(t[::-1]))['method'] == 'group'


def changed_by_hand(t):
    return t.assign(split=t.split.to_numpy()[::-1])


def put_together(t):
    return pd.concat([t.iloc[:40], t.iloc[40:]])


def merged_with_a_column(t):
    return t.merge(t[['path']].assign(stain='Wright'), on='path')


@pytest.mark.parametrize(
    'change',
    [
        changed_by_hand,
        put_together,
        merged_with_a_column,
        lambda t: t[t.split != 'valid'],
        lambda t: t.assign(path=t.path + 'x'),
        lambda t: pd.DataFrame(t.to_dict('list')),
    ],
)
def test_a_note_is_true_or_gone(table, change):
    """Pandas loses notes, or keeps them where they are no longer true: what is told is either about
    these very sides, or nothing, and training then checks the sides again.
    """
    t = split_table(table, 'patient')
    changed = change(t)
    note = split_note(changed)
    same_sides = sides_of(changed) == sides_of(t)
    assert note == {} or (same_sides and note == split_note(t))
    method = split_note(with_note(changed))['method']
    assert method == ('patient' if note else 'given')


def test_a_study_arm_in_a_csv_is_kept_aside(films, tmp_path, capsys):
    """A file with a column `group` of words, through reading, training's notes and units: nobody
    takes its arms for copies.
    """
    from leukocls.data.films import FILM_PATIENT
    from leukocls.data.table import read_table

    t = read_table(films, patient=FILM_PATIENT)[['path', 'label', 'patient']]
    t['group'] = ['A', 'B'] * (len(t) // 2)
    t.to_csv(tmp_path / 't.csv', index=False)
    got = read_table(tmp_path / 't.csv')
    assert (
        'group' not in got
        and set(got.own_group) == {'A', 'B'}
        and 'own_group' in capsys.readouterr().err
    )
    numbers = t.assign(group=range(len(t)))
    numbers.to_csv(tmp_path / 'n.csv', index=False)
    assert 'group' in read_table(tmp_path / 'n.csv')


def test_a_source_held_out_keeps_the_sentence_about_leaks(tmp_path):
    "The sentence about the source is no reason to be silent about a picture of both."
    rows = [
        dict(path=f'{source}{i}.png', sha256=f'{source}{i}', label='ab'[i % 2], source=source)
        for source in 'xy'
        for i in range(10)
    ]
    # the first picture of the one source is the second picture of the other
    rows[0]['sha256'] = rows[12]['sha256']
    table = read_table(pd.DataFrame(rows))
    notes = [
        t.attrs['split']['note'] for t in source_tables(table.assign(group=range(20))).values()
    ]
    assert all('It leaks: 0 patients, 1 identical' in note for note in notes), notes
    assert all(note.startswith('Trained without source') for note in notes)


def test_a_class_without_training_images_is_named():
    rows = [
        dict(path=f'{i}.png', sha256=str(i), label='ab'[i % 2], split=['train', 'test'][i % 2])
        for i in range(8)
    ]
    with pytest.raises(DataError, match='Class b would not be trained on: no training image'):
        split_table(read_table(pd.DataFrame(rows)).assign(group=range(8)), 'given')


@pytest.mark.parametrize('asked', [lambda t: t.hospital, lambda t: t['hospital']])
def test_a_rule_that_asks_for_a_column_that_is_not_there(asked, tmp_path):
    "`read_table` calls a column `hospital` source: the error names the rule and the columns."
    rows = []
    for i in range(8):
        path = tmp_path / f'{i}.png'
        Image.new('RGB', (8, 8), (i * 20, 0, 0)).save(path)
        rows.append(dict(path=str(path), label='ab'[i % 2], hospital=f'h{i // 4}', day=i))
    table = read_table(pd.DataFrame(rows))
    assert {'source', 'day'} <= set(table) and 'hospital' not in table
    register_split('by-place', asked, 'No hospital is on two sides.')
    try:
        with pytest.raises(DataError, match='Split rule `by-place` fails: .*hospital.* source'):
            split_table(table, 'by-place')
    finally:
        SPLIT_RULES.pop('by-place')


@pytest.mark.parametrize('name', ['auto', 'given', 'source', 'patient'])
def test_names_that_leukocls_gives_to_splits_stay(name):
    "Runs tell by the name what their split was: of a held-out source, too, which no rule draws."
    with pytest.raises(DataError, match='is there already'):
        register_split(name, lambda table: table.source, 'No hospital is on two sides.')
