"Calls that go on with what was broken off, and those that must not."

import json
import shutil

import numpy as np
import pytest

import leukocls.runs.resume as resume
from leukocls.cli.commands import main
from leukocls.core.errors import RunError
from leukocls.data.films import FILM_PATIENT
from leukocls.data.splits import split_table
from leukocls.runs.experiment import train, train_all
from leukocls.runs.run import Run
from leukocls.train.checkpoints import FolderLock
from leukocls.train.recipes import get_recipe

pytestmark = pytest.mark.usefixtures('no_plots')
# ends after the first step
AT_ONCE = 1e-6


@pytest.fixture
def how(tmp_path):
    return dict(out=tmp_path, progress=False, device='cpu')


@pytest.fixture(scope='module')
def stopped_once(table, quick, tmp_path_factory, without_plots):
    out = tmp_path_factory.mktemp('stopped')
    with without_plots():
        return train(quick, split_table(table), out, device='cpu', progress=False, hours=AT_ONCE)


@pytest.fixture
def stopped(stopped_once, tmp_path):
    "A run that was stopped after its first step."
    return Run(shutil.copytree(stopped_once.folder, tmp_path / stopped_once.name))


def test_the_same_call_goes_on(stopped, table, quick, how, run, capsys):
    "In the same folder, to the same predictions as a training that nobody stopped."
    assert stopped.info['status'] == 'interrupted' and not len(stopped.history)
    again = train(quick, split_table(table), **how)
    assert 'Going on with' in capsys.readouterr().err
    assert again.folder == stopped.folder and again.info['status'] == 'finished'
    assert again.predictions.equals(run.predictions)
    assert again.history.drop(columns='seconds').equals(run.history.drop(columns='seconds'))
    assert again.info['resumed'] == [dict(phase=1, epoch=1, batches=1)]
    assert again.info['notes'] == run.info['notes']
    assert not (again.folder / 'checkpoints').exists()


def test_another_call_is_refused_with_the_difference(stopped, table, quick, how, monkeypatch):
    parts = split_table(table)

    def call(parts, **changes):
        resume.unfinished_run(get_recipe(quick, **changes), parts, how['out'], device='cpu')

    for changes, words in (
        (dict(epochs=9), r'epochs: 2 then, 9 now\).*finish this one first'),
        (dict(lr=1e-4, bs=8), 'bs: 16 then, 8 now; lr: 0.003 then, 0.0001 now'),
    ):
        with pytest.raises(RunError, match=words) as refused:
            call(parts, **changes)
        assert 'repeat=True' in str(refused.value) and '--repeat' in refused.value.in_shell()
    fewer = parts.drop(parts.index[parts.split == 'train'][0])
    with pytest.raises(RunError, match='images: 120 then, 119 now'):
        call(fewer)
    turned = parts.assign(split=parts.split.replace({'valid': 'test', 'test': 'valid'}))
    with pytest.raises(RunError, match='images, labels or their split are others'):
        call(turned)
    versions = stopped.info['versions']
    monkeypatch.setattr(resume, 'versions', lambda: versions | dict(torch='9.9'))
    with pytest.raises(RunError, match=f'version of torch: {versions["torch"]} then, 9.9 now'):
        call(parts)


def test_repeat_begins_anew(stopped, table, quick, how):
    new = train(quick, split_table(table), epochs=1, repeat=True, **how)
    assert new.name == f'{stopped.name}-2' and len(new.history) == 1
    assert stopped.folder.exists() and not (stopped.folder / 'checkpoints').exists()


def test_a_run_that_another_process_trains_is_refused(stopped, table, quick, how):
    lock = FolderLock(stopped.folder / 'checkpoints' / 'lock')
    assert lock.acquire()
    with pytest.raises(RunError, match=r'is being trained by process \d+ on '):
        train(quick, split_table(table), **how)
    # another training of that name does not need its folder
    assert train(quick, split_table(table), epochs=1, **how).name == f'{stopped.name}-2'
    lock.close()


