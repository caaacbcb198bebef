import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback

from leukocls.core.errors import DataError, RunError
from leukocls.data.splits import split_table
from leukocls.measure.metrics import score
from leukocls.models.predictor import evaluate, open_pickle, predict_images
from leukocls.runs.experiment import Run, Runs, train, train_all
from leukocls.train.recipes import get_recipe


def assert_pickle_predicts_the_same(run):
    learn = open_pickle(run.folder / 'learner.pkl', trust=True)
    by_pickle = predict_images(learn, run.predictions.path)
    known = run.predictions.filter(like='p_')
    assert np.allclose(by_pickle.filter(like='p_'), known, atol=1e-5)


def test_run_folder_contract(run, files_of_every_run):
    files = {str(p.relative_to(run.folder)) for p in run.folder.rglob('*') if p.is_file()}
    assert files_of_every_run <= files
    assert {
        'plots/confusion.png',
        'plots/confusion_shares.png',
        'plots/roc.png',
        'plots/precision_recall.png',
        'plots/loss.png',
        'plots/accuracy.png',
        'plots/classes.png',
        'plots/batch.png',
        'plots/predictions.png',
        'plots/augmented.png',
        'plots/seen.png',
    } <= files
    assert not [f for f in files if os.path.basename(f).startswith('.')]
    assert (
        list(run.predictions.columns)[:5] == ['path', 'label', 'patient', 'split', 'pred']
        and len(run.history) == 2
    )
    assert (
        {'recipe', 'seed', 'versions', 'data', 'split'} <= set(run.info)
        and run.info['data']['fingerprint']
        and run.info['status'] == 'finished'
    )


def test_report_shows_training_images_before_and_after_augmentation(run, monkeypatch):
    "P2's exploratory plots, of the training side alone; drawing them takes no random number."
    import leukocls.report.page as report

    shown = {}
    monkeypatch.setattr(
        report,
        'plot_augmented',
        lambda paths, labels, augment, pixels, stamp: shown.update(
            paths=paths, labels=labels, augment=augment, pixels=pixels
        ),
    )
    monkeypatch.setattr(
        report,
        'plot_seen',
        lambda table, epochs, stamp, networks, of: shown.update(table=table, epochs=epochs),
    )
    train = run.table[run.table.split == 'train']
    report._augmented(run.info['recipe'], train, len(run.history), '')
    r = run.info['recipe']
    assert (
        set(shown['paths']) <= set(train.path)
        and shown['labels'] == sorted(set(train.label))[:8]
        and shown['augment'] == r['augment'] == 'turns'
        and shown['pixels'].size == r['size']
    )
    assert shown['epochs'] == 2 and list(shown['table'].path) == list(train.path)
    monkeypatch.undo()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    report._augmented(r, train, 2, '')
    assert (
        torch.equal(torch.get_rng_state(), states[0])
        and random.getstate() == states[1]
        and (np.random.get_state()[1] == states[2]).all()
    )
    gone = train.assign(path='gone.png')
    assert list(
        report._augmented({**r, 'grey': True, 'median': 3, 'augment': 'p2'}, gone, 2, '')
    ) == [
        'augmented',
        'seen',
    ]  # as for other pictures: grey where the file is gone


def test_metrics_are_those_of_the_predictions(run):
    p = run.predictions
    assert (
        score(p[p.split == 'test'])['accuracy'] == run.metrics['accuracy']
        and run.metrics['split'] == 'test'
    )
    assert set(p.split) == {'valid', 'test'} and len(p) == (run.table.split != 'train').sum()


def test_learner_pickle_bundle_weights_and_predictions_agree(run):
    """Four ways to the same numbers: what was written, the learner in memory, the pickle, the
    rebuilt one.
    """
    p = run.predictions
    want = p.filter(like='p_').to_numpy()
    for learn in (
        run.learner,
        open_pickle(run.folder / 'learner.pkl', trust=True),
        Run(run.folder).learner,
    ):
        assert np.allclose(
            predict_images(learn, p.path).filter(like='p_').to_numpy(), want, atol=1e-5
        )


@pytest.mark.usefixtures('no_plots')
def test_best_epoch_is_what_is_exported(table, quick, tmp_path):
    """With a rate that ruins the second half of training, the exported weights are those of the
    epoch with the lowest loss.
    """
    run = train(
        quick,
        split_table(table),
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=6,
        lr=0.02,
        schedule='flat',
    )
    v = run.predictions[run.predictions.split == 'valid']
    best = run.history.valid_loss.idxmin()
    assert run.info['kept_epoch'] == best + 1
    own = v.apply(lambda r: r[f'p_{r.label}'], axis=1)
    assert -np.log(own.clip(1e-12)).mean() == pytest.approx(run.history.valid_loss[best], rel=0.02)
    assert best < 5, 'the last epoch was the best: the test shows nothing'


@pytest.mark.usefixtures('no_plots')
def test_same_seed_same_result(table, quick, tmp_path):
    a, b, c = (
        train(
            quick, split_table(table), out=tmp_path, progress=False, device='cpu', seed=s, epochs=1
        )
        .predictions.filter(like='p_')
        .to_numpy()
        for s in (1, 1, 2)
    )
    assert np.array_equal(a, b) and not np.allclose(a, c)


@pytest.mark.usefixtures('no_plots')
def test_a_run_never_overwrites(table, quick, tmp_path, run):
    names = [
        train(quick, split_table(table), out=tmp_path, progress=False, device='cpu', epochs=1).name
        for _ in range(2)
    ]
    assert names == ['small-cnn-seed42', 'small-cnn-seed42-2']


