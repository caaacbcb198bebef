"""Comparing: one division for all, pooled intervals against an oracle, failures told, finished runs
read, the shell, the four papers' words.
"""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shell import here, leukocls

from leukocls.core.errors import LeukoError, RunError
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.splits import split_table
from leukocls.data.table import read_table
from leukocls.measure.metrics import METRICS, register_metric, score
from leukocls.measure.paired import compare, holm
from leukocls.runs.experiment import train_all
from leukocls.runs.leaderboard import (
    leaderboard,
    metrics_of,
    plot_standings,
    pooled,
    standings,
    systems,
)
from leukocls.runs.reproduction import Reproduction, _runs_of, reproduce
from leukocls.runs.run import Run, Runs, finished_run
from leukocls.train.folder import start_run, write_info
from leukocls.train.papers import PAPER_SYSTEMS
from leukocls.train.recipes import GROUPS, get_recipe, recipes, recipes_named

QUICK = get_recipe('small-cnn', size=32, epochs=1, lr=3e-3, bs=16)


@pytest.fixture(scope='module')
def films(tmp_path_factory):
    return draw_films(tmp_path_factory.mktemp('films'), patients=6, images=4, size=32)


@pytest.fixture(scope='module')
def compared(films, tmp_path_factory, without_plots):
    "Two systems, two seeds, and one that cannot be trained."
    out = tmp_path_factory.mktemp('runs')
    how = dict(patient=FILM_PATIENT, out=str(out), seeds=(0, 1), progress=False)
    with without_plots():
        return (
            train_all(
                films,
                [QUICK, 'p3-naive-bayes', get_recipe('mobilenetv2', weights='nowhere')],
                **how,
            ),
            out,
            how,
        )


def test_one_division_for_all(compared):
    runs, out, _ = compared
    assert (
        len(runs) == 4
        and len({tuple(r.table.split) for r in runs}) == 1
        and sorted(r.info['seed'] for r in runs) == [0, 0, 1, 1]
    )
    assert [f['recipe'] for f in runs.failed] == ['mobilenetv2'] * 2 and all(
        'nowhere' in f['error'] for f in runs.failed
    )
    board = runs.leaderboard
    assert (
        set(board.recipe) == {'small-cnn', 'p3-naive-bayes', 'mobilenetv2'}
        and board.status[board.status.str.startswith('failed:')].index.tolist()
        == ['mobilenetv2, 2 runs']
        and (board.runs.dropna() == 2).all()
        and board.megabytes.notna().sum() == 2
    )
    page = runs._repr_html_()
    assert (
        'NaN' not in page
        and '&lt;NA&gt;' not in page
        and 'Not a medical device' in page
        and 'Not a medical device' in runs[0]._repr_html_()
    )
    kept = pd.read_csv(out / 'leaderboard.csv')
    assert len(kept) == 3 and {
        'accuracy_low',
        'p',
        'differs',
        'megabytes',
        'images_per_second',
        'parameters',
    } <= set(kept)


@pytest.mark.usefixtures('no_plots')
def test_started_again_nothing_finished_is_trained(compared, films, monkeypatch):
    runs, out, how = compared
    before = {r.folder: (r.folder / 'recipe.json').stat().st_mtime_ns for r in runs}
    again = train_all(films, [QUICK, 'p3-naive-bayes'], **how)
    assert [r.folder for r in again] == [r.folder for r in runs] and all(
        (f / 'recipe.json').stat().st_mtime_ns == t for f, t in before.items()
    )
    new = train_all(films, [QUICK], **how | dict(seeds=0))
    assert new[0].folder not in before  # a single run is what was asked for
    assert (
        len(train_all(films, [QUICK, 'p3-naive-bayes'], **how | dict(seeds=(0,), repeat=True))) == 2
    )


def test_what_is_only_said_of_a_recipe_repeats_nothing(compared, tmp_path):
    """A finished run stays one when its recipe's title, citation or gaps are worded better, and its
    seeds stay one system.
    """
    run = compared[0][0]
    folder = tmp_path / run.name
    shutil.copytree(run.folder, folder)
    better = dataclasses.replace(QUICK, title='Better said', filled=('and more',), data='known now')
    assert (
        finished_run(tmp_path, better, run.info['seed'], run.table).folder == folder
        and finished_run(
            tmp_path, dataclasses.replace(QUICK, epochs=2), run.info['seed'], run.table
        )
        is None
    )
    info = Run(folder).info
    info['recipe']['title'] = 'Better said'
    info['seed'] = 7
    write_info(folder, info)
    assert len(systems([run, Run(folder)])) == 1


@pytest.mark.parametrize(
    'spoil',
    [
        lambda d: (d / 'metrics.json').unlink(),
        lambda d: (d / 'recipe.json').write_text('{"recipe": '),
        lambda d: (d / 'recipe.json').write_text('[]'),
        lambda d: (d / 'recipe.json').write_text(
            (d / 'recipe.json').read_text().replace('"finished"', '"interrupted"')
        ),
    ],
)
def test_half_a_run_is_no_finished_one(compared, tmp_path, spoil):
    import shutil

    run = compared[0][0]
    folder = tmp_path / run.name
    shutil.copytree(run.folder, folder)
    assert finished_run(tmp_path, QUICK, run.info['seed'], run.table).folder == folder
    spoil(folder)
    assert finished_run(tmp_path, QUICK, run.info['seed'], run.table) is None


