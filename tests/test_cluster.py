"Work on a Ray cluster of two nodes; nodes, workers and drivers that are killed."

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from leukocls.audit.findings import audit
from leukocls.core.cluster import Cluster
from leukocls.data.crops import crop_cells
from leukocls.data.films import FILM_PATIENT, draw_film, draw_patient
from leukocls.deploy.classifier import Classifier, write_table
from leukocls.deploy.cluster import classify_places
from leukocls.deploy.features import write_features
from leukocls.runs.experiment import train_all
from leukocls.train.recipes import get_recipe

ray = pytest.importorskip('ray', reason='Ray is absent: pip install "leukocls[cluster]"')

# What workers run before their first run: reports are without plots, as `without_plots` does it here,
# and a run waits after each checkpoint until a file is there, or until it is asked to end
IN_WORKERS = """
import time
from pathlib import Path
import leukocls.report.page as page
from leukocls.train.checkpoints import Checkpoints

page._plots = lambda *a: {{}}
write = Checkpoints.write

def write_and_wait(self, *args, **kwargs):
    write(self, *args, **kwargs)
    while not (self.ending.asked or Path({go_on!r}).exists()):
        time.sleep(0.05)

Checkpoints.write = write_and_wait
"""


@pytest.fixture(scope='module')
def nodes():
    "Two nodes of one core each on this machine."
    from ray.cluster_utils import Cluster as Nodes

    size = dict(num_cpus=1, object_store_memory=200 * 2**20)
    # a killed node is missed sooner than after half a minute
    health = dict(health_check_period_ms=500, health_check_timeout_ms=3000)
    head = dict(
        include_dashboard=False, _system_config=health | dict(health_check_failure_threshold=2)
    )
    # as a script that starts a cluster in the background: what it starts ignores Ctrl-C
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    nodes = Nodes(initialize_head=True, head_node_args=size | head)
    signal.signal(signal.SIGINT, before)
    nodes.size = size
    ray.init(nodes.address, log_to_driver=False, logging_level='ERROR')
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@contextmanager
def threads(n):
    "PyTorch computes with so many threads."
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def ctrl_c():
    "SIGINT means Ctrl-C, also where the tests were started in the background, which ignores it."
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def when(happens, act, seconds=120):
    "Act in a thread as soon as something happens."

    def wait():
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and not happens():
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_comparison_survives_ctrl_c_and_a_dead_node(
    nodes, films, quick, tmp_path, without_plots, capsys, ctrl_c
):
    "Ctrl-C keeps what was learned, a killed node loses nothing, and the table is that of one process."
    go_on, own = tmp_path / 'go_on', tmp_path / 'in_workers.py'
    own.write_text(IN_WORKERS.format(go_on=str(go_on)))
    cluster = Cluster(own=(own,))
    how = dict(recipes=quick, seeds=(0, 1, 2), patient=FILM_PATIENT, epochs=3)
    how |= dict(progress=False, device='cpu', checkpoint_minutes=0)
    out = tmp_path / 'cluster'

    def checkpoints():
        return set(out.glob('*/checkpoints/*.json'))

    def at_work(before):
        "How many runs have written a checkpoint."
        return len({path.parent for path in checkpoints() - before})

    def kill_a_node():
        nodes.remove_node(extra, allow_graceful=False)
        go_on.touch()

    extra = nodes.add_node(**nodes.size)
    when(lambda: at_work(set()) >= 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    stopped = train_all(films, out=out, cluster=cluster, **how)
    before = checkpoints()
    assert stopped.interrupted and before
    # each worker was asked, and wrote how it ended, wherever its node was started
    runs_begun = {path.parent.parent for path in before}
    ends = [json.loads((folder / 'recipe.json').read_text('utf8')) for folder in runs_begun]
    assert [info['status'] for info in ends] == ['interrupted'] * len(runs_begun)
    capsys.readouterr()
    when(lambda: at_work(before) >= 2, kill_a_node)
    runs = train_all(films, out=out, cluster=cluster, **how)
    said = capsys.readouterr().err
    assert 'Going on with' in said and 'It is tried again' in said, said
    # as many threads as a worker has: sums in another order differ in the last digits
    with without_plots(), threads(1):
        alone = train_all(films, out=tmp_path / 'alone', **how)
    assert [run.name for run in runs] == [run.name for run in alone] and not runs.failed
    assert runs.leaderboard[['accuracy', 'f1']].equals(alone.leaderboard[['accuracy', 'f1']])
    for ours, theirs in zip(runs, alone):
        assert ours.predictions.equals(theirs.predictions)
        assert not (ours.folder / 'checkpoints').exists()


DRIVER = """
import sys
from leukocls.deploy.classifier import Classifier
from leukocls.deploy.cluster import classify_places
clf = Classifier.load(sys.argv[1])
classify_places(clf, sys.argv[3:], sys.argv[2], 'auto', progress=False, block=4)
"""


def test_a_table_survives_a_dead_driver_and_a_dead_worker(
    nodes, films, small_bundle, tmp_path, capsys
):
    "360 images in blocks of four; the table is byte by byte that of one process."
    clf, out, places = Classifier.load(small_bundle), tmp_path / 'cluster.csv', [str(films)] * 3

    def done():
        return set(tmp_path.glob('.cluster.csv.parts/*.done'))

    words = [sys.executable, '-W', 'ignore', '-c', DRIVER, small_bundle, out, *places]
    driver = subprocess.Popen(words, env=os.environ | dict(RAY_ADDRESS=nodes.address))
    when(lambda: len(done()) > 4, driver.kill).join()
    driver.wait()
    time.sleep(1)
    before, killed = done(), []
    assert before and not out.exists()

    def kill_a_worker():
        pids = {json.loads(path.read_text())['pid'] for path in done() - before}
        killed.append((pids.pop(), 90 - len(done())))
        os.kill(killed[0][0], signal.SIGKILL)

    when(lambda: len(done() - before) > 4, kill_a_worker)
    assert classify_places(clf, places, out, 'auto', block=4) == 360
    assert killed[0][1] > 0
    assert f'{len(before)} of 90 blocks were done already' in capsys.readouterr().err
    write_table(clf, sorted(map(str, Path(films).rglob('*.png'))) * 3, tmp_path / 'here.csv')
    assert out.read_bytes() == (tmp_path / 'here.csv').read_bytes()
    assert not (tmp_path / '.cluster.csv.parts').exists()


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_cells_are_those_of_one_process(nodes, tmp_path):
    "Pictures and tables of four fields, one of which cannot be read, are the same to the byte."
    fields = tmp_path / 'fields'
    for number in range(3):
        folder = fields / ('ill' if number % 2 else 'well')
        folder.mkdir(parents=True, exist_ok=True)
        draw_film(draw_patient('Early', number), 0, 240).save(folder / f'P{number}_1.png')
    (fields / 'ill' / 'P8_1.png').write_bytes(b'no image')
    how = dict(patient=r'(P\d)_', overlays=True, on_error='skip', progress=False)
    cells = crop_cells(fields, tmp_path / 'cluster', cluster='auto', block=2, **how)
    here = crop_cells(fields, tmp_path / 'here', **how)
    assert contents(tmp_path / 'cluster') == contents(tmp_path / 'here')
    assert cells.drop(columns='path').equals(here.drop(columns='path'))


def test_features_are_those_of_one_process(nodes, films, local_weights, tmp_path, monkeypatch):
    "The same table, an image that cannot be read as a row; workers fill the cache of the driver."
    probe = get_recipe('probe', arch='test_efficientnet', size=64)
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'no image')
    how = dict(recipe=probe, weights=local_weights, label=-1, block=40, progress=False)
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'cache'))
    out, places = tmp_path / 'cluster.parquet', [str(films), str(broken)]
    assert write_features(places, out, cluster='auto', **how) == 121
    kept = list((tmp_path / 'cache/features').glob('*-0-*.npz'))
    assert len(kept) == 3
    monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / 'another'))
    write_features(places, tmp_path / 'here.parquet', **how)
    table = pd.read_parquet(out)
    assert table.error.notna().sum() == 1 and table.features.isna().sum() == 1
    assert set(table.label[:120]) == {'Benign', 'Early', 'Pre', 'Pro'}
    assert out.read_bytes() == (tmp_path / 'here.parquet').read_bytes()


def test_an_audit_finds_what_one_process_does(nodes, films, tmp_path, monkeypatch):
    "Each figure of the JSON, with a copy, a file that is no image, and one that is another's copy."
    folder = tmp_path / 'films'
    few = shutil.ignore_patterns('*_002.png', '*_003.png', '*_004.png')
    shutil.copytree(films, folder, ignore=few)
    first, second = sorted(folder.rglob('*.png'))[:2]
    Image.open(first).rotate(90).save(folder / 'Pro' / 'P900_000.png')
    shutil.copy(second, folder / 'Pro' / 'P900_001.png')
    (folder / 'Pro' / 'P900_002.png').write_bytes(b'no image')
    how, found = dict(patient=FILM_PATIENT, progress=False), {}
    for cluster in ('auto', None):
        monkeypatch.setenv('LEUKOCLS_CACHE', str(tmp_path / f'cache of {cluster}'))
        written = audit(folder, cluster=cluster, **how).to_json(tmp_path / f'{cluster}.json')
        found[cluster] = json.loads(written.read_text()) | dict(seconds=0)
    assert found['auto'] == found[None]
    assert found[None]['exact_duplicates'] and found[None]['unreadable']
    assert not list((tmp_path / 'cache of auto/surveys').iterdir())
