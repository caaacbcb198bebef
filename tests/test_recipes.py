import json

import pytest

from leukocls.core import RunError
from leukocls.fit import _phases
from leukocls.recipes import Recipe, as_dict, change, from_dict, get_recipe, recipes


def test_p4_to_the_letter():
    r = get_recipe('p4-efficientnet-b3')
    assert (r.name, r.arch, r.epochs, r.lr, r.freeze, r.schedule, r.weights, r.augment) == (
        'effb3',
        'efficientnet_b3',
        20,
        (0.01, 0.1),
        True,
        'one-cycle',
        'imagenet',
        'none',
    )
    assert _phases(r, True) == [(20, slice(0.01, 0.1), True)] and r.published['accuracy'] == 99.84


def test_p3_to_the_letter():
    r = get_recipe('p3-modified-cnn')
    assert (r.arch, r.grey, r.size, r.bs, r.epochs, r.opt, r.schedule, r.weights) == (
        'modified-cnn',
        True,
        50,
        64,
        30,
        'adam',
        'flat',
        'none',
    ) and r.median > 0


@pytest.mark.parametrize('name', list(recipes().index))
def test_round_trip(name):
    r = get_recipe(name)
    assert from_dict(json.loads(json.dumps(as_dict(r)))) == r


@pytest.mark.parametrize(
    'name', [n for n in recipes().index if get_recipe(n).paper.startswith('P')]
)
def test_gaps_are_named(name):
    assert get_recipe(name).filled and (
        get_recipe(name).published or any('no figure' in f for f in get_recipe(name).filled)
    )


def test_later_fields_are_passed_over():
    assert from_dict(dict(name='a', arch='b', of_the_future=1)) == Recipe('a', 'b')


@pytest.mark.parametrize(
    'kw,said',
    [
        (dict(epoch=1), 'epochs'),
        (dict(opt='lion'), 'one of adam, keras-adam, sgd'),
        (dict(epochs=0), 'at least 1'),
        (dict(augment='wild'), 'one of none'),
    ],
)
def test_slips(kw, said):
    with pytest.raises(RunError, match=said):
        change(get_recipe('effb3'), **kw)


def test_parameters_of_our_own_recipes():
    "What the table says of ours is what is built, for four classes."
    from leukocls.models import count_parameters, network_size
    from leukocls.networks import probe_head, stage_body

    t = recipes().parameters
    for n in ('mobilenetv2', 'mobilenetv2-tta', 'small-cnn'):
        r = get_recipe(n)
        assert t[n] == network_size(r.arch, 4, 3, r.size, r.top)
    body, model = stage_body(get_recipe('probe').arch, 64)
    assert (
        t['probe']
        == count_parameters(body)['total']
        + count_parameters(probe_head('linear', (4, 2 * sum(model.feature_info.channels()))))[
            'total'
        ]
    )


def test_a_recipe_says_how_its_augmentation_was_filled():
    for n in recipes().index:
        r = get_recipe(n)
        assert any('no ranges' in f for f in r.filled) == (r.augment == 'p2'), n