@pytest.mark.parametrize('what', ['image', 'weights'])
def test_exchanged_files_are_no_finished_run(compared, films, tmp_path, what):
    """Images and weights that were replaced in place, by files as long as they were, under the same
    names.
    """
    import os
    import shutil

    own, images = tmp_path / 'weights', tmp_path / 'films'
    own.mkdir()
    (own / 'model.safetensors').write_bytes(b'one')
    shutil.copytree(films, images)
    table = split_table(read_table(images, patient=FILM_PATIENT), 'patient', 0.2, 0.2, 0)
    recipe = get_recipe('mobilenetv2', weights=str(own))
    folder, info = start_run(recipe, table, tmp_path / 'runs', seed=0)
    write_info(folder, info | dict(status='finished'))
    for n in ('predictions.csv', 'metrics.json', 'report.html', 'learner.pkl'):
        (folder / n).touch()
    assert finished_run(tmp_path / 'runs', recipe, 0, table).folder == folder
    f = own / 'model.safetensors' if what == 'weights' else Path(table.path[0])
    b = f.read_bytes()
    t = f.stat().st_mtime_ns
    f.write_bytes(b[:-1] + bytes([b[-1] ^ 1]))
    os.utime(f, ns=(t, t + 1))
    assert f.stat().st_size == len(b)
    assert finished_run(tmp_path / 'runs', recipe, 0, table) is None


def test_standings_against_the_parts(compared):
    """Pooled accuracy is the mean of the seeds; differences are those of `compare` on the pooled
    predictions, p is Holm's.
    """
    runs = compared[0]
    s = standings(runs).dropna(subset=['accuracy'])
    found = systems(runs)
    for name, r in s.iterrows():
        each = [q.metrics['accuracy']['value'] for q in found[name]]
        assert (
            r.accuracy == pytest.approx(np.mean(each))
            and (r.accuracy_lowest, r.accuracy_highest) == (min(each), max(each))
            and r.n == sum(q.metrics['n'] for q in found[name])
        )
        m = score(pooled(found[name]))
        assert all(
            r[f'{k}{e}'] == pytest.approx(m[k][p], nan_ok=True)
            for k in METRICS
            for e, p in (('', 'value'), ('_low', 'low'), ('_high', 'high'))
            if m[k][p] is not None
        )
    a, b = (pooled(found[n]) for n in s.index[:2])
    c = compare(a, b)
    assert (s.difference.iloc[1], s.difference_low.iloc[1], s.difference_high.iloc[1]) == (
        c.difference,
        c.low,
        c.high,
    ) and s.p.iloc[1] == pytest.approx(holm([c.p])[0])


@pytest.mark.parametrize('seeds', [1, 2, 3])
def test_the_same_predictions_three_times_say_no_more(seeds):
    "An image that is predicted alike from every seed counts once in the interval."
    rng = np.random.default_rng(0)
    y = rng.choice(['a', 'b'], 200)
    p = np.where(rng.random(200) < 0.9, y, np.where(y == 'a', 'b', 'a'))
    t = pd.DataFrame(
        dict(
            path=[f'{i}.png' for i in range(200)],
            label=y,
            patient=np.nan,
            split='test',
            pred=p,
            p_a=(p == 'a') * 0.8 + 0.1,
            p_b=(p == 'b') * 0.8 + 0.1,
        )
    )

    class One:
        def __init__(self, seed):
            self.predictions, self.folder, self.name, self.info = (
                t,
                os.devnull,
                f'r{seed}',
                dict(seed=seed, recipe=dict(name='x')),
            )

    once, more = score(t), score(pooled([One(s) for s in range(seeds)]))

    def width(m):
        return m['accuracy']['high'] - m['accuracy']['low']

    assert (
        more['accuracy']['value'] == pytest.approx(once['accuracy']['value'])
        and more['n'] == 200 * seeds
        and abs(width(more) - width(once)) < 0.15 * width(once)
    )


@pytest.fixture
def youden():
    "A measure of somebody's own, from -1 to 1, gone after the test."

    @register_metric(title="Youden's J", low=-1)
    def youden(labels, predicted, probabilities, weights):
        ill, called = labels == 0, predicted == 0
        sensitivity = weights[ill & called].sum() / weights[ill].sum()
        return sensitivity + weights[~ill & ~called].sum() / weights[~ill].sum() - 1

    yield 'youden'
    METRICS.pop('youden', None)


def drawn_run(folder, seed=0):
    "A run folder of two classes and 60 images, whose metrics.json knows the papers' measures only."
    rng = np.random.default_rng(seed)
    y = rng.choice(['a', 'b'], 60)
    p = np.clip(np.where(y == 'a', 0.6, 0.4) + rng.normal(0, 0.2, 60), 0.01, 0.99)
    t = pd.DataFrame(dict(path=[f'{i}.png' for i in range(60)], label=y, patient='', split='test'))
    t = t.assign(pred=np.where(p > 0.5, 'a', 'b'), p_a=p, p_b=1 - p)
    folder.mkdir(parents=True)
    write_info(
        folder,
        dict(
            name=folder.name,
            recipe=dict(name=folder.name, arch=folder.name, kind='network'),
            seed=seed,
            split=dict(method='group'),
            status='finished',
            model=dict(total=9),
            seconds=dict(train=1.0, images_per_second=5.0),
        ),
    )
    t.to_csv(folder / 'predictions.csv', index=False)
    known = {k: METRICS.pop(k) for k in ['youden'] if k in METRICS}
    (folder / 'metrics.json').write_text(json.dumps(score(t.assign(patient=pd.NA))))
    METRICS.update(known)
    return Run(folder)


