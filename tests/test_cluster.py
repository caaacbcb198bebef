"Runs and predictions on a Ray cluster of two nodes; nodes, workers and drivers that are killed."

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from leukocls.core.cluster import Cluster
from leukocls.data.films import FILM_PATIENT
from leukocls.deploy.classifier import Classifier, write_table
from leukocls.deploy.cluster import classify_places
from leukocls.runs.experiment import train_all

ray = pytest.importorskip('ray', reason='Ray is absent: pip install "leukocls[cluster]"')

# Reports are written without plots in the workers, as `without_plots` does it here
NO_PLOTS = 'import leukocls.report.page as page\npage._plots = lambda *a: {}\n'


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
    nodes = Nodes(initialize_head=True, head_node_args=size | head)
    nodes.size = size
    ray.init(nodes.address, log_to_driver=False, logging_level='ERROR')
    yield nodes
    ray.shutdown()
    nodes.shutdown()


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
    nodes, films, quick, tmp_path, without_plots, capsys
):
    "Ctrl-C keeps what was learned, a killed node loses nothing, and the table is that of one process."
    (tmp_path / 'no_plots.py').write_text(NO_PLOTS)
    cluster = Cluster(own=(tmp_path / 'no_plots.py',))
    how = dict(recipes=quick, seeds=(0, 1, 2), patient=FILM_PATIENT, epochs=6)
    how |= dict(progress=False, device='cpu', checkpoint_minutes=0)
    out = tmp_path / 'cluster'

    def checkpoints():
        return set(out.glob('*/checkpoints/*.json'))

    def at_work(before):
        "How many runs have written a checkpoint."
        return len({path.parent for path in checkpoints() - before})

    extra = nodes.add_node(**nodes.size)
    when(lambda: at_work(set()) == 2, lambda: os.kill(os.getpid(), signal.SIGINT))
    stopped = train_all(films, out=out, cluster=cluster, **how)
    before = checkpoints()
    assert stopped.interrupted and before
    capsys.readouterr()
    when(lambda: at_work(before) == 2, lambda: nodes.remove_node(extra, allow_graceful=False))
    runs = train_all(films, out=out, cluster=cluster, **how)
    said = capsys.readouterr().err
    assert 'Going on with' in said and 'It is tried again' in said, said
    with without_plots():
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
