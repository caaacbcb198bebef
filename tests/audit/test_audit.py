"The audit against what is known to be wrong, the command line, and the official C-NMC manifest."

import json
import os
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps
from shell import leukocls

from leukocls.audit import findings
from leukocls.audit.findings import (
    about_patients,
    audit,
    intra_patient_correlation,
    leaks_between,
    shortcut_accuracy,
    table_to_audit,
)
from leukocls.audit.labels import corrected, doubtful
from leukocls.core.errors import DataError, LeukoError
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.splits import (
    groups_of,
    merge_patients,
    near_groups,
    shared_groups,
    source_tables,
    split_table,
)
from leukocls.data.survey import look, shortcuts_of
from leukocls.data.table import read_table


@pytest.fixture
def own_films(tmp_path):
    return draw_films(tmp_path / 'films', 4, 5, size=64, seed=3)


def strict(path):
    return json.loads(open(path).read(), parse_constant=lambda c: pytest.fail(f'{c} is not JSON'))


def test_everything_wrong_is_found(own_films, tmp_path):
    t = read_table(own_films, patient=FILM_PATIENT)
    (own_films / 'Pro' / 'broken.png').write_bytes(b'\x89PNG')
    ImageOps.flip(Image.open(t.path[3])).save(own_films / 'Pro' / 'P901_x.png')
    Image.open(t.path[9]).save(own_films / t.label[9] / 'P902_same.bmp')
    a = audit(own_films, progress=False)
    d = a.data

    def names(groups):
        return [sorted(map(os.path.basename, g)) for g in groups]

    assert [os.path.basename(u['path']) for u in d['unreadable']] == ['broken.png'] and d['n'] == 83
    assert names(d['exact_duplicates']) == [
        sorted(['P902_same.bmp', os.path.basename(t.path[9])])
    ] and sorted(['P901_x.png', os.path.basename(t.path[3])]) in names(d['near_duplicates'])
    assert names(d['across_labels']) == [
        sorted(['P901_x.png', os.path.basename(t.path[3])])
    ] and all(
        set(map(tuple, [g])) <= set(map(tuple, d['near_duplicates'])) for g in d['exact_duplicates']
    )
    assert {'unreadable', 'two labels', 'exact', 'near', 'patients'} <= {
        f['kind'] for f in d['findings']
    } and [f['level'] for f in d['findings']] == sorted(
        (f['level'] for f in d['findings']), key=('leak', 'error', 'warning', 'note').index
    )
    for f in d['findings']:
        assert f['what'].endswith('.') and (f['remedy'] or f['level'] == 'note')
    a.to_json(tmp_path / 'a.json')
    a.to_csv(tmp_path / 'a.csv')
    a.to_html(tmp_path / 'a.html')
    assert strict(tmp_path / 'a.json')['n'] == 83
    saved = pd.read_csv(tmp_path / 'a.csv')
    assert (
        len(saved) == 83
        and 'unreadable' in saved.finding[saved.path.str.endswith('broken.png')].item()
    )
    page = (tmp_path / 'a.html').read_text()
    assert (
        'Not a medical device' in page
        and 'data:image/jpeg' in page
        and 'http' not in page.replace('http-equiv', '')
    )
    assert 'cannot be read' in str(a)


def test_nothing_is_changed(own_films):
    def state():
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(own_films.rglob('*'))}

    before = state()
    t = read_table(own_films, patient=FILM_PATIENT)
    copy = t.copy()
    audit(t, progress=False)
    assert state() == before and t.equals(copy) and list(t.columns) == list(copy.columns)


def test_a_clean_set_has_no_leaks(own_films):
    t = split_table(read_table(own_films, patient=FILM_PATIENT), 'patient')
    assert [
        l for l in audit(t, progress=False).data['leaks'] if l['kind'] != 'near-duplicate'
    ] == []


def test_every_patient_with_as_many_images_is_one_number():
    "It said “4 to 4 images each”."
    from leukocls.audit.findings import _from_to

    assert _from_to(dict(least=4, most=4)) == 4
    assert _from_to(dict(least=1, most=1200)) == '1 to 1,200'