def test_two_sided_split_is_labelled(table, quick, tmp_path):
    run = train(
        quick,
        split_table(table, valid_pct=0.2, test_pct=0),
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=1,
    )
    assert (
        run.metrics['split'] == 'valid'
        and any('too good' in n for n in run.info['notes'])
        and 'too good' in (run.folder / 'report.html').read_text()
    )


def test_train_and_test_only_keeps_the_last_epoch(table, quick, tmp_path):
    t = split_table(table, valid_pct=0, test_pct=0.2)
    run = train(quick, t, out=tmp_path, progress=False, device='cpu')
    assert (
        run.info['kept_epoch'] == 2
        and run.metrics['split'] == 'test'
        and any('nothing was chosen' in n for n in run.info['notes'])
    )


def test_held_out_side_lacks_a_class(table, quick, tmp_path, capsys):
    t = split_table(table)
    t = t[~((t.label == 'Pro') & (t.split != 'train'))].reset_index(drop=True)
    run = train(quick, t, out=tmp_path, progress=False, device='cpu', epochs=1)
    assert (
        'No held-out image of Pro' in capsys.readouterr().err
        and run.metrics['per_class']['Pro']['recall']['value'] is None
        and 'not defined' in (run.folder / 'report.html').read_text()
    )


def test_lr_find_is_kept(table, quick, tmp_path):
    from dataclasses import replace

    run = train(
        replace(quick, lr=None, epochs=1),
        split_table(table),
        out=tmp_path,
        progress=False,
        device='cpu',
    )
    assert (
        (run.folder / 'lr_find.csv').exists()
        and (run.folder / 'plots' / 'lr_find.png').exists()
        and 0 < run.info['lr_found'] < 10
        and not (run.folder / 'models').exists()
    )


def test_keras_adam_is_keras_adam():
    """Against PyTorch's Adam with Keras' constants, five steps; fastai's own constants give
    something else.
    """
    from functools import partial

    from leukocls.train.network import ADAM_SETTINGS
    from leukocls.train.speed import list_adam

    torch.manual_seed(0)
    start, grads, ends = torch.randn(7), torch.randn(5, 7) * 1e-4, {}
    for name, make in dict(
        torch=lambda p: torch.optim.Adam(p, 1e-3, (0.9, 0.999), 1e-7),
        **{k: partial(list_adam, lr=1e-3, wd=0.0, **v) for k, v in ADAM_SETTINGS.items()},
    ).items():
        p = torch.nn.Parameter(start.clone())
        opt = make([p])
        for g in grads:
            p.grad = g.clone()
            opt.step()
        ends[name] = p.detach()
    assert (
        torch.allclose(ends['keras-adam'], ends['torch'], atol=1e-7)
        and (ends['adam'] - ends['torch']).abs().max() > 1e-5
    )


def test_early_stopping(table, quick, tmp_path):
    run = train(
        quick,
        split_table(table),
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=60,
        patience=1,
        lr=0.3,
        schedule='flat',
    )
    assert len(run.history) < 60


def test_diverging_loss(table, quick, tmp_path):
    with pytest.raises(RunError, match=r'batch \d+ of \d+.*Try a lower learning rate') as e:
        train(
            quick,
            split_table(table),
            out=tmp_path,
            progress=False,
            device='cpu',
            lr=1e30,
            schedule='flat',
        )
    run = e.value.run
    assert (
        run.info['status'] == 'diverged'
        and np.isfinite(run.predictions.filter(like='p_').to_numpy()).all()
        and (run.folder / 'learner.pkl').exists()
    )


def test_one_failing_recipe_does_not_stop_the_others(films, quick, tmp_path, capsys):
    from dataclasses import replace

    from leukocls.data.films import FILM_PATIENT

    runs = train_all(
        films,
        [replace(quick, name='explodes', lr=1e30, schedule='flat'), quick],
        patient=FILM_PATIENT,
        out=tmp_path,
        progress=False,
        device='cpu',
    )
    assert [r.info['status'] for r in runs] == [
        'diverged',
        'finished',
    ] and 'explodes: The loss became' in capsys.readouterr().err
    board = runs.leaderboard
    assert (
        board.status.tolist() == ['finished', 'diverged']
        and board.index[0] == runs[1].name
        and board.accuracy.str.endswith(')').all()
        and runs.best.name == runs[1].name
    )
    assert (
        pd.read_csv(tmp_path / 'leaderboard.csv').status.tolist() == ['finished', 'diverged']
        and (tmp_path / 'leaderboard.png').stat().st_size > 5000
    )


def stopped_at(monkeypatch, name):
    "Ctrl-C the moment that one recipe begins."
    import leukocls.runs.experiment as t

    old = t.start_run

    def start(recipe, *args):
        if recipe.name == name:
            raise KeyboardInterrupt
        return old(recipe, *args)

    monkeypatch.setattr(t, 'start_run', start)


@pytest.mark.usefixtures('no_plots')
def test_interrupted_between_runs(films, quick, tmp_path, monkeypatch):
    """What is finished comes back and says that others were not begun; where nothing is, the
    interrupt goes on to whoever asked.
    """
    from leukocls.data.films import FILM_PATIENT

    how = dict(patient=FILM_PATIENT, out=tmp_path, progress=False, device='cpu', epochs=1)
    stopped_at(monkeypatch, 'modified-cnn')
    runs = train_all(films, [quick, 'modified-cnn', 'p3-knn'], **how)
    assert runs.interrupted and [r.recipe.name for r in runs] == [quick.name] and not runs.failed
    with pytest.raises(KeyboardInterrupt):
        train_all(films, ['modified-cnn', quick], **how)


