"Adapting to another laboratory: what is read, what is learned, what is judged, and what is warned of."

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from leukocls import adapt
from leukocls.core.errors import DataError, RunError
from leukocls.data.degradations import degrade
from leukocls.data.films import FILM_PATIENT, draw_films
from leukocls.data.images import open_cell
from leukocls.runs.adapt import choose_cells, standardised_by
from leukocls.runs.experiment import train_all
from leukocls.runs.run import Run
from leukocls.train.probe import Head


@pytest.fixture(scope='module')
def labs(tmp_path_factory):
    "Films of one laboratory, and of another with a darker lamp: some to learn from, some to judge."
    folder = tmp_path_factory.mktemp('labs')
    here = draw_films(folder / 'here', 6, 3, size=48)
    for path in sorted(draw_films(folder / 'films', 6, 2, size=48, seed=7).rglob('*.png')):
        part = 'there' if int(path.name[1:4]) % 3 else 'judged'
        (folder / part / path.parent.name).mkdir(parents=True, exist_ok=True)
        picture = degrade(np.asarray(open_cell(path)), 'dark')
        Image.fromarray(picture).save(folder / part / path.parent.name / path.name)
    return here, folder / 'there', folder / 'judged'


@pytest.fixture(scope='module')
def probe(labs, local_weights, tmp_path_factory, without_plots):
    how = dict(arch=f'local-dir:{local_weights}', size=48, progress=False)
    out = str(tmp_path_factory.mktemp('runs'))
    with without_plots():
        return train_all(labs[0], 'probe', out=out, patient=FILM_PATIENT, **how)[0]


def test_labels_come_back_through_the_command_line(probe, labs, tmp_path, no_plots):
    from leukocls.cli.commands import app

    _, there, judged = labs
    words = ['adapt', str(probe.folder), str(there), '--test', str(judged), '--a-class', '2']
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    new = Run(probe.folder.parent / f'{probe.name}-adapted')
    assert new.info['parent'] == probe.name and new.metrics['n'] == 16
    assert 'Adapted from' in done.output and 'not learned from' in done.output
    # the pictures to label are of the new laboratory; none of the judged ones is among them
    table = pd.read_csv(new.folder / 'label.csv')
    assert all(path.startswith(str(there)) for path in table.path) and len(table) <= 8
    assert (new.folder / 'label.html').is_file()
    # a label that is not filled in is passed over
    table['label'] = [path.split('/')[-2] for path in table.path]
    table.loc[0, 'label'] = None
    table.to_csv(tmp_path / 'label.csv', index=False)
    better = adapt(probe, there, labels=tmp_path / 'label.csv', test=judged, progress=False)
    assert better.info['adapted'] == dict(pictures=32, labelled=len(table) - 1, judged=16)
    seen = better.table[better.table.split == 'train']
    assert set(table.path[1:]) <= set(seen.path) and not set(better.predictions.path) & set(
        seen.path
    )
    # its gate knows the new laboratory
    assert '32 unlabelled pictures' in (new.folder / 'gate.json').read_text(encoding='utf8')


def test_standardising_by_the_new_pictures_undoes_a_shift():
    "Features that were moved and stretched give the old answers; a mix of classes is made up for."
    rng = np.random.default_rng(0)
    y = np.repeat(['a', 'b'], 200)
    X = rng.normal(size=(400, 6)).astype('float32')
    X[y == 'b', :3] += 4
    head = Head('linear', 1e-2).fit(X, y)
    target = (3 * X + 50)[None]
    assert len(set(head.probabilities(target[0]).argmax(1))) == 1
    moved = standardised_by(head, target, y)
    right = np.array(moved.classes)[moved.probabilities(target[0]).argmax(1)] == y
    assert right.mean() > 0.98
    few = np.r_[:200, 200:230]
    weighted = standardised_by(head, target[:, few], y).probabilities(target[0]).argmax(1)
    plain = Head('linear', 1e-2).fit(target[0][few], y[few])
    moved.mean, moved.scale = plain.mean, plain.scale
    unweighted = moved.probabilities(target[0]).argmax(1)
    truth = (y == 'b').astype(int)
    assert (weighted == truth).mean() > (unweighted == truth).mean()


def test_cells_to_label_are_unsure_and_unlike_each_other():
    rng = np.random.default_rng(0)
    places = np.repeat([[0, 0], [9, 0], [0, 9]], 20, axis=0) + rng.normal(size=(60, 2))
    p = np.tile([0.7, 0.3], (60, 1))
    assert {row // 20 for row in choose_cells(places, p, 3)} == {0, 1, 2}


def test_what_cannot_be_adapted_is_said(probe, run, labs):
    with pytest.raises(DataError, match='2 pictures do not say how pictures look'):
        adapt(probe, sorted(labs[1].rglob('*.png'))[:2])
    with pytest.raises(RunError, match='Labels train the head of a probe only'):
        adapt(run, labs[1], labels=labs[2])


@pytest.fixture(scope='module')
def network(labs, quick, tmp_path_factory, without_plots):
    with without_plots():
        out = str(tmp_path_factory.mktemp('networks'))
        return train_all(labs[0], quick, out=out, patient=FILM_PATIENT, progress=False)[0]


def test_a_network_has_the_statistics_of_the_new_pictures(network, labs, no_plots):
    """The first layer of this network normalises its input, so its statistics are those of the
    pictures' pixels. No weight moves, and the old run is left as it was.
    """
    _, there, judged = labs
    old = {k: v.clone() for k, v in network.learner.model.state_dict().items()}
    new = adapt(network, there, test=judged, progress=False)
    now = new.learner.model.state_dict()
    first = next(k.removesuffix('.running_mean') for k in now if k.endswith('running_mean'))
    files = sorted(map(str, there.rglob('*.png')))
    pixels = network.learner.dls.test_dl(files, bs=len(files), rm_type_tfms=None, num_workers=0)
    (x,) = pixels.one_batch()
    np.testing.assert_allclose(now[f'{first}.running_mean'], x.mean((0, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(now[f'{first}.running_var'], x.var((0, 2, 3)), rtol=1e-3)
    for name, value in old.items():
        moved = not np.allclose(value, now[name], atol=1e-6)
        assert moved == ('running' in name or 'num_batches' in name), name
    again = Run(network.folder).learner.model.state_dict()
    assert all(np.array_equal(value, again[name]) for name, value in old.items())
    assert new.info['parent'] == network.name and new.metrics['n'] == 16
    assert 'the statistics of batch normalisation are theirs' in ' '.join(new.info['notes'])
    assert len(pd.read_csv(new.folder / 'label.csv')) > 0


def test_what_a_network_cannot_learn_from_is_said(network, labs, table, tmp_path, no_plots):
    _, there, judged = labs
    labelled = pd.DataFrame(
        [dict(path=str(path), label=path.parent.name) for path in sorted(there.rglob('*.png'))]
    )
    labelled.to_csv(tmp_path / 'label.csv', index=False)
    with pytest.raises(RunError, match='Labels train the head of a probe only'):
        adapt(network, there, labels=tmp_path / 'label.csv', progress=False)
    how = dict(size=50, epochs=1, patient=FILM_PATIENT, progress=False)
    plain = train_all(labs[0], 'modified-cnn', out=str(tmp_path / 'runs'), **how)[0]
    with pytest.raises(RunError, match='has no batch normalisation'):
        adapt(plain, there, progress=False)