def test_the_page_begins_with_its_verdict(own_films, tmp_path):
    """The first sentence says what the findings mean, and every section that the contents name is
    there.
    """
    t = read_table(own_films, patient=FILM_PATIENT)
    coin = np.random.default_rng(0).random(len(t)) < 0.5
    leaky = audit(t.assign(split=np.where(coin, 'train', 'test')), progress=False)
    page = leaky.to_html(tmp_path / 'audit.html').read_text()
    assert 'Figures from these images would be wrong: 1 leak' in page
    assert page.index('would be wrong') < page.index(' in both ')
    places = re.findall(r'href="#(\w+)"', page)
    assert {'findings', 'shortcuts', 'patients', 'files'} <= set(places)
    assert all(f'id="{place}"' in page for place in places)
    for rule in ('prefers-color-scheme: dark', '@media print'):
        assert rule in page


def test_hostile_names_cannot_write_into_the_page(tmp_path):
    """Class and file names are text of a page, in a notebook and in a file, and nothing else; the
    characters that could change how a page reads are shown, not obeyed.
    """
    for c in ('<script>alert(1)</script>'.replace('/', ''), '{{ 7 * 7 }}'):
        (tmp_path / c).mkdir()
        for i in range(4):
            Image.effect_noise((32, 32), 40 + i).convert('RGB').save(
                tmp_path / c / f'"><img src=x onerror=alert({i})>.png'.replace('/', '')
            )
        (tmp_path / c / '\u202egnp.exe.png').write_bytes(b'')
    found = audit(tmp_path, progress=False)
    saved = found.to_html(tmp_path / 'audit.html').read_text(encoding='utf8')
    for page in (found._repr_html_(), saved):
        assert '<img src=x' not in page
        assert '<script>' not in page
        assert '\u202e' not in page
    assert '{{ 7 * 7 }}' in saved


def test_manifest_without_pixels(tmp_path):
    t = pd.DataFrame(
        dict(
            file=['a', 'b', 'c', 'd'],
            split=['train', 'test', 'train', 'test'],
            label=['x', 'y', 'x', pd.NA],
            subject=['1', '2', 'h3', 'H3'],
            SHA256=['s', 's', 'u', 'v'],
        )
    )
    d = audit(t, progress=False).data
    assert (
        d['exact_duplicates'] == d['near_duplicates'] == d['across_labels'] == [['a', 'b']]
        and d['patients']['merged'] == [['1', '2'], ['H3', 'h3']]
        and d['patients']['n'] == 2
        and d['patients']['ids'] == 4
        and d['shortcuts'] == {}
    )
    assert [(l['kind'], l['n']) for l in d['leaks']] == [('identical', 1), ('patient', 2)]
    t.to_csv(tmp_path / 'm.csv', index=False)
    assert {
        k: v
        for k, v in audit(str(tmp_path / 'm.csv'), progress=False).data.items()
        if k != 'seconds'
    } == {k: v for k, v in d.items() if k != 'seconds'}


@pytest.mark.data
def test_cnmc_manifest(shared, tmp_path):
    "Recomputed here by pandas alone."
    path = shared / 'data/cnmc2019/train_prelim_test_manifest.csv'
    m = pd.read_csv(path, dtype=str)
    twice = m[m.sha256.duplicated(keep=False)]
    d = audit(str(path), progress=False).data
    assert (
        d['n'] == len(m)
        and len(d['exact_duplicates']) == twice.sha256.nunique()
        and sum(map(len, d['exact_duplicates'])) == len(twice)
    )
    train = m[m.split.str.contains('fold_')].assign(
        fold=lambda t: t.split.str.extract(r'(fold_\d)')[0]
    )
    pairs = (
        train[train.sha256.duplicated(keep=False)]
        .groupby('sha256')
        .fold.agg(lambda s: tuple(sorted(set(s))))
        .value_counts()
    )
    assert (
        {tuple(l['between']): l['n'] for l in d['leaks'] if l['kind'] == 'identical'}
        == {k: v for k, v in pairs.items() if len(k) == 2}
        == {('fold_0', 'fold_2'): 72, ('fold_1', 'fold_2'): 22}
    )
    assert (
        d['patients']['merged']
        == [['20', '21'], ['51', '75', '78'], ['H10', 'h3'], ['H2', 'H4', 'H5', 'H6']]
        and d['patients']['n'] == 66
        and d['patients']['ids'] == 73
    )
    out = tmp_path / 'o.json'
    r = leukocls('audit', path, '--json', out)
    assert (
        r.returncode == 0
        and strict(out)['patients']['merged'] == d['patients']['merged']
        and '72 identical pictures stand in both fold_0 and fold_2' in r.stdout
    )