def test_a_measure_of_ones_own_is_a_column(tmp_path, youden):
    "Of one run and of several, as number, in words and as bars; computed for runs judged before."
    runs = Runs([drawn_run(tmp_path / name, seed) for seed, name in enumerate(('one', 'two'))])
    assert 'youden' not in runs[0].metrics
    s, board = standings(runs), leaderboard(runs)
    for run in runs:
        m = score(run.predictions.assign(patient=pd.NA))['youden']
        row = s.loc[run.folder.name]
        assert (row.youden, row.youden_low, row.youden_high) == pytest.approx(
            (m['value'], m['low'], m['high'])
        )
        assert board.youden[run.folder.name].startswith(f'{m["value"]:.3f} (')
    assert list(board.columns).index('youden') == list(board.columns).index('ece') + 1
    assert plot_standings(runs, 'youden').axes[0].get_xlabel() == "Youden's J"
    pair = pooled([runs[0]])
    assert compare(pair, pair, 'youden', resamples=20, flips=10).difference == 0


def test_what_was_never_measured_is_a_dash(tmp_path, youden):
    "A run without its predictions cannot be judged again; the table says –, and nothing is an error."
    run = drawn_run(tmp_path / 'one')
    (run.folder / 'predictions.csv').unlink()
    assert metrics_of([run]) == run.metrics
    assert leaderboard([run]).youden.tolist() == ['–'] and 'youden' not in standings([run])
    with pytest.raises(RunError, match='no finished run to draw'):
        plot_standings([run], 'youden')


def test_failures_alone_are_no_bars():
    "What could not be trained has no accuracy: an error that says so, not one about a column."
    failed = [dict(recipe='effb3', seed=0, fold=None, error='weights cannot be had')]
    with pytest.raises(RunError, match='no finished run to draw'):
        plot_standings(Runs([], failed=failed))


