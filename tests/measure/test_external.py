"Judging on labelled images of others: their class names, their few images, and what was seen before."

import json
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image, ImageOps

from leukocls import Classifier, Run, evaluate
from leukocls.cli.commands import main
from leukocls.core.errors import DataError
from leukocls.data.films import draw_films
from leukocls.measure.external import match_classes, read_labelled

CLASSES = ['Benign', 'Early', 'Pre', 'Pro']


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    "Films of other patients: nothing of them was seen."
    return draw_films(tmp_path_factory.mktemp('foreign') / 'films', 2, 3, size=48, seed=99)


def command(words, monkeypatch, capsys):
    "(exit code, what was said) of a command line."
    monkeypatch.setattr(sys, 'argv', ['leukocls', *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out + said.err


def copied(paths, folder, change=None, suffix=None):
    "Files with new names in folders of their classes; `change` saves the picture again."
    for i, path in enumerate(map(Path, paths)):
        target = folder / path.parent.name / f'{i:03d}{suffix or path.suffix}'
        target.parent.mkdir(parents=True, exist_ok=True)
        if change is None:
            shutil.copy(path, target)
        else:
            change(Image.open(path).convert('RGB')).save(target, quality=85)
    return folder


def sides(run):
    return {side: list(rows.path) for side, rows in run.table.groupby('split')}


@pytest.mark.parametrize('kind', ['run', 'bundle', 'pickle'])
def test_copied_training_images_are_noticed(kind, run, small_bundle, tmp_path, monkeypatch, capsys):
    "Also where run, bundle and images have all been moved."
    by_side = sides(run)
    data = copied(
        by_side['train'][:12] + by_side['valid'][:5] + by_side['test'][:6], tmp_path / 'x'
    )
    moved = shutil.copytree(run.folder, tmp_path / 'moved')
    model = dict(run=moved, bundle=small_bundle, pickle=moved / 'learner.pkl')[kind]
    words = ['evaluate', model, data, *(['--trust'] if kind == 'pickle' else [])]
    code, said = command(words, monkeypatch, capsys)
    assert code == 0, said
    assert '12 of 23 images were trained on: figures are too good' in said
    assert '5 of 23 images chose the epoch and the calibration' in said
    assert 'near-duplicates' not in said


CHANGES = dict(
    jpeg=lambda im: im,
    mirrored=ImageOps.mirror,
    turned=lambda im: im.transpose(Image.Transpose.ROTATE_90),
    smaller=lambda im: im.resize((40, 40)),
    brighter=lambda im: im.point(lambda v: min(255, v + 6)),
)


@pytest.mark.parametrize('name', CHANGES)
def test_training_images_that_were_saved_again_are_noticed(name, run, small_bundle, tmp_path):
    by_side = sides(run)
    data = copied(by_side['train'][:10], tmp_path / 'x', CHANGES[name], '.jpg')
    notes = Classifier.load(small_bundle).evaluate(data)['notes']
    assert any('10 of 10 images were trained on' in n for n in notes), notes
    assert any('10 of these are near-duplicates' in n for n in notes)


def test_new_images_are_not_called_seen(run, small_bundle, foreign):
    for judged in (Classifier.load(small_bundle).evaluate(foreign), evaluate(run, foreign)):
        assert judged['n'] == 24
        note, *more = judged['notes']
        assert note == 'The model has seen none of these 24 images, nor a near-duplicate of one.'
        # a bundle says of its probabilities that they are calibrated
        assert all(sentence.startswith("Probabilities are the bundle's") for sentence in more)
    tested = run.table[run.table.split == 'test']
    (note,) = evaluate(run, tested)['notes']
    assert 'has seen none of these' in note


def test_figures_that_do_not_hold_elsewhere_are_said(run, small_bundle, foreign, tmp_path):
    "Where the model is clearly worse than on its own held-out images, and only there."
    wrong = tmp_path / 'wrong'
    for theirs, ours in zip(CLASSES, CLASSES[1:] + CLASSES[:1]):
        shutil.copytree(Path(foreign) / theirs, wrong / ours)
    clf, moved = Classifier.load(small_bundle), shutil.copytree(run.folder, tmp_path / 'moved')
    for own, is_said in ((dict(value=0.9, low=0.8, high=1.0), True), (None, False)):
        figures = dict(clf.config['metrics'], balanced_accuracy=own)
        clf.config['metrics'] = figures
        (moved / 'metrics.json').write_text(json.dumps(run.metrics | figures))
        for judged in (clf.evaluate(wrong), evaluate(Run(moved), wrong)):
            assert judged['balanced_accuracy']['high'] < 0.8
            said = [n for n in judged['notes'] if 'its figures do not hold here' in n]
            assert len(said) == is_said
            assert all('90.0 % on' in n and 'leukocls adapt' in n for n in said)


def test_a_model_that_tells_nothing_says_so(run, foreign, tmp_path, monkeypatch, capsys):
    pickle = shutil.copy(run.folder / 'learner.pkl', tmp_path / 'alone.pkl')
    code, said = command(['evaluate', pickle, foreign, '--trust'], monkeypatch, capsys)
    assert code == 0 and 'Nothing tells which images this model was trained on' in said


def test_one_class_and_one_image_can_be_judged(run, small_bundle, foreign, tmp_path):
    "A folder of blasts alone; a rare class of one image; a CSV; a single image."
    clf = Classifier.load(small_bundle)
    alone = tmp_path / 'alone'
    shutil.copytree(Path(foreign) / 'Pro', alone / 'Pro')
    rare = shutil.copytree(foreign, tmp_path / 'rare')
    for path in sorted((Path(rare) / 'Early').iterdir())[1:]:
        path.unlink()
    one = pd.DataFrame(dict(path=[str(next((alone / 'Pro').iterdir()))], label=['Pro']))
    csv = tmp_path / 'one.csv'
    one.to_csv(csv, index=False)
    for data, n in ((alone, 6), (rare, 19), (one, 1), (csv, 1)):
        for judged in (clf.evaluate(data), evaluate(run, data)):
            assert judged['n'] == n and judged['accuracy']['value'] is not None
    judged = clf.evaluate(alone)
    assert judged['auroc']['value'] is None and judged['per_class']['Pro']['support'] == 6


@pytest.mark.parametrize('bad', ['broken', 'none'])
def test_skipping_may_leave_one_class(bad, small_bundle, foreign, tmp_path):
    "What is left after unreadable files were skipped is judged too."
    data = tmp_path / 'x'
    shutil.copytree(Path(foreign) / 'Pro', data / 'Pro')
    (data / 'Pre').mkdir()
    (data / 'Pre' / 'a.png').write_bytes(b'' if bad == 'none' else b'broken')
    assert Classifier.load(small_bundle).evaluate(data, on_error='skip')['n'] == 6


def test_one_class_on_the_command_line(small_bundle, foreign, tmp_path, monkeypatch, capsys):
    shutil.copytree(Path(foreign) / 'Pro', tmp_path / 'x' / 'Pro')
    code, said = command(['evaluate', small_bundle, tmp_path / 'x'], monkeypatch, capsys)
    assert code == 0 and '6 images' in said and 'nan' not in said.lower()


def renamed(foreign, folder, names):
    for ours, theirs in names.items():
        shutil.copytree(Path(foreign) / ours, folder / theirs)
    return folder


def test_other_spelling_is_the_same_class(run, small_bundle, foreign, tmp_path):
    data = renamed(foreign, tmp_path / 'x', {'Benign': 'BENIGN', 'Early': 'early', 'Pro': 'pro'})
    judged = Classifier.load(small_bundle).evaluate(data)
    assert judged['n'] == 18 and 'BENIGN → Benign' in judged['notes'][0]
    want = evaluate(
        run,
        pd.DataFrame(dict(path=sorted(map(str, data.rglob('*.png'))))).assign(
            label=lambda t: [Path(p).parent.name.capitalize() for p in t.path]
        ),
    )
    assert judged['accuracy']['value'] == want['accuracy']['value']


def test_what_a_card_calls_a_class_is_known(small_bundle, foreign, tmp_path):
    data = renamed(foreign, tmp_path / 'x', {'Pre': 'Pre-B', 'Pro': '[Malignant] Pro-B'})
    judged = Classifier.load(small_bundle).evaluate(data)
    assert judged['n'] == 12 and '[Malignant] Pro-B → Pro' in judged['notes'][0]


@pytest.mark.parametrize('how', ['option', 'csv', 'dict'])
def test_renaming(how, small_bundle, foreign, tmp_path, monkeypatch, capsys):
    data = renamed(foreign, tmp_path / 'x', {'Pre': 'L1', 'Pro': 'L2'})
    if how == 'dict':
        clf = Classifier.load(small_bundle)
        assert clf.evaluate(data, rename={'L1': 'Pre', 'L2': 'Pro'})['n'] == 12
        return
    csv = tmp_path / 'names.csv'
    csv.write_text('theirs;model\nL1;Pre\nL2;Pro\n')
    words = ['--rename', csv] if how == 'csv' else ['--rename', 'L1=Pre', '--rename', 'L2=Pro']
    code, said = command(['evaluate', small_bundle, data, *words], monkeypatch, capsys)
    assert code == 0 and '12 images' in said and 'L1' in said


def test_unknown_classes_are_named_or_left_out(
    run, small_bundle, foreign, tmp_path, monkeypatch, capsys
):
    data = renamed(foreign, tmp_path / 'x', {'Pre': 'Pre', 'Pro': 'blast'})
    code, said = command(['evaluate', small_bundle, data], monkeypatch, capsys)
    assert code == 2 and '`blast` (6 of 12 images)' in said
    assert '--rename' in said and '--on-error skip' in said
    for judged in (
        Classifier.load(small_bundle).evaluate(data, on_error='skip'),
        evaluate(run, data, on_error='skip'),
    ):
        assert judged['n'] == 6
        assert any('6 of 12 images were left out' in n and '`blast`' in n for n in judged['notes'])
    with pytest.raises(DataError, match='does not know `blast`'):
        # nothing would be left
        read_labelled(renamed(foreign, tmp_path / 'y', {'Pro': 'blast'}), CLASSES, on_error='skip')


@pytest.mark.parametrize(
    'ours, theirs, want',
    [
        (['a', 'A'], ['a', 'A'], {'a': 'a', 'A': 'A'}),
        # which of two is meant cannot be said
        (['a b', 'A_B'], ['A B'], {}),
        (['größe', 'ß'], ['GRÖSSE'], {'GRÖSSE': 'größe'}),
        (['all', 'hem'], ['ALL', 'normal'], {'ALL': 'all', 'normal': 'hem'}),
        # an alias for what the model does not know is no alias
        (['x', 'y'], ['normal'], {}),
    ],
)
def test_matching(ours, theirs, want):
    assert match_classes(theirs, ours) == want


def test_the_name_given_comes_first():
    assert match_classes(['a', 'b'], ['a', 'b'], ['a=b', 'b=a']) == {'a': 'b', 'b': 'a'}
    for wrong in ('a', 'q=b', 'a=q', os.devnull):
        with pytest.raises(DataError, match='rename|two columns|not a CSV'):
            match_classes(['a'], ['b'], wrong)


def test_a_folder_that_holds_its_table_beside_its_images(foreign, tmp_path):
    "The advice to rename the class `images` would have judged all images by a wrong label."
    shutil.copytree(foreign, tmp_path / 'set' / 'images')
    (tmp_path / 'set' / 'labels.csv').write_text('path,label\n')
    with pytest.raises(DataError, match='know `images`.* If .*labels.csv says which image'):
        read_labelled(tmp_path / 'set', ['Benign', 'Pro'], label=0)