@pytest.mark.data
def test_taleqani(shared):
    d = audit(shared / 'data/taleqani/Original', progress=False).data
    assert (
        d['n'] == 3256
        and not d['across_labels']
        and 0.95 < d['shortcuts']['colour']['random'] < 0.98
        and 0.95 < d['shortcuts']['background']['accuracy'] < 0.99
        and abs(d['shortcuts']['majority']['accuracy'] - 985 / 3256) < 1e-9
        and len(d['exact_duplicates']) >= 30
    )


def test_names_of_cnmc_give_patients(tmp_path, capsys):
    for c, names in dict(
        all=['UID_1_1_1_all.bmp', 'UID_2_1_1_all.bmp'],
        hem=['UID_h3_1_1_hem.bmp', 'UID_H3_2_1_hem.bmp'],
    ).items():
        (tmp_path / c).mkdir()
        for n in names:
            Image.effect_noise((16, 16), 50).convert('RGB').save(tmp_path / c / n)
    assert (
        read_table(tmp_path).patient.tolist() == ['1', '2', 'H3', 'H3']
        and 'Patients are read from the names' in capsys.readouterr().err
    )


def test_command_line(own_films, tmp_path):
    out = tmp_path / 'o.json'
    r = leukocls(
        'audit',
        own_films,
        '--json',
        out,
        '--csv',
        tmp_path / 'o.csv',
        '--html',
        tmp_path / 'o.html',
    )
    assert r.returncode == 0, r.stderr
    assert (
        set(strict(out))
        >= {'n', 'exact_duplicates', 'near_duplicates', 'shortcuts', 'patients', 'leaks'}
        and 'Patients are unknown' in r.stdout
    )
    again = leukocls('audit', own_films, '--json', out)
    assert (
        again.returncode == 2
        and 'exists already' in again.stderr
        and 'Traceback' not in again.stderr
    )
    gone = leukocls('audit', tmp_path / 'nowhere')
    assert gone.returncode == 2 and 'does not exist' in gone.stderr


def test_icc_against_a_mixed_model():
    rng = np.random.default_rng(1)
    for icc in (0, 0.3, 0.8):
        who = np.repeat(np.arange(400), rng.integers(1, 9, 400))
        x = np.sqrt(icc) * rng.normal(size=400)[who] + np.sqrt(1 - icc) * rng.normal(size=len(who))
        assert abs(intra_patient_correlation(x, who) - icc) < 0.07
    assert np.isnan(intra_patient_correlation([1, 2, 3], ['a', 'b', 'c'])) and np.isnan(
        intra_patient_correlation([1, 2], ['a', 'a'])
    )


def test_effective_number():
    t = pd.DataFrame(
        dict(
            path=[str(i) for i in range(100)],
            label='x',
            patient=np.repeat([f'p{i}' for i in range(10)], 10),
        )
    )
    same = np.repeat(np.random.default_rng(0).normal(size=10), 10)
    assert (
        about_patients(t, same[:, None])['effective_n'] == pytest.approx(10)
        and about_patients(t, np.random.default_rng(0).normal(size=(100, 6)))['effective_n'] > 60
    )