def test_a_process_that_was_killed_is_found_out(stopped, table, quick, how, tmp_path):
    "Its status is set at the next start; without a checkpoint it begins again in its folder."
    path = stopped.folder / 'recipe.json'
    path.write_text(json.dumps(stopped.info | dict(status='training')))
    for part in [*(stopped.folder / 'checkpoints').glob('0*'), stopped.folder / 'metrics.json']:
        part.unlink()
    (stopped.folder / '.model.safetensors.x1').write_bytes(b'half')
    assert resume.mark_interrupted(how['out']) == [stopped.folder]
    left = Run(stopped.folder)
    assert left.info['status'] == 'interrupted'
    with pytest.raises(RunError, match='was not finished'):
        left.metrics  # noqa: B018 (reading it is what fails)
    again = train(quick, split_table(table), **how)
    assert again.folder == stopped.folder and again.info['status'] == 'finished'
    assert not list(again.folder.glob('.*'))


def test_a_report_that_was_broken_off_is_made_again(table, quick, how, run, monkeypatch):
    "The training is over, but the run is not: it is read only once all of it is written."
    import leukocls.report.modelcard as modelcard

    def full(folder):
        raise RunError('Cannot write model_card.md: No space left on device.')

    monkeypatch.setattr(modelcard, 'card_run', full)
    with pytest.raises(RunError, match='No space left'):
        train(quick, split_table(table), checkpoint_minutes=0, **how)
    monkeypatch.undo()
    again = train(quick, split_table(table), **how)
    assert again.name == run.name and (again.folder / 'model_card.md').exists()
    assert np.array_equal(again.predictions.filter(like='p_'), run.predictions.filter(like='p_'))
    assert again.info['resumed'] == [dict(phase=2, epoch=1, batches=0)]


def test_a_comparison_stops_in_time_and_goes_on(films, quick, how, capsys):
    "Whatever of it was not begun is trained by the same call; a finished one says so."
    everything = dict(patient=FILM_PATIENT, epochs=1, size=32, **how)
    first = train_all(films, [quick, 'p3-knn'], hours=AT_ONCE, **everything)
    assert 'The same call, or command, goes on' in capsys.readouterr().err
    assert first.interrupted and [r.info['status'] for r in first] == ['interrupted']
    second = train_all(films, [quick, 'p3-knn'], **everything)
    assert [r.info['status'] for r in second] == ['finished'] * 2 and second[0].name == first[
        0
    ].name
    read = train_all(films, quick, hours=1, **everything)
    assert read[0].folder == second[0].folder


def test_longer_than_a_finished_run_says_what_to_do(table, quick, how, capsys):
    parts = split_table(table)
    train(quick, parts, epochs=1, **how)
    resume.say_finished(how['out'], get_recipe(quick, epochs=3), parts, 42)
    assert 'learner.fit_one_cycle(2)' in capsys.readouterr().err
    resume.say_finished(how['out'], get_recipe(quick, epochs=1), parts, 42)
    assert 'is this training, finished' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', [dict(hours=0), dict(hours='12'), dict(checkpoint_minutes=-1)])
def test_times_that_are_none_are_refused_before_any_image_is_read(wrong, quick, how):
    with pytest.raises(RunError, match='give a number'):
        train_all('nowhere', quick, **how, **wrong)


def test_the_command_stops_in_time_and_says_so(films, tmp_path, capsys):
    words = [
        'train',
        str(films),
        '--recipe',
        'small-cnn',
        '--patient',
        FILM_PATIENT,
        '--size',
        '32',
    ]
    words += ['--lr', '0.003', '--epochs', '2', '--out', str(tmp_path)]
    with pytest.raises(SystemExit) as end:
        main([*words, '--hours', str(AT_ONCE)])
    assert end.value.code == 130 and 'the same command goes on' in capsys.readouterr().err
    assert Run(tmp_path / 'small-cnn-seed42').info['status'] == 'interrupted'