@pytest.mark.usefixtures('no_plots')
def test_interrupted_on_the_shell(films, tmp_path, monkeypatch, capsys):
    from leukocls.cli.commands import main
    from leukocls.data.films import FILM_PATIENT

    stopped_at(monkeypatch, 'p3-knn')
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'leukocls',
            'train',
            str(films),
            '--recipe',
            'p3-naive-bayes',
            '--recipe',
            'p3-knn',
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
    assert e.value.code == 130 and 'Interrupted.' in said.err and 'naive-bayes' in said.out


def test_error_in_the_middle_keeps_the_epochs_before(table, quick, tmp_path, monkeypatch):
    """The disk with the images goes away, the GPU runs out of memory: what was learned is saved
    first.
    """
    import leukocls.train.callbacks as cb

    old = cb.History.before_epoch

    def later(self):
        if len(self.rows) == 1:
            raise RuntimeError('CUDA out of memory')
        old(self)

    monkeypatch.setattr(cb.History, 'before_epoch', later)
    with pytest.raises(RunError, match=r'(?s)epoch 2: RuntimeError: .*CUDA out of memory') as e:
        train(quick, split_table(table), out=tmp_path, progress=False, device='cpu')
    assert e.value.run.info['kept_epoch'] == 1 and (e.value.run.folder / 'learner.pkl').exists()
    monkeypatch.setattr(cb.History, 'before_epoch', lambda self: 1 / 0)
    with pytest.raises(RunError, match='Nothing was learned yet'):
        train(quick, split_table(table), out=tmp_path / 'second', progress=False, device='cpu')
    assert not any((tmp_path / 'second').iterdir())


@pytest.mark.usefixtures('no_plots')
def test_an_ensemble_is_the_mean_of_its_networks(table, quick, tmp_path, monkeypatch):
    """Each network left out another part of the training images, nobody's images on both sides; the
    validation images decide nothing; the mean is what is written, and what is rebuilt.
    """
    import leukocls.train.network as fit
    from leukocls.measure.explanation import heat_of
    from leukocls.models.networks import members_of

    seen, old = [], fit.prepare_fit
    monkeypatch.setattr(
        fit, 'prepare_fit', lambda recipe, t, device: (seen.append(t), old(recipe, t, device))[1]
    )
    whole = split_table(table)
    r = train(quick, whole, out=tmp_path, progress=False, device='cpu', members=3)
    sides = whole.set_index('path').split
    inner = seen[1:]
    assert len(inner) == 3 and all(
        set(sides[t.path]) == {'train'}
        and not set(t.patient[t.split == 'train']) & set(t.patient[t.split == 'valid'])
        for t in inner
    )
    assert sorted(p for t in inner for p in t.path[t.split == 'valid']) == sorted(
        sides.index[sides == 'train']
    ) and [m['valid'] for m in r.info['members']] == [(t.split == 'valid').sum() for t in inner]
    nets, few = members_of(r.learner.model), r.predictions.path[:5]
    alone = []
    for m in nets:
        r.learner.model = m
        alone.append(predict_images(r.learner, few).filter(like='p_').to_numpy())
    want = r.predictions.filter(like='p_').to_numpy()[:5]
    assert np.allclose(np.mean(alone, 0), want, atol=1e-5) and not np.allclose(
        alone[0], alone[1], atol=1e-4
    )
    again = Run(r.folder)
    assert np.allclose(
        predict_images(again.learner, few).filter(like='p_').to_numpy(), want, atol=1e-5
    ) and again.info['model']['total'] == 3 * sum(p.numel() for p in nets[0].parameters())
    assert len(pd.read_csv(r.folder / 'members.csv')) == 6 and np.allclose(
        again.history.valid_loss,
        pd.read_csv(r.folder / 'members.csv').groupby('epoch').valid_loss.mean(),
    )
    assert (
        train_all(
            table,
            get_recipe(quick, members=3),
            out=str(tmp_path),
            progress=False,
            device='cpu',
            repeat=False,
        )[0].folder
        == r.folder
    )  # finished: not trained again
    heat = heat_of(again, few[0])
    assert heat.ndim == 2 and heat.max() == pytest.approx(1) and heat.min() >= 0
    with again.learner.no_bar(), again.learner.no_logging():
        again.learner.dls = old(quick, whole, 'cpu')[0].dls
        again.learner.fit(1)  # trained on from there, as one network
    assert not torch.equal(
        next(again.learner.model.parameters()).cpu(), next(nets[0].parameters()).cpu()
    )


@pytest.mark.usefixtures('no_plots')
@pytest.mark.parametrize('what', ['interrupt', 'interrupt between', 'error'])
def test_an_ensemble_keeps_the_networks_that_are_finished(
    what, table, quick, tmp_path, monkeypatch
):
    import leukocls.train.callbacks as cb
    import leukocls.train.network as fit

    old, calls, prepare = cb.History.before_epoch, [], fit.prepare_fit

    def later(self):
        calls.append(len(self.rows))
        if calls.count(0) == 2 and what == 'interrupt':
            raise KeyboardInterrupt
        if calls.count(0) == 2 and what == 'error':
            raise RuntimeError('CUDA out of memory')
        old(self)

    monkeypatch.setattr(cb.History, 'before_epoch', later)
    trained = []

    def between(recipe, t, device):
        trained.append(1)
        if what == 'interrupt between' and len(trained) == 3:
            raise KeyboardInterrupt
        return prepare(recipe, t, device)

    monkeypatch.setattr(fit, 'prepare_fit', between)
    whole = split_table(table)
    if what.startswith('interrupt'):
        r = train(quick, whole, out=tmp_path, progress=False, device='cpu', members=3)
    else:
        with pytest.raises(RunError, match='1 of 3 networks are kept') as e:
            train(quick, whole, out=tmp_path, progress=False, device='cpu', members=3)
        r = e.value.run
    assert (
        r.info['status'] == ('interrupted' if what.startswith('interrupt') else 'failed')
        and 'Only 1 of 3 networks were trained.' in r.info['notes']
        and len(r.info['members']) == 1
    )
    assert (
        np.allclose(
            predict_images(Run(r.folder).learner, r.predictions.path[:4])
            .filter(like='p_')
            .to_numpy(),
            r.predictions.filter(like='p_').to_numpy()[:4],
            atol=1e-5,
        )
        and len(r.history) == 2
    )