def test_shortcut_accuracy_by_hand():
    X = np.r_[np.zeros(10), np.ones(10)][:, None]
    y = np.repeat(['a', 'b'], 10)
    folds = [(np.arange(0, 20, 2), np.arange(1, 20, 2)), (np.arange(1, 20, 2), np.arange(0, 20, 2))]
    assert (
        shortcut_accuracy(X, y, folds) == 1
        and shortcut_accuracy(np.zeros((20, 1)), y, folds, k=10) <= 0.6
    )


def test_shortcuts_see_no_cell(own_films):
    "Painting the middle over changes neither border nor file numbers, and hardly the background."
    p = str(next(own_films.rglob('*.png')))
    q = str(own_films / 'painted.png')
    im = Image.open(p).convert('RGB')
    im.paste((90, 40, 120), (24, 24, 40, 40))
    im.save(q)
    s = shortcuts_of(look([p, q]))
    assert np.allclose(*s['border'], atol=0.5) and not np.allclose(*s['colour'])


def test_merging_keeps_rows_and_is_idempotent():
    t = pd.DataFrame(
        dict(
            path=list('abcdefg'),
            label='x',
            patient=['1', '2', '2', '3', None, 'h7', 'H7'],
            sha256=['s', 's', 't', 't', 'u', 'v', 'w'],
        )
    )
    m = merge_patients(t)
    assert (
        m.path.tolist() == list('abcdefg')
        and m.attrs['merged'] == [['1', '2', '3'], ['H7', 'h7']]
        and m.patient.isna().sum() == 1
        and t.patient[5] == 'h7'
        and merge_patients(m).attrs['merged'] == []
    )
    assert (pd.Series(groups_of(t)).groupby(m.patient.fillna('?').to_numpy()).nunique() == 1).all()


def test_near_duplicates_stay_together_and_random_tells(tmp_path):
    films = draw_films(tmp_path / 'films', 5, 6, size=64, seed=3)
    for p in sorted(films.glob('Pro/*'))[:12]:
        ImageOps.mirror(Image.open(p)).save(p.with_name(f'copy_{p.name}'))
    t = near_groups(read_table(films))
    pairs = [(p, p.replace('copy_', '')) for p in t.path if 'copy_' in p]
    number = dict(zip(t.path, t.group))
    assert all(number[a] == number[b] for a, b in pairs)
    for seed in range(4):
        s = split_table(t, seed=seed)
        side = dict(zip(s.path, s.split))
        assert (
            s.attrs['split']['method'] == 'group'
            and all(side[a] == side[b] for a, b in pairs)
            and shared_groups(s) == []
            and 'Patients unknown' in s.attrs['split']['note']
        )
    r = split_table(t, 'random', seed=0)
    assert (
        r.attrs['split']['shared_groups'] == len(shared_groups(r)) > 0
        and 'groups of near-duplicates do' in r.attrs['split']['note']
    )
    g = split_table(t.assign(split=np.random.default_rng(0).choice(['train', 'test'], len(t))))
    assert 'groups of near-duplicates stand on two sides' in g.attrs['split']['note']


def test_leaks_between_three_sides():
    t = pd.DataFrame(
        dict(path=list('abcd'), patient=['1', '1', '1', '2'], split=['a', 'b', 'c', 'c'])
    )
    found = leaks_between(t, dict(exact=[[0, 3]], near=[[0, 3], [1, 2]]))
    assert [(f['kind'], f['between']) for f in found] == [
        ('identical', ['a', 'c']),
        ('near-duplicate', ['b', 'c']),
        ('patient', ['a', 'b']),
        ('patient', ['a', 'c']),
        ('patient', ['b', 'c']),
    ]


def test_sources_must_share_classes(own_films):
    t = read_table(own_films, patient=FILM_PATIENT)
    held = source_tables(
        t.assign(source=['x' if int(p[1:]) % 8 < 4 else 'y' for p in t.patient]), 0
    )
    assert set(held) == {'x', 'y'} and all(
        set(h.source[h.split == 'train']) == {'y' if k == 'x' else 'x'} for k, h in held.items()
    )
    with pytest.raises(DataError, match='Sources must share classes'):
        source_tables(t.assign(source=np.where(t.label == 'Pro', 'x', 'y')), 0)