def test_areas_over_folds_are_each_models_own():
    """One model says the same as another, only more cautiously: put together, their pictures would
    be ordered wrongly.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(1)
    y = rng.choice(['a', 'b', 'c'], 400, p=[0.5, 0.3, 0.2])
    z = rng.normal(size=(400, 3)) + 1.5 * np.equal.outer(y, ['a', 'b', 'c'])
    z[200:] = 0.2 * z[200:] + [0, 0, 2]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    t = pd.DataFrame(
        dict(
            path=[f'{i}.png' for i in range(400)],
            label=y,
            patient=np.nan,
            split='test',
            pred=np.array(['a', 'b', 'c'])[p.argmax(1)],
            p_a=p[:, 0],
            p_b=p[:, 1],
            p_c=p[:, 2],
        )
    )
    halves = t[:200], t[200:].reset_index(drop=True)

    class Fold:
        def __init__(self, k):
            self.predictions, self.folder, self.name, self.info = (
                halves[k],
                os.devnull,
                f'r{k}',
                dict(seed=0, fold=k, recipe=dict(name='x')),
            )

    both = score(pooled([Fold(0), Fold(1)]))
    each = [h.filter(like='p_').to_numpy() for h in halves]
    assert (
        both['auroc']['value']
        == pytest.approx(
            np.mean([roc_auc_score(h.label, q, multi_class='ovr') for h, q in zip(halves, each)])
        )
        and both['auroc']['value'] > score(t)['auroc']['value'] + 0.03
    )
    for i, c in enumerate('abc'):
        assert both['per_class'][c]['average_precision']['value'] == pytest.approx(
            np.mean([average_precision_score(h.label == c, q[:, i]) for h, q in zip(halves, each)])
        )
    assert both['auroc']['low'] < both['auroc']['value'] < both['auroc']['high'] and all(
        both[k] == score(t)[k] for k in ('accuracy', 'kappa', 'log_loss', 'ece')
    )


@pytest.mark.usefixtures('no_plots')
def test_who_comes_second_pays_for_its_features_too(films, tmp_path, monkeypatch):
    """Two systems on the same features: the second reads what the first computed, and its row says
    what that took.
    """
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    runs = train_all(
        films,
        ['p3-naive-bayes', 'p3-knn'],
        patient=FILM_PATIENT,
        out=str(tmp_path / 'runs'),
        progress=False,
    )
    first, second = (r.info['seconds'] for r in runs)
    assert first['remembered'] == 0 < second['remembered'] <= first['train'] + 0.05
    for r in runs:
        assert runs.standings.train_seconds[r.name] == pytest.approx(
            r.info['seconds']['train'] + r.info['seconds']['remembered'], abs=0.02
        )
    assert (
        'features from the cache' in (runs[1].folder / 'report.html').read_text()
        and 'features from the cache' not in (runs[0].folder / 'report.html').read_text()
    )


@pytest.mark.usefixtures('no_plots')
def test_every_image_is_tested_once_in_folds(films, tmp_path):
    runs = train_all(
        films,
        [QUICK, 'p3-naive-bayes'],
        patient=FILM_PATIENT,
        out=str(tmp_path),
        folds=3,
        valid_pct=0.1,
        progress=False,
    )
    everything = sorted(read_table(films).path)
    for rs in systems(runs).values():
        assert (
            sorted(pooled(rs).path) == everything
            and [r.info['fold'] for r in rs] == [0, 1, 2]
            and all(r.info['split']['shared_patients'] == 0 for r in rs)
        )
    s = runs.standings
    assert (
        (s.folds == 3).all()
        and (s.n == len(everything)).all()
        and s.difference.notna().sum() == 1
        and runs.leaderboard.judged_on.str.contains('in 3 folds').all()
    )
    with pytest.raises(LeukoError, match='folds=99'):
        train_all(films, QUICK, patient=FILM_PATIENT, out=str(tmp_path), folds=99, progress=False)


def test_words_stand_for_papers():
    names = set(recipes().index)
    for paper in ('p1', 'p2', 'p3', 'p4'):
        assert {r.name for r in recipes_named(paper)} == {
            s['name'] for s in PAPER_SYSTEMS if s['paper'].lower() == paper
        }
    assert (
        {r.name for r in recipes_named('all')} == names
        and {r.name for r in recipes_named(['p1', 'p2', 'p3', 'p4', 'ours'])} == names
        and not set(GROUPS) & names
    )
    assert [r.epochs for r in recipes_named('p4', epochs=2)] == [2] and {
        r.kind for r in recipes_named('classical')
    } == {'classical'}
    with pytest.raises(RunError, match='Did you mean'):
        recipes_named(['p3', 'efb3'])


def test_what_was_changed_is_said():
    "A recipe with fewer epochs is no longer the paper's; one with its weights from a folder is."

    def notes(**changes):
        return ' '.join(Reproduction('p4', Runs(), Runs(), recipes_named('p4', **changes)).notes)

    assert (
        'The paper augments each image before it is divided; here training images alone are'
        ' augmented' in ' '.join(Reproduction('p2', Runs(), Runs(), recipes_named('p2')).notes)
    )
    assert (
        "Changed: size=32, epochs=1. What is changed is no longer the paper's system."
        in notes(epochs=1, size=32, weights='folder')
        and 'Changed' not in notes(weights='folder') + notes()
        and 'Changed: weights=none.' in notes(weights='none')
    )


def test_weights_are_for_those_that_begin_with_some():
    """One folder for a group: networks of their own and classical systems start as their recipes
    say; alone, or with another `arch`, what is asked for counts.
    """
    found = {r.name: r.weights for r in recipes_named(['p3', 'small-cnn'], weights='folder')}
    assert found.pop('p3-vgg16') == found.pop('p3-hybrid') == 'folder' and set(found.values()) == {
        'none'
    }
    assert recipes_named('modified-cnn', weights='folder')[0].weights == 'folder' and {
        r.weights
        for r in recipes_named(['modified-cnn', 'small-cnn'], arch='resnet10t', weights='folder')
    } == {'folder'}


@pytest.mark.usefixtures('no_plots')
def test_too_few_images_for_one_system_are_its_line(tmp_path):
    "Five neighbours of three images: a sentence in its row, and the others go on."
    runs = train_all(
        draw_films(tmp_path / 'films', patients=3, images=1, size=40),
        ['p3-knn', 'p3-naive-bayes'],
        patient=FILM_PATIENT,
        size=32,
        test_pct=0.34,
        valid_pct=0.33,
        out=str(tmp_path / 'runs'),
        progress=False,
    )
    assert (
        [r.recipe.name for r in runs] == ['p3-naive-bayes']
        and 'cannot learn from' in runs.failed[0]['error']
        and runs.failed[0]['recipe'] == 'p3-knn'
    )


def test_a_programming_error_is_not_swallowed(films, tmp_path, monkeypatch):
    import leukocls.runs.experiment as t

    monkeypatch.setattr(t, 'train', lambda *a, **k: (_ for _ in ()).throw(TypeError('ours')))
    with pytest.raises(TypeError, match='ours'):
        train_all(
            films, [QUICK, 'modified-cnn'], patient=FILM_PATIENT, out=str(tmp_path), progress=False
        )


def test_ctrl_c_keeps_what_there_is(films, tmp_path, monkeypatch):
    import leukocls.runs.experiment as t

    real, calls = t.train, []

    def stopped(*a, **k):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*a, **k)

    monkeypatch.setattr(t, 'train', stopped)
    runs = train_all(
        films,
        ['p3-naive-bayes', QUICK, 'p3-decision-tree'],
        patient=FILM_PATIENT,
        out=str(tmp_path),
        progress=False,
    )
    assert len(runs) == 1 and len(calls) == 2 and not runs.failed


@pytest.mark.parametrize('metric', METRICS)
def test_bars_start_at_nothing(compared, metric):
    fig = plot_standings(compared[0], metric)
    ax = fig.axes[0]
    assert (
        len(ax.patches) == 2 and ax.get_xlim()[0] == 0 and all(b.get_x() == 0 for b in ax.patches)
    )
    fig.canvas.draw()


def test_reproduce_tells_what_could_not_be_trained(films, tmp_path):
    found = reproduce(
        'p3',
        films,
        out=str(tmp_path),
        recipes=['p3-naive-bayes', 'p3-hybrid'],
        patient=FILM_PATIENT,
        progress=False,
    )
    t = found.table
    assert (
        t.loc[('p3-hybrid', 'accuracy'), 'published'] == '97.18 %'
        and t.loc[('p3-hybrid', 'accuracy'), 'honest'] == 'failed'
        and sum(n.startswith('p3-hybrid failed: ') for n in found.notes) == 1
        and '%' in t.loc[('p3-naive-bayes', 'f1'), 'repeated']
    )
    repeated, honest = found.repeated[0], found.honest[0]
    assert (
        repeated.metrics['split'] == 'valid'
        and honest.metrics['split'] == 'test'
        and repeated.info['split']['method'] == 'random'
        and honest.info['split']['method'] == 'patient'
        and '<table' in found._repr_html_()
    )


def test_reproduce_tells_when_nothing_could_be_trained(films, tmp_path):
    with pytest.raises(RunError, match="Nothing of p3 could be trained. First: .*nowhere"):
        reproduce(
            'p3',
            films,
            out=str(tmp_path),
            recipes=['p3-vgg16'],
            weights='nowhere',
            patient=FILM_PATIENT,
            progress=False,
        )


def test_reproduce_gives_each_its_own_reason(films, tmp_path):
    """All of them fail, each for another reason; what is published of an area under a curve is in
    the unit of ours.
    """
    found = Reproduction(
        'p3',
        train_all(
            films,
            ['p3-naive-bayes'],
            patient=FILM_PATIENT,
            size=32,
            out=str(tmp_path / 'a'),
            progress=False,
        ),
        _runs_of(
            films,
            [
                get_recipe('p3-vgg16', weights='nowhere'),
                get_recipe('p3-hybrid', arch='resnt18+resnet18'),
            ],
            str(tmp_path / 'b'),
            dict(seed=42, progress=False),
        ),
        [get_recipe('p3-vgg16'), get_recipe('p3-hybrid'), get_recipe('effb3')],
    )
    t = found.table.honest
    said = [n for n in found.notes if ' failed: ' in n]
    assert (
        (t['p3-vgg16', 'accuracy'], t['p3-hybrid', 'accuracy']) == ('failed', 'failed')
        and len(said) == 2
        and 'nowhere' in said[0]
        and 'resnt18' in said[1]
        and max(map(len, str(found).split('\n\n')[0].splitlines())) < 120
        and found.table.published['effb3', 'auroc'] == '1'
        and t['effb3', 'auroc'] == 'not run'
    )


@pytest.mark.usefixtures('no_plots')
def test_two_variants_of_one_recipe_keep_their_own_figures(films, tmp_path):
    variants = [get_recipe('p3-knn', size=16), get_recipe('p3-knn'), get_recipe('p3-knn', size=8)]
    found = reproduce(
        'p3', films, out=str(tmp_path), recipes=variants, patient=FILM_PATIENT, progress=False
    )
    t = found.table
    assert [n for n, _ in t.index] == [
        'p3-knn (size=16)',
        'p3-knn (as it stands)',
        'p3-knn (size=8)',
    ] and any('p3-knn: size=16; p3-knn: size=8' in n for n in found.notes)
    for v, half, column in (
        (v, h, c)
        for v in variants
        for h, c in ((found.repeated, 'repeated'), (found.honest, 'honest'))
    ):
        (run,) = [r for r in half if r.recipe.size == v.size]
        assert (
            t[column]
            .iloc[variants.index(v)]
            .startswith(f"{100 * run.metrics['accuracy']['value']:.1f} %")
        )


@pytest.mark.usefixtures('no_plots')
def test_fewer_seeds_are_compared_on_those_that_both_have(films, tmp_path):
    runs = train_all(
        films,
        ['p3-naive-bayes', 'p3-random-forest', 'p3-knn'],
        patient=FILM_PATIENT,
        size=32,
        out=str(tmp_path),
        seeds=(0, 1),
        progress=False,
    )
    few = Runs([r for r in runs if (r.recipe.name, r.info['seed']) != ('p3-random-forest', 1)])
    s = few.standings
    assert s.difference.notna().sum() == 2 and 'other images' not in set(few.leaderboard.from_best)

    def of(n, k=None):
        return pooled([r for r in few if r.recipe.name == n and k in (None, r.info['seed'])])

    names = [s.loc[i, 'recipe'] for i in s.index]
    for i, n in zip(s.index[1:], names[1:]):
        short = 'p3-random-forest' in (names[0], n)
        c = compare(of(names[0], 0 if short else None), of(n, 0 if short else None))
        assert s.loc[i, 'difference'] == pytest.approx(c.difference)


def test_a_folder_of_weights_on_the_shell_is_for_those_that_begin_with_some(
    films, local_weights, tmp_path
):
    got = leukocls(
        *['train', films, '--recipe', 'modified-cnn', '--recipe', 'p3-knn'],
        *['--weights', local_weights, '--epochs', 1, '--size', 32],
        *['--patient', FILM_PATIENT, '--out', 'r'],
        cwd=tmp_path,
    )
    assert got.returncode == 0, got.stderr
    t = pd.read_csv(tmp_path / 'r/leaderboard.csv')
    assert set(t.status) == {'finished'} and not t.changed.str.contains('weights').any()


def test_words_in_capitals_and_nothing(films, tmp_path):
    assert [r.name for r in recipes_named(['P4', 'P3-SVM'])] == ['effb3', 'p3-svm']
    with pytest.raises(RunError, match='several'):
        recipes_named('p5')
    with pytest.raises(RunError, match='recipes is empty'):
        train_all(films, None, out=str(tmp_path))
    with pytest.raises(RunError, match='Write folds=5'):
        train_all(films, QUICK, out=str(tmp_path), folds=2.5)
    with pytest.raises(RunError, match='bs of 2 or more'):
        train_all(
            films, get_recipe('p2-cml1', size=32, bs=1, epochs=1), out=str(tmp_path), progress=False
        )


def test_reproduce_marks_what_broke_off(films, tmp_path):
    lost = dataclasses.replace(QUICK, lr=1e30, schedule='flat')
    runs = train_all(
        films,
        [lost, 'p3-naive-bayes'],
        patient=FILM_PATIENT,
        out=str(tmp_path),
        progress=False,
        repeat=True,
    )
    t = Reproduction('p3', runs, Runs(), [lost, get_recipe('p3-naive-bayes')]).table.repeated
    assert (
        t['small-cnn', 'accuracy'].endswith(' (diverged)')
        and t['p3-naive-bayes', 'accuracy'].endswith(')')
        and 'diverged' not in t['p3-naive-bayes', 'accuracy']
    )


def test_ctrl_c_ends_reproducing(films, tmp_path, monkeypatch, capsys):
    "The honest part is not begun; on the shell the table of what there is, and 130."
    import leukocls.runs.experiment as t
    from leukocls.cli.commands import main

    real, begun = t.start_run, []

    def start(recipe, *args):
        begun.append(recipe.name)
        if recipe.name == 'p3-decision-tree':
            raise KeyboardInterrupt
        return real(recipe, *args)

    monkeypatch.setattr(t, 'start_run', start)
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'leukocls',
            'reproduce',
            'p3',
            str(films),
            '--recipe',
            'p3-naive-bayes',
            '--recipe',
            'p3-decision-tree',
            '--patient',
            FILM_PATIENT,
            '--size',
            '32',
            '--out',
            str(tmp_path),
        ],
    )
    with pytest.raises(SystemExit) as e:
        main()
    said = capsys.readouterr()
    assert (
        e.value.code == 130
        and begun == ['p3-naive-bayes', 'p3-decision-tree']
        and 'not run' in said.out
        and 'Interrupted.' in said.err
    )
    with pytest.raises(KeyboardInterrupt):
        reproduce(
            'p3',
            films,
            out=str(tmp_path / 'b'),
            recipes=['p3-decision-tree'],
            patient=FILM_PATIENT,
            progress=False,
        )


@pytest.mark.usefixtures('no_plots')
def test_the_shell_compares_and_reproduces(films, tmp_path):
    got = leukocls(
        'train',
        str(films),
        '--recipe',
        'p3-naive-bayes',
        '--recipe',
        'p3-decision-tree',
        '--recipe',
        'p3-knn',
        '--patient',
        FILM_PATIENT,
        '--seeds',
        '0,1',
        '--out',
        'r',
        cwd=tmp_path,
        plots=False,
    )
    assert got.returncode == 0, got.stderr
    assert (
        'from_best' in got.stdout
        and 'leaderboard.csv' in got.stdout
        and 'Not a medical device' in got.stdout
        and len(pd.read_csv(tmp_path / 'r/leaderboard.csv')) == 3
    )
    got = here(
        'reproduce',
        'p3',
        str(films),
        '--recipe',
        'p3-naive-bayes',
        '--patient',
        FILM_PATIENT,
        '--csv',
        tmp_path / 't.csv',
        '--out',
        tmp_path / 'r2',
    )
    assert got.returncode == 0, got.stderr
    assert (
        'published' in got.stdout
        and '74.6 %' in got.stdout
        and list(pd.read_csv(tmp_path / 't.csv').columns)
        == ['recipe', 'measure', 'published', 'repeated', 'honest']
    )
    got = here('train', str(films), '--seeds', 'x')
    assert (
        got.returncode == 2
        and 'Write them as 0,1,2' in got.stderr
        and 'Traceback' not in got.stderr
    )
    got = here('reproduce', 'p3', str(films), '--recipe', 'effb3')
    assert got.returncode == 2 and 'is not of paper p3' in got.stderr


@pytest.mark.usefixtures('no_plots')
def test_one_folder_of_weights_for_many_networks(films, local_weights, tmp_path):
    """A folder that holds a folder for each architecture: every system takes its own, two side by
    side take both, one without has its line; by content, so that other weights in the same place
    count as others.
    """
    import timm
    from safetensors.torch import save_file

    home = tmp_path / 'weights'
    shutil.copytree(local_weights, home / 'mobile')
    (home / 'res').mkdir()
    m = timm.create_model('test_resnet', num_classes=0)
    save_file(m.state_dict(), home / 'res' / 'model.safetensors')
    (home / 'res' / 'config.json').write_text(
        json.dumps(
            dict(
                architecture='test_resnet.r160_in1k',
                num_classes=0,
                pretrained_cfg=dict(
                    input_size=[3, 64, 64], mean=[0.5] * 3, std=[0.5] * 3, num_classes=0
                ),
            )
        )
    )
    (home / 'readme.txt').write_text('ours')
    (home / 'empty').mkdir()
    how = dict(
        weights=str(home),
        size=64,
        epochs=1,
        patience=0,
        out=str(tmp_path / 'runs'),
        progress=False,
        device='cpu',
    )
    recipes = [
        dataclasses.replace(get_recipe('mobilenetv2'), name=n, arch=a)
        for n, a in dict(
            a='test_efficientnet',
            b='test_resnet',
            both='test_efficientnet+test_resnet',
            none='resnet18',
        ).items()
    ] + [dataclasses.replace(get_recipe('probe'), arch='test_efficientnet')]
    runs = train_all(films, recipes, **how)
    assert [
        (
            Path(r.recipe.weights).name
            if '+' not in r.recipe.weights
            else r.recipe.weights.count(str(home))
        )
        for r in runs
    ] == ['mobile', 'res', 2, 'mobile']
    assert (
        [f['recipe'] for f in runs.failed] == ['none']
        and 'holds weights of test_efficientnet, test_resnet.r160_in1k, not of `resnet18`'
        in runs.failed[0]['error']
        and all(r.info['weights_contents'] for r in runs)
    )
    began = {r.folder: (r.folder / 'predictions.csv').stat().st_mtime_ns for r in runs}
    again = train_all(films, recipes[:2], **how)
    assert {
        r.folder: (r.folder / 'predictions.csv').stat().st_mtime_ns for r in again
    }.items() <= began.items()
    save_file(
        {k: v * 1.01 if v.is_floating_point() else v for k, v in m.state_dict().items()},
        home / 'res' / 'model.safetensors',
    )
    third = train_all(films, recipes[:2], **how)
    assert [r.folder in began for r in third] == [True, False]


@pytest.mark.usefixtures('no_plots')
def test_what_was_divided_otherwise_is_another_run(films, tmp_path):
    """The same sides by another rule, a fold that equals a single division: trained again, so that
    no run says of itself what was not asked for; and never one system.
    """

    two, how = (
        ['p3-naive-bayes', 'p3-decision-tree'],
        dict(patient=FILM_PATIENT, out=str(tmp_path / 'runs'), progress=False),
    )
    one = train_all(films, two, split='patient', valid_pct=0, test_pct=0.25, **how)
    folds = train_all(films, two, folds=4, **how)
    assert (
        {r.info['fold'] for r in one} == {None}
        and sorted(r.info['fold'] for r in folds) == [0, 0, 1, 1, 2, 2, 3, 3]
        and folds.leaderboard.judged_on.str.startswith('96 tests in 4 folds').all()
    )
    plain = tmp_path / 'plain'
    shutil.copytree(films, plain)
    for i, path in enumerate(sorted(plain.rglob('*.png'))):
        path.rename(path.parent / f'{path.parent.name}-{i}.png')
    how = dict(out=str(tmp_path / 'anonymous'), progress=False)
    a, b = (train_all(plain, two, split=s, **how) for s in ('random', 'group'))
    assert [r.info['split']['method'] for r in (*a, *b)] == ['random'] * 2 + ['group'] * 2 and len(
        set(r.folder for r in (*a, *b))
    ) == 4
    both = Runs([*a, *b])
    assert (
        len(systems(both)) == 4 and sorted(standings(both).split) == ['group'] * 2 + ['random'] * 2
    )
    assert (
        len(systems([*a, *a])) == 2 and standings([*a, *a]).n.tolist() == standings(a).n.tolist()
    )  # given twice, counted once


@pytest.mark.usefixtures('no_plots')
def test_runs_follow_images_that_were_moved(films, tmp_path):
    "Finished runs and new ones are paired although the folder was moved in between."
    first, second = tmp_path / 'a', tmp_path / 'b' / 'c'
    shutil.copytree(films, first)
    how = dict(patient=FILM_PATIENT, out=str(tmp_path / 'runs'), progress=False)
    two = ['p3-naive-bayes', 'p3-decision-tree']
    old = train_all(first, two, **how)
    before = [r.predictions.drop(columns='path') for r in old]
    second.parent.mkdir()
    first.rename(second)
    new = train_all(second, [*two, 'p3-knn'], **how)
    s = standings(new)
    assert (
        [r.folder for r in new][:2] == [r.folder for r in old]
        and s.difference.notna().sum() == 2
        and all(str(second) in p for r in new for p in (*r.predictions.path, *r.table.path))
    )
    for r, was in zip(new, before):
        pd.testing.assert_frame_equal(r.predictions.drop(columns='path'), was)
    apart = Runs(
        [
            old[0],
            *train_all(films, 'p3-knn', **how | dict(out=str(tmp_path / 'others')), split='random'),
        ]
    )
    assert 'other images' in set(apart.leaderboard.from_best)


def test_stars_keep_their_promise():
    """Six systems of equal skill, 400 tables: one in twenty has a star at most, although the first
    row was chosen by its figure.
    """
    from leukocls.measure.paired import mcnemar

    rng = np.random.default_rng(0)
    stars = old = 0
    for _ in range(400):
        hit = rng.random((6, 300)) < 0.9
        hit = hit[np.argsort(-hit.sum(1))]
        p = [mcnemar(int((hit[0] & ~h).sum()), int((h & ~hit[0]).sum())) for h in hit[1:]]
        stars += (holm(p + [1.0] * 10)[:5] < 0.05).any()
        old += (holm(p) < 0.05).any()
    assert stars <= 0.05 * 400 < old + 8, (stars, old)


def test_rows_of_a_table_follow_the_pairs(compared):
    "The p of a row allows for every pair of rows."
    s = standings(compared[0])
    two = s[s.p.notna()]
    assert len(two) == 1
    found = systems(compared[0])
    names = list(s.index[:2])
    c = compare(*(pooled(found[n]) for n in names))
    assert np.isclose(two.p.iloc[0], c.p)


def test_a_failed_variant_has_its_row(films, tmp_path):
    "Two recipes of one name, of which one cannot be trained: both are in the table."
    good = get_recipe('p3-naive-bayes')
    runs = train_all(
        films,
        [good, dataclasses.replace(good, arch='nope')],
        patient=FILM_PATIENT,
        out=str(tmp_path),
        progress=False,
    )
    assert (
        len(runs) == 1
        and len(runs.failed) == 1
        and runs.leaderboard.status.str.startswith('failed').tolist() == [False, True]
    )


@pytest.mark.usefixtures('no_plots')
def test_runs_are_found_again_from_another_folder(films, tmp_path, monkeypatch):
    "`out` is relative, and somebody changes directory: the same figures."
    monkeypatch.chdir(tmp_path)
    runs = train_all(
        films,
        ['p3-naive-bayes', 'p3-decision-tree'],
        patient=FILM_PATIENT,
        out='runs',
        progress=False,
    )
    before = standings(runs)
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    pd.testing.assert_frame_equal(standings(runs), before)
    assert standings(runs).megabytes.notna().all()


@pytest.mark.usefixtures('no_plots')
def test_a_leaderboard_that_cannot_be_written_loses_nothing(films, tmp_path, capsys):
    (tmp_path / 'leaderboard.png').mkdir()
    runs = train_all(
        films,
        ['p3-naive-bayes', 'p3-decision-tree'],
        patient=FILM_PATIENT,
        out=str(tmp_path),
        progress=False,
    )
    assert len(runs) == 2 and 'leaderboard is not written' in capsys.readouterr().err


@pytest.mark.usefixtures('no_plots')
def test_honest_is_honest_whatever_split_the_data_bring(films, tmp_path):
    "A table with sides of its own: the honest half does not take them."
    table = read_table(films, patient=FILM_PATIENT)
    table['split'] = pd.array(np.where(np.arange(len(table)) % 4, 'train', 'valid'), dtype='string')
    both = reproduce('p3', table, str(tmp_path), ['p3-naive-bayes'], progress=False)
    assert (
        both.honest[0].info['split']['method'] == 'patient'
        and both.honest[0].metrics['split'] == 'test'
    )
    nobody = reproduce(
        'p3', table.assign(patient=pd.NA), str(tmp_path / 'n'), ['p3-naive-bayes'], progress=False
    )
    assert nobody.honest[0].info['split']['method'] == 'group'


@pytest.mark.usefixtures('no_plots')
def test_a_run_without_its_learner_is_made_again(films, tmp_path):
    how = dict(patient=FILM_PATIENT, out=str(tmp_path), progress=False)
    runs = train_all(films, ['p3-naive-bayes', 'p3-decision-tree'], **how)
    (runs[0].folder / 'learner.pkl').unlink()
    old = json.loads((runs[1].folder / 'recipe.json').read_text())
    old['versions']['leukocls'] = '0.0.0'
    write_info(runs[1].folder, old)
    again = train_all(films, ['p3-naive-bayes', 'p3-decision-tree'], **how)
    assert not {r.folder for r in runs} & {r.folder for r in again} and all(
        (r.folder / 'learner.pkl').is_file() for r in again
    )


@pytest.mark.usefixtures('no_plots')
def test_seeds_are_whole_numbers(films, tmp_path):
    how = dict(patient=FILM_PATIENT, out=str(tmp_path), progress=False)
    a = train_all(films, 'p3-naive-bayes', seeds=np.arange(2), **how)
    b = train_all(films, 'p3-naive-bayes', seeds=[0, 1], **how)
    assert [r.folder for r in a] == [r.folder for r in b] and [r.info['seed'] for r in a] == [0, 1]
    for wrong in ('0,1', 1.5, [], -1, [0, 2**32]):
        with pytest.raises(RunError, match='seed'):
            train_all(films, 'p3-naive-bayes', seeds=wrong, **how)
    assert isinstance(a[:1], Runs) and len((a + b).leaderboard) == 1


def test_what_a_recipe_has_no_use_for_changes_it_not():
    "Epochs in a list of networks and classical systems are for the networks."
    got = {r.name: r for r in recipes_named(['small-cnn', 'p3-knn', 'probe'], epochs=3, bs=8)}
    assert (
        got['small-cnn'].epochs == 3
        and got['p3-knn'] == get_recipe('p3-knn')
        and got['probe'].epochs == get_recipe('probe').epochs
        and got['probe'].bs == 8
    )
    assert get_recipe('small-cnn', lr=(np.float64(1e-3), np.float64(1e-2))).lr == (1e-3, 1e-2)
    for name in ('a/b', '../x', '', '.hidden'):
        with pytest.raises(RunError, match='name of a folder'):
            get_recipe('small-cnn', name=name)