def test_hand_made_split_is_not_called_by_patient(table, quick, tmp_path):
    t = split_table(table)
    t = t.assign(split=t.split.sample(frac=1, random_state=1).to_numpy())
    run = train(quick, t, out=tmp_path, progress=False, device='cpu', epochs=1)
    assert (
        run.info['split']['method'] == 'given'
        and 'It leaks' in run.info['split']['note']
        and 'It leaks' in (run.folder / 'report.html').read_text()
    )


def test_autocast_does_not_outlive_an_interrupt():
    "bfloat16 is switched off again when Ctrl-C arrives in the middle of a batch."
    import torch

    from leukocls.train.callbacks import Bf16OnCpu

    cast = Bf16OnCpu()
    cast.before_batch()
    assert torch.is_autocast_enabled('cpu')
    cast.leave()
    assert not torch.is_autocast_enabled('cpu')


def test_no_space(table, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda p: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(RunError, match='MB free'):
        train(quick, split_table(table), out=tmp_path, progress=False, device='cpu')
    assert not any(tmp_path.iterdir())


def test_failing_export_says_so_and_leaves_nothing_half(run, tmp_path, monkeypatch):
    from leukocls.train.learners import write_learner

    def full(*a, **k):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(run.learner, 'export', full)
    with pytest.raises(RunError, match='No space left'):
        write_learner(run.learner, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['model.safetensors']


def test_out_is_a_file(table, quick, tmp_path):
    (tmp_path / 'runs').write_text('')
    with pytest.raises(RunError, match='Choose another folder'):
        train(quick, split_table(table), out=tmp_path / 'runs', progress=False)


@pytest.mark.skipif(
    not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write everywhere'
)
def test_read_only(table, quick, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match='Choose another folder'):
            train(quick, split_table(table), out=tmp_path, progress=False)
    finally:
        tmp_path.chmod(0o700)


def test_changed_weights_are_refused(run, tmp_path):
    copy = shutil.copytree(run.folder, tmp_path / 'copy')
    info = json.loads((copy / 'recipe.json').read_text())
    info['model']['classes'].append('extra')
    (copy / 'recipe.json').write_text(json.dumps(info))
    with pytest.raises(RunError, match='does not fit'):
        _ = Run(copy).learner


@pytest.mark.usefixtures('no_plots')
def test_pretrained_recipe_freezes_and_rebuilds(table, local_weights, tmp_path):
    run = train(
        'effb3',
        split_table(table),
        out=tmp_path,
        progress=False,
        device='cpu',
        arch='test_efficientnet',
        weights=str(local_weights),
        epochs=1,
        size=64,
        bs=16,
    )
    p = run.predictions
    again = predict_images(Run(run.folder).learner, p.path[:6])
    assert (
        np.allclose(
            again.filter(like='p_').to_numpy(), p.filter(like='p_').to_numpy()[:6], atol=1e-4
        )
        and run.info['model']['frozen'] > 0
    )
    assert (
        str(local_weights).encode() not in (run.folder / 'learner.pkl').read_bytes()
        and str(tmp_path).encode() not in (run.folder / 'learner.pkl').read_bytes()
    )


@pytest.mark.usefixtures('no_plots')
@pytest.mark.parametrize('kind', ['run', 'cell_learner'])
def test_pickle_opens_without_leukocls(kind, table, local_weights, plain_fastai, tmp_path):
    """A user of plain fastai, on another machine, without leukocls: load, predict a file, get the
    same numbers.
    """
    if kind == 'run':
        run = train(
            'mobilenetv2',
            split_table(table),
            out=tmp_path,
            progress=False,
            device='cpu',
            arch='test_efficientnet',
            weights=str(local_weights),
            epochs=1,
            size=64,
        )
        pkl, learn = run.folder / 'learner.pkl', run.learner
    else:
        from leukocls.all import CellDataLoaders, cell_learner

        learn = cell_learner(
            CellDataLoaders.from_table(split_table(table), size=64, bs=16, device='cpu'),
            'test_efficientnet',
            local_weights,
        )
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, lr_max=slice(1e-3, 1e-2))
        pkl = tmp_path / 'leukemia_model.pkl'
        learn.export(pkl)
    ((label, p),) = plain_fastai(pkl, table.path[:1])
    ours = predict_images(learn, table.path[:1])
    assert label == ours.pred[0] and np.allclose(p, ours.filter(like='p_').to_numpy()[0], atol=1e-5)


def test_interrupt_keeps_what_was_learned(films, tmp_path):
    """Ctrl-C in the middle of training: the run folder is whole, the status says so, the exit code
    is 130.
    """
    cmd = [
        sys.executable,
        '-W',
        'ignore',
        '-m',
        'leukocls',
        'train',
        str(films),
        '--recipe',
        'small-cnn',
        '--patient',
        r'(P\d+)_',
        '--epochs',
        '2000',
        '--lr',
        '0.003',
        '--size',
        '32',
        '--out',
        str(tmp_path),
    ]
    log = tmp_path.parent / 'interrupted.log'
    end = time.time() + 120
    with open(log, 'w') as f:
        p = subprocess.Popen(
            cmd,
            stderr=f,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # a background shell hands down an ignored SIGINT
    while time.time() < end and 'epoch=2/' not in log.read_text():
        time.sleep(0.2)
    assert 'epoch=2/' in log.read_text(), log.read_text()[-500:]
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=90)
    run = Run(next(tmp_path.iterdir()))
    assert (
        p.returncode == 130 and run.info['status'] == 'interrupted' and 2 <= len(run.history) < 2000
    )
    assert (
        (run.folder / 'report.html').exists()
        and 'Interrupted after' in out
        and len(Run(run.folder).learner.dls.vocab) == 4
    )


@pytest.mark.usefixtures('no_plots')
def test_runs_choose_on_validation_images(run, table, tmp_path):
    other = train(
        'modified-cnn', split_table(table), out=tmp_path, progress=False, device='cpu', epochs=1
    )
    runs = Runs([other, run])

    def right(r):
        return (lambda p: (p.label == p.pred).mean())(r.predictions[r.predictions.split == 'valid'])

    assert (
        runs.best is max(runs, key=right)
        and len(runs.leaderboard) == 2
        and '<table' in runs._repr_html_()
        and 'report.html' in run._repr_html_()
    )


def test_train_all_stops_before_training_on_a_slip(films):
    with pytest.raises(RunError, match='Did you mean'):
        train_all(films, ['small-cnn', 'efb3'])
    with pytest.raises(RunError, match='recipes is empty'):
        train_all(films, [])


def test_train_all_skips_bad_files_and_says_so(tmp_path, quick):
    from leukocls.data.films import FILM_PATIENT, draw_films

    d = draw_films(tmp_path / 'd', patients=5, images=3, size=32)
    (d / 'Pro' / 'P999_000.png').write_bytes(b'')
    with pytest.raises(DataError, match='zero bytes'):
        train_all(d, quick, patient=FILM_PATIENT, out=tmp_path / 'runs', progress=False)
    runs = train_all(
        d,
        quick,
        patient=FILM_PATIENT,
        out=tmp_path / 'runs',
        progress=False,
        on_error='skip',
        device='cpu',
        epochs=1,
    )
    assert list(runs[0].info['data']['skipped'].values()) == ['zero bytes']


def test_evaluate_new_films(run, tmp_path):
    from leukocls.data.films import FILM_PATIENT, draw_films

    m = evaluate(
        run.learner,
        draw_films(tmp_path / 'n', patients=2, images=3, size=48, seed=9),
        patient=FILM_PATIENT,
    )
    assert m['n'] == 24 and m['interval']['unit'] == 'patient'


def test_pickle_that_is_none(tmp_path):
    for content in (b'', b'junk'):
        (tmp_path / 'x.pkl').write_bytes(content)
        with pytest.raises(ValueError, match='--trust'):
            open_pickle(tmp_path / 'x.pkl')
        with pytest.raises(ValueError, match='cannot be opened'):
            open_pickle(tmp_path / 'x.pkl', trust=True)


def test_report_is_safe_and_self_contained(tmp_path, quick):
    "Class names come from folders, and folders from anywhere."
    from PIL import Image

    evil = '<script>alert(1)</script>'.replace('/', '∕')
    for c in (evil, 'b'):
        (tmp_path / 'd' / c).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(
                np.random.default_rng(i).integers(0, 255, (16, 16, 3), dtype='uint8')
            ).save(tmp_path / 'd' / c / f'{i}.png')
    run = train_all(
        tmp_path / 'd', quick, out=tmp_path / 'r', progress=False, device='cpu', epochs=1
    )[0]
    page = (run.folder / 'report.html').read_text()
    assert (
        '<script' not in page
        and 'http:' not in page
        and 'https:' not in page
        and len(page) < 5_000_000
        and 'Not a medical device' in page
    )


INGREDIENTS = [
    dict(loss='focal'),
    dict(balance=True),
    dict(mixup=0.4),
    dict(ema=0.9),
    dict(augment='stain'),
    dict(loss='focal', balance=True, mixup=0.4, ema=0.9, augment='stain'),
]


@pytest.fixture(scope='module')
def ingredients(table, quick, tmp_path_factory, without_plots, plain_fastai):
    """The plain recipe; a run for each ingredient alone and for all together; what each pickle says
    of six pictures where leukocls cannot be imported.
    """
    out = tmp_path_factory.mktemp('ingredients')
    table = split_table(table)
    table = table.drop(
        table.index[(table.label == 'Pro') & (table.split == 'train')][::2]
    )  # classes of different size, so that balancing them changes something
    with without_plots():
        plain, *runs = [
            train(get_recipe(quick, epochs=1, **c), table, out=str(out), progress=False)
            for c in ({}, *INGREDIENTS)
        ]
    return (
        plain,
        runs,
        [
            np.array([p for _, p in plain_fastai(r.folder / 'learner.pkl', r.predictions.path[:6])])
            for r in runs
        ],
    )


@pytest.mark.parametrize('changes', INGREDIENTS, ids=lambda c: '+'.join(c))
def test_ingredients_train_and_come_back(changes, ingredients):
    """Each ingredient alone and all together: another loss curve, a learner whose pickle gives the
    run's figures without leukocls.
    """
    plain, runs, said = ingredients
    run, said = next((r, p) for r, p, c in zip(runs, said, INGREDIENTS) if c == changes)
    assert run.info['status'] == 'finished' and all(
        run.info['recipe'][k] == v for k, v in changes.items()
    )
    if list(changes) == ['ema']:
        assert np.allclose(run.history.train_loss, plain.history.train_loss) and not np.allclose(
            run.history.valid_loss, plain.history.valid_loss
        )  # training itself goes on as without
    else:
        assert not np.allclose(run.history.train_loss, plain.history.train_loss)
    assert np.allclose(said, run.predictions.filter(like='p_').to_numpy()[:6], atol=2e-4)


@pytest.mark.usefixtures('no_plots')
def test_adam_in_lists_is_fastais_adam(table, quick, tmp_path, monkeypatch):
    """The same run to the last bit, weight decay and batch normalisation included; the learner that
    comes out has fastai's own Adam.
    """
    from fastai.optimizer import Adam

    import leukocls.train.network as fit

    a = train(quick, table, out=str(tmp_path), progress=False)
    monkeypatch.setattr(fit, 'list_adam', Adam)
    b = train(quick, table, out=str(tmp_path), progress=False)
    assert (a.folder / 'model.safetensors').read_bytes() == (
        b.folder / 'model.safetensors'
    ).read_bytes() and a.learner.opt_func is Adam


@pytest.mark.usefixtures('no_plots')
def test_pretrained_networks_take_the_same_optimizer(table, tmp_path, monkeypatch):
    """Freezing makes an optimizer before the fit: it is not the one that is used; whoever trains on
    has fastai's.
    """
    from fastai.callback.core import Callback

    import leukocls.train.network as fit
    from leukocls.cli.bench import random_weights
    from leukocls.train.speed import ListAdam

    used = []

    class Sees(Callback):
        def before_step(self):
            used.append(type(self.learn.opt))

    monkeypatch.setattr(fit, 'speed_callbacks', lambda device: [Sees()])
    run = train(
        'effb3',
        table,
        out=str(tmp_path),
        progress=False,
        arch='test_efficientnet',
        weights=str(random_weights('test_efficientnet', tmp_path / 'w')),
        size=32,
        bs=8,
        epochs=1,
    )
    assert set(used) == {ListAdam} and run.learner.opt_func.__name__ == 'Adam'
    run.learner.fit(1, 1e-4)
    assert type(run.learner.opt).__name__ == 'Optimizer'  # fastai's own, whoever trains on


@pytest.mark.usefixtures('no_plots')
def test_what_a_gpu_does_to_steps_leaves_nothing_behind(table, quick, tmp_path, monkeypatch):
    """Half precision that does not wait, losses that stay, a step replayed and then compiled,
    through the callbacks' whole life in two phases: weights, figures, pickle and predictions
    come out as without.
    """
    import leukocls.train.network as fit
    from leukocls.train.speed import LossesStay, PlainTensors, Replay, ScaledHalf, list_adam

    replayed, real = [], fit._fit_phases

    def record(work):
        def replay():
            replayed.append(work.__name__)
            work()

        return replay

    class Judged(Replay):
        def _judge(self):  # replaying always pays
            self.times['eager'] = 1e9
            super()._judge()

    def fused(*a, **k):
        opt = list_adam(*a, **k)
        opt.fused = True
        return opt

    def two(learn, recipe, pretrained, cbs):
        [real(learn, recipe, pretrained, cbs) for _ in range(2)]

    monkeypatch.setattr(fit, '_fit_phases', two)
    monkeypatch.setattr(fit, 'list_adam', fused)
    plain = train(quick, table, out=str(tmp_path), progress=False, epochs=3)
    monkeypatch.setattr(
        fit,
        'speed_callbacks',
        lambda device: [
            PlainTensors(),
            LossesStay(),
            ScaledHalf(),
            Judged(2, record),
            fit.CompileIfItPays(least=0, steps=2, backend='aot_eager'),
        ],
    )
    run = train(quick, table, out=str(tmp_path), progress=False, epochs=3)
    assert (
        {'_work', '_look'} <= set(replayed)
        and 'replayed' in run.info['steps']
        and 'compiled' in run.info['steps']
    )
    assert np.allclose(
        run.history.drop(columns='seconds'), plain.history.drop(columns='seconds'), atol=1e-3
    ) and np.allclose(
        run.predictions.filter(like='p_'), plain.predictions.filter(like='p_'), atol=1e-3
    )
    learn = run.learner
    assert (
        '_do_one_batch' not in vars(learn)
        and all(p.grad is None or p.grad.isfinite().all() for p in learn.model.parameters())
        and all(v.device.type == 'cpu' for v in learn.recorder.losses)
    )
    assert_pickle_predicts_the_same(run)


@pytest.mark.usefixtures('no_plots')
def test_a_compiled_network_is_the_same_network(table, quick, tmp_path, monkeypatch):
    """Compiled in the middle of a fit, as on a GPU: weights, pickle and predictions come out as
    without.
    """
    import leukocls.train.network as fit

    plain = train(quick, table, out=str(tmp_path), progress=False, epochs=4)
    real = fit._fit_phases
    monkeypatch.setattr(
        fit,
        '_fit_phases',
        lambda learn, recipe, pretrained, cbs: real(
            learn,
            recipe,
            pretrained,
            [*cbs, fit.CompileIfItPays(least=0, steps=2, backend='aot_eager')],
        ),
    )
    run = train(quick, table, out=str(tmp_path), progress=False, epochs=4)
    assert np.allclose(
        run.predictions.filter(like='p_'), plain.predictions.filter(like='p_'), atol=1e-3
    )
    assert_pickle_predicts_the_same(run)


@pytest.mark.usefixtures('no_plots')
@pytest.mark.parametrize(
    'config',
    [
        dict(architecture='test_resnet'),
        dict(architecture='test_resnet', pretrained_cfg={}),
        dict(
            architecture='test_resnet',
            pretrained_cfg=dict(input_size=[3, 64, 64], mean=[0.5] * 3, std=[0.5] * 3),
        ),
    ],
    ids=['alone', 'empty', 'no pool_size'],
)
def test_a_sparse_folder_of_weights_gives_a_run_that_opens(config, table, tmp_path):
    "Whether maps are pooled was the folder's word in training and timm's when the run was opened."
    import timm
    from safetensors.torch import save_file

    home = tmp_path / 'w+plus'
    home.mkdir()
    m = timm.create_model('test_resnet', num_classes=0)
    save_file(m.state_dict(), home / 'model.safetensors')
    (home / 'config.json').write_text(json.dumps(config))
    r = train(
        get_recipe(
            'mobilenetv2', arch='test_resnet', weights=str(home), size=32, epochs=1, lr=1e-3
        ),
        split_table(table),
        out=tmp_path / 'runs',
        progress=False,
        device='cpu',
    )
    few = r.predictions.path[:4]
    assert r.info['weights_contents'] and np.allclose(
        predict_images(Run(r.folder).learner, few).filter(like='p_').to_numpy(),
        r.predictions.filter(like='p_').to_numpy()[:4],
        atol=1e-5,
    )


@pytest.mark.parametrize('members', ['x', 2.0, None, [3], True, 0, -1, 10**9])
def test_a_changed_number_of_networks_is_refused(members, run, tmp_path):
    copy = shutil.copytree(run.folder, tmp_path / 'copy')
    info = json.loads((copy / 'recipe.json').read_text())
    info['model']['members'] = members
    (copy / 'recipe.json').write_text(json.dumps(info))
    with pytest.raises(RunError, match='networks; there are 1 to 20'):
        _ = Run(copy).learner


def test_a_class_may_be_named_like_a_formula(table, quick, tmp_path):
    r = train(
        quick,
        split_table(table.assign(label=table.label.replace('Pro', '$x^{$'))),
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=1,
    )
    assert (r.folder / 'report.html').exists() and (r.folder / 'plots' / 'augmented.png').exists()


@pytest.mark.usefixtures('no_plots')
def test_the_card_of_an_ensemble_says_so(table, quick, tmp_path):
    r = train(
        quick,
        split_table(table, test_pct=0, valid_pct=0.2),
        out=tmp_path,
        progress=False,
        device='cpu',
        members=2,
        balance=True,
    )
    card = (r.folder / 'model_card.md').read_text()
    assert (
        'The mean of the probabilities of 2 networks' in card
        and 'None: one model' not in card
        and 'may have been chosen' not in card
        and 'kept epoch of each network' in card
        and 'Changed from the recipe' in card
        and 'members=2' in card
        and 'classes are not weighted' not in card
    )


def test_kept_weights_take_turns_and_survive_an_interrupt(quick):
    """From the third epoch on nothing is allocated; Ctrl-C in the middle of a copy leaves the copy
    before it whole.
    """
    from types import SimpleNamespace

    from leukocls.train.callbacks import KeepWeights

    net = torch.nn.Sequential(*[torch.nn.Linear(3, 3) for _ in range(4)])
    keep = KeepWeights(SimpleNamespace(rows=[dict(train_loss=1.0, valid_loss=1.0)]), 'last')
    keep.learn = SimpleNamespace(model=net)
    places = []

    def epoch(v):
        [p.data.fill_(v) for p in net.parameters()]
        keep.after_epoch()
        assert all((t == v).all() for t in keep.weights.values())
        places.append({t.data_ptr() for t in keep.weights.values()})

    keep.before_fit()
    [epoch(float(v)) for v in range(1, 7)]
    assert (
        places[1] == places[3] == places[5] and places[2] == places[4] and not places[4] & places[5]
    )

    class Stops(dict):
        def items(self):
            for i, kv in enumerate(super().items()):
                if i == 3:
                    raise KeyboardInterrupt
                yield kv

    keep.learn.model = SimpleNamespace(state_dict=lambda: Stops(net.state_dict()))
    [p.data.fill_(9.0) for p in net.parameters()]
    with pytest.raises(KeyboardInterrupt):
        keep.after_epoch()
    assert all((t == 6).all() for t in keep.weights.values())


@pytest.mark.usefixtures('no_plots')
def test_memory_is_looked_at_after_each_epoch_on_a_cpu(table, quick, tmp_path, monkeypatch):
    import leukocls.train.callbacks as callbacks

    given, sizes = [], iter([1e9, 1.1e9, 2e9, 1e9, 1.8e9])
    monkeypatch.setattr(callbacks, 'resident', lambda: next(sizes))
    monkeypatch.setattr(callbacks, 'give_back', lambda: given.append(1))
    train(quick, split_table(table), out=tmp_path, progress=False, device='cpu', epochs=5)
    assert len(given) == 2 and next(sizes, None) is None


class Watcher(Callback):
    "Notes which events it saw; changes nothing."

    def __init__(self):
        self.fits, self.epochs, self.ended = [], 0, 0

    def before_fit(self):
        frozen = not all(p.requires_grad for p in self.learn.model.parameters())
        self.fits.append((self.n_epoch, frozen))

    def after_epoch(self):
        self.epochs += 1

    def after_fit(self):
        self.ended += 1


def probabilities(run):
    return run.predictions.filter(like='p_').to_numpy()


def test_own_callbacks_see_a_fit_and_change_nothing(table, quick, run, no_plots, tmp_path):
    seen = Watcher()
    how = dict(out=tmp_path, progress=False, device='cpu')
    watched = train(quick, split_table(table), cbs=seen, **how)
    assert (seen.fits, seen.epochs, seen.ended) == ([(2, False)], 2, 1)
    assert np.array_equal(probabilities(watched), probabilities(run))
    assert watched.info['notes'] == run.info['notes']


def test_own_callbacks_do_not_end_in_the_pickle(table, quick, no_plots, tmp_path):
    watched = train(
        quick,
        split_table(table),
        cbs=[Watcher(), Watcher],
        out=tmp_path,
        progress=False,
        device='cpu',
        epochs=1,
    )
    pickle = watched.folder / 'learner.pkl'
    opened = open_pickle(pickle, trust=True)
    for learn in (watched.learner, opened):
        assert not any(isinstance(c, Watcher) for c in learn.cbs)
        # and the names in the learner are fastai's again
        assert type(learn.recorder).__module__ == 'fastai.learner'
    assert b'test_train' not in pickle.read_bytes()


@pytest.mark.usefixtures('no_plots')
def test_own_callbacks_see_both_phases(table, local_weights, tmp_path):
    seen = Watcher()
    train(
        'mobilenetv2',
        split_table(table),
        out=tmp_path,
        progress=False,
        device='cpu',
        cbs=[seen],
        arch='test_efficientnet',
        weights=str(local_weights),
        head_epochs=1,
        epochs=2,
        lr=2e-3,
        size=64,
    )
    assert (seen.fits, seen.epochs, seen.ended) == ([(1, True), (2, False)], 3, 2)


@pytest.mark.usefixtures('no_plots')
def test_own_callbacks_see_each_network_of_an_ensemble(table, quick, tmp_path):
    how = dict(out=tmp_path, progress=False, device='cpu', members=3, epochs=1)
    seen = Watcher()
    watched = train(quick, split_table(table), cbs=[seen], **how)
    assert (seen.fits, seen.epochs, seen.ended) == ([(1, False)] * 3, 3, 3)
    plain = train(quick, split_table(table), **how)
    assert np.array_equal(probabilities(watched), probabilities(plain))


@pytest.mark.usefixtures('no_plots')
def test_own_callbacks_through_train_all(films, quick, tmp_path):
    "A finished run is read and calls none; a system without a network says that it uses none."
    from leukocls.data.films import FILM_PATIENT

    how = dict(patient=FILM_PATIENT, out=tmp_path, progress=False, device='cpu', epochs=1, size=32)
    first, second = Watcher(), Watcher()
    runs = train_all(films, [quick, 'p3-knn'], cbs=[first], **how)
    train_all(films, [quick, 'p3-knn'], cbs=[second], **how)
    assert (first.epochs, second.epochs) == (1, 0)
    unused = [any('cbs' in note for note in r.info['notes']) for r in runs]
    assert unused == [False, True]

    class Another(Watcher):
        pass

    # what others may have changed is no answer to this call
    third = Another()
    again = train_all(films, [quick, 'p3-knn'], cbs=[third], **how)
    assert third.epochs == 1 and again[0].name != runs[0].name and again[1].name == runs[1].name
    with pytest.raises(RunError, match='is no fastai callback'):
        train_all(films, [quick], cbs='wandb', **how)


@pytest.mark.usefixtures('no_plots')
def test_own_callback_that_fails_is_named(table, quick, tmp_path):
    class Fails(Callback):
        def after_epoch(self):
            if self.epoch == 1:
                raise RuntimeError('the logging server is away')

    with pytest.raises(RunError, match=r'(?s)epoch 2.*Fails.*logging server is away') as e:
        train(quick, split_table(table), out=tmp_path, progress=False, device='cpu', cbs=[Fails()])
    assert e.value.run.info['kept_epoch'] == 1
    learner = e.value.run.learner
    assert not any(isinstance(c, Fails) for c in learner.cbs)


def test_own_callbacks_that_act_inside_a_step_are_not_passed_over():
    "A recorded step would leave out what they do, and scaled gradients would mislead them."
    from fastai.callback.training import GradientAccumulation, GradientClip
    from fastai.test_utils import synth_learner

    from leukocls.train.speed import Replay, acts_in_steps

    assert acts_in_steps([GradientAccumulation(8)]) and acts_in_steps([Watcher(), GradientClip])
    assert not acts_in_steps([Watcher()])
    for callback, replayed in ((GradientAccumulation(8), False), (Watcher(), True)):
        replay = Replay(4, lambda step: step)
        learn = synth_learner(n_trn=30, n_val=3)
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, cbs=[replay, callback])
        assert bool(replay.times) == replayed, replay.said
        assert replayed or replay.said == 'not replayed: a callback acts inside the step'


def test_one_picture_in_two_classes_is_said_by_training_too(films, tmp_path, no_plots, capsys):
    copy = shutil.copytree(films, tmp_path / 'films')
    first = sorted((copy / 'Pro').glob('*.png'))[0]
    shutil.copy(first, copy / 'Benign' / first.name)
    run = train_all(copy, 'p3-knn', size=32, out=tmp_path / 'runs', progress=False).best
    sentence = '1 picture stands in two classes, so a label is wrong.'
    assert sentence in capsys.readouterr().err
    assert any(note.startswith(sentence) for note in run.info['notes'])