def test_a_manifest_must_name_its_images():
    with pytest.raises(LeukoError, match='names every image'):
        table_to_audit(pd.DataFrame(dict(sha256=['a'])))


def test_doubtful_labels_feed_back(tmp_path):
    pytest.importorskip('cleanlab')
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 3, 400)
    given = truth.copy()
    given[:20] = (truth[:20] + 1) % 3
    names = np.array(['a', 'b', 'c'])
    z = rng.normal(size=(400, 3)) + 5 * np.eye(3)[truth]
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    d = doubtful(
        pd.DataFrame(q, columns=[f'p_{c}' for c in names]).assign(
            path=[str(i) for i in range(400)], label=names[given]
        )
    )
    right = d.table.path.astype(int) < 20
    assert (
        right.sum() >= 14
        and (~right).sum() <= 3
        and (d.table.suggested == names[truth[d.table.path.astype(int)]])[right].all()
        and d.table.quality.is_monotonic_increasing
    )
    d.to_csv(tmp_path / 'd.csv')
    edited = pd.read_csv(tmp_path / 'd.csv', dtype=str)
    edited['label'] = edited.suggested
    edited.to_csv(tmp_path / 'd.csv', index=False)
    t = pd.DataFrame(dict(path=[str(i) for i in range(400)], label=names[given]))
    new = corrected(t, tmp_path / 'd.csv')
    assert (new.label == names[truth]).sum() == (t.label == names[truth]).sum() + right.sum() - (
        ~right
    ).sum()


@pytest.fixture
def no_findings(monkeypatch):
    monkeypatch.setattr(findings, 'FINDINGS', [])


@pytest.mark.usefixtures('no_findings')
def test_a_finding_of_ones_own_stands_everywhere(table, tmp_path):
    @findings.register_finding
    def first_image(facts, table):
        assert facts['n'] == len(table)
        return findings.finding('error', 'first', 'The first is <odd>.', 'Look.', [table.path[0]])

    @findings.register_finding
    def nothing(facts, table):
        return None

    found = findings.audit(table, progress=False)
    assert found.findings.what.tolist().count('The first is <odd>.') == 1
    # the gravest stand first
    assert found.findings.level.tolist()[0] == 'error'
    assert 'ERROR    The first is <odd>.' in str(found)
    assert found.table.finding[0] == 'first'
    assert 'The first is &lt;odd&gt;.' in found.to_html(tmp_path / 'a.html').read_text('utf8')
    # a notebook's cell that is run again
    findings.register_finding(first_image)
    assert [f.__name__ for f in findings.FINDINGS] == ['nothing', 'first_image']


@pytest.mark.usefixtures('no_findings')
@pytest.mark.parametrize(
    'look', [lambda facts, table: facts['no such'], lambda facts, table: 'a text', lambda: None]
)
def test_a_finding_of_ones_own_that_fails_is_said_and_the_audit_goes_on(table, look):
    findings.register_finding(look)
    found = findings.audit(table, progress=False).data['findings']
    (own,) = [f for f in found if f['kind'] == 'own']
    assert own['level'] == 'warning' and 'could not look: ' in own['what'], own
    assert len(found) > 1


def test_a_finding_of_an_unknown_level_and_what_is_no_function():
    with pytest.raises(LeukoError, match="level='fatal': .*leak, error, warning"):
        findings.finding('fatal', 'x', 'y')
    with pytest.raises(LeukoError, match='no function of facts and table'):
        findings.register_finding('small classes')


def test_a_finding_of_ones_own_on_the_command_line(own_films, tmp_path):
    own = tmp_path / 'mine.py'
    own.write_text(
        'from leukocls.audit import finding, register_finding\n'
        '@register_finding\n'
        'def mine(facts, table):\n'
        '    return finding("note", "mine", f"{facts[\'n\']} are here.")\n'
    )
    done = leukocls('audit', own_films, '--with', own)
    assert done.returncode == 0 and 'NOTE     80 are here.' in done.stdout, done.stdout
