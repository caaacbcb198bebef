"What is said of a cluster before anything is sent to it; no Ray is needed."

from types import SimpleNamespace

import pytest

from leukocls.core.cluster import Cluster, Joined, check_machines, cluster_of
from leukocls.core.errors import RunError
from leukocls.core.machine import versions


@pytest.mark.parametrize(
    'words, meant',
    [
        ('auto', Cluster()),
        ('local', Cluster('local')),
        ('ray://head:10001', Cluster('ray://head:10001')),
        ('auto, ship, gpu=0.25 ,cores=2,retries=0', Cluster('auto', True, 0, 2, 0.25)),
        (',ship', Cluster('auto', True)),
        (Cluster('local', retries=9), Cluster('local', retries=9)),
    ],
)
def test_words_of_a_cluster(words, meant):
    assert cluster_of(words) == meant


@pytest.mark.parametrize(
    'words',
    [
        'auto,gpus=1',
        'auto,cores=two',
        'auto,retries=',
        'auto,=3',
        'auto,,',
        'auto,gpu',
        'auto,ship=no',
    ]
    + ['auto,address=local'],
)
def test_what_is_not_understood_is_shown(words):
    with pytest.raises(
        RunError, match='is not understood. After the address may stand ship'
    ) as said:
        cluster_of(words)
    assert words in str(said.value)


class Machines:
    "Machines that answer `_look_around`, as `Joined` asks them."

    def __init__(self, **changes):
        self.changes = changes

    def nodes(self):
        return [1] if self.changes is not None else []

    def on_each_node(self, function, *args):
        found = function(*args)
        return {'ward-7 (1a2b3c)': found | self.changes, 'ward-8 (4d5e6f)': found}


def test_machines_that_see_everything_may_work(tmp_path):
    image = tmp_path / 'a.png'
    image.touch()
    check_machines(Machines(), [str(image)], tmp_path, [('the weights', len, ('abc',))])
    # what the driver lacks itself is no fault of the machines; nothing is left in the folder
    check_machines(Machines(), [str(tmp_path / 'gone.png')], tmp_path)
    assert list(tmp_path.iterdir()) == [image]


@pytest.mark.parametrize(
    'lacks, said',
    [
        (dict(version='0.0.1'), f'has leukocls 0.0.1, and {versions()["leukocls"]} is used here'),
        (dict(missing=['/data/1.png', '/data/2.png']), 'does not see 2 of the images looked for'),
        (dict(sees_folder=False), 'does not see the folder'),
        (dict(same=[4]), 'does not see the weights, or others of that name'),
    ],
)
def test_each_thing_that_a_machine_lacks_is_named_with_it(tmp_path, lacks, said):
    with pytest.raises(RunError) as error:
        check_machines(Machines(**lacks), [], tmp_path, [('the weights', len, ('abc',))])
    text = str(error.value)
    assert said in text and 'ward-7' in text and 'ward-8 (4d5e6f)' not in text.split('Use')[0]
    assert 'Use folders that all machines mount at the same place' in text
    assert not list(tmp_path.iterdir())


def test_a_cluster_without_cores_says_how_to_start_one():
    machines = Machines()
    machines.nodes = list
    with pytest.raises(RunError, match='ray start --address=HEAD'):
        check_machines(machines)


def test_only_living_machines_with_cores_count_and_ours_alone_is_ended():
    ended = []
    nodes = [
        dict(NodeID='1', Alive=True, Resources=dict(CPU=2)),
        dict(NodeID='2', Alive=False, Resources=dict(CPU=2)),
        dict(NodeID='3', Alive=True, Resources={}),
    ]
    ray = SimpleNamespace(nodes=lambda: nodes, shutdown=lambda: ended.append(1))
    assert [n['NodeID'] for n in Joined(Cluster(), ray, ours=False).nodes()] == ['1']
    Joined(Cluster(), ray, ours=False).leave()
    assert not ended
    Joined(Cluster(), ray, ours=True).leave()
    assert ended == [1]
