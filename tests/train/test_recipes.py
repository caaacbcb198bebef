import ast
import dataclasses
import inspect
import json
import pydoc
import re

import pytest

import leukocls.runs.experiment
from leukocls import FILM_PATIENT, draw_films, train_all
from leukocls.core.errors import RunError
from leukocls.report.modelcard import model_card
from leukocls.train.network import _phases
from leukocls.train.recipes import (
    _CHECKS,
    Recipe,
    as_dict,
    change,
    from_dict,
    get_recipe,
    recipes,
    recipes_named,
    system_name,
)


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


@pytest.mark.parametrize(
    'field,value,expected',
    [
        ('name', 'a/b', 'text that can be the name of a folder'),
        ('name', '.hidden', 'text that can be the name of a folder'),
        ('arch', 3, 'text'),
        ('grey', 'yes', 'True or False'),
        ('grey', 1, 'True or False'),
        ('size', True, 'a whole number'),
        ('size', 7, 'at least 8'),
        ('bs', 2.5, 'a whole number'),
        ('median', 4, '0, or 3, 5, 7, …'),
        ('median', 1, '0, or 3, 5, 7, …'),
        ('views', 9, '1 to 8'),
        ('views', '1', '1 to 8'),
        ('lr', -1, 'above 0, or two such for the first and the last layers, or "find"'),
        ('lr', (1, 2, 3), 'above 0, or two such for the first and the last layers, or "find"'),
        ('wd', float('nan'), 'at least 0'),
        ('mixup', 11, 'from 0 to 10'),
        ('ema', 1.0, 'from 0 to 0.9999'),
        ('keep', 'first', 'one of best, last'),
    ],
)
def test_each_field_says_what_it_may_hold(field, value, expected):
    with pytest.raises(RunError) as e:
        change(Recipe('mine', 'resnet18'), **{field: value})
    assert f'{field}={value!r} ({expected})' in str(e.value)


def test_no_field_is_forgotten():
    "A new field needs a check; the two that only describe a paper have none."
    fields = {f.name for f in dataclasses.fields(Recipe)}
    assert fields - set(_CHECKS) == {'published', 'filled'} and set(_CHECKS) <= fields


def test_a_recipe_of_ones_own_stands_beside_names():
    mine = Recipe('mine', 'convnext_atto', epochs=3)
    chosen = recipes_named([mine, 'p3-svm', 'mobilenetv2'], epochs=1, bs=8)
    assert [(r.name, r.epochs, r.bs) for r in chosen] == [
        ('mine', 1, 8),
        ('p3-svm', get_recipe('p3-svm').epochs, get_recipe('p3-svm').bs),
        ('mobilenetv2', 1, 8),
    ]


def test_parameters_of_our_own_recipes():
    "What the table says of ours is what is built, for four classes."
    from leukocls.models.backbones import count_parameters, network_size
    from leukocls.models.networks import probe_head, stage_body

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


def test_help_explains_every_field_with_its_default():
    text = inspect.getdoc(Recipe)
    explained = re.findall(r'^(\w+) : (.+?)(?:, default (.+))?\n    \S', text, re.M)
    fields = dataclasses.fields(Recipe)
    assert [name for name, _, _ in explained] == [field.name for field in fields]
    defaults = as_dict(Recipe('', ''))
    for name, _, default in explained[2:]:
        assert ast.literal_eval(default) == defaults[name], name
    assert ">>> train_all('cells', mine)" in text


@pytest.mark.parametrize(
    'name,changes,title,system',
    [
        (
            'mobilenetv2',
            dict(arch='resnet18'),
            'resnet18 by the recipe mobilenetv2',
            'mobilenetv2-with-resnet18',
        ),
        (
            'mobilenetv2',
            dict(epochs=2, size=64),
            'MobileNetV2, fine-tuned (changed: size=64, epochs=2)',
            'mobilenetv2',
        ),
        (
            'probe',
            dict(arch='local-dir:some/folder/vit', views=8),
            'vit by the recipe probe (changed: views=8)',
            'probe-with-vit',
        ),
        (
            'small-cnn',
            dict(epochs=1, bs=8, size=32, lr=1e-3),
            'Small CNN from random weights (changed: size=32, bs=8, epochs=1 and 1 more)',
            'small-cnn',
        ),
    ],
)
def test_a_changed_recipe_says_so(name, changes, title, system):
    recipe = get_recipe(name, **changes)
    assert (recipe.title, system_name(recipe)) == (title, system)
    original = {key: getattr(get_recipe(name), key) for key in changes}
    again = change(recipe, **{key: 'find' if v is None else v for key, v in original.items()})
    assert again.title == get_recipe(name).title and system_name(again) == name


def test_a_title_of_ones_own_stays():
    mine = get_recipe('mobilenetv2', title='Mine', epochs=2)
    assert mine.title == 'Mine' and change(mine, arch='resnet18').title == 'Mine'


def test_weights_from_a_folder_change_no_title():
    assert get_recipe('effb3', weights='folder').title == get_recipe('effb3').title


@pytest.mark.usefixtures('no_plots')
def test_figures_of_another_network_do_not_stand_under_the_old_name(tmp_path):
    "Folder, leaderboard, report and model card of `--arch resnet18` do not read Small CNN."
    films = draw_films(tmp_path / 'films', patients=5, images=4, size=32)
    how = dict(patient=FILM_PATIENT, out=tmp_path / 'runs', progress=False, seeds=(0, 1))
    runs = train_all(films, 'small-cnn', arch='resnet10t', size=32, epochs=1, lr=1e-3, **how)
    assert [run.name for run in runs] == [f'small-cnn-with-resnet10t-seed{seed}' for seed in (0, 1)]
    assert list(runs.leaderboard.index) == ['small-cnn-with-resnet10t']
    title = 'resnet10t by the recipe small-cnn'
    card = model_card(runs[0].folder)
    assert f'# {title}' in card and 'Small CNN' not in card
    report = (runs[0].folder / 'report.html').read_text(encoding='utf8')
    assert f'>{title}' in report.split('<h1', 1)[1].split('</h1>')[0] and 'Small CNN' not in report


@pytest.mark.parametrize('call', [train_all, leukocls.runs.experiment.train])
def test_help_explains_every_parameter(call):
    text = inspect.getdoc(call)
    for name in inspect.signature(call).parameters:
        assert re.search(rf'^(\*\*)?{name}( : default .+)?\n    \S', text, re.M), name
    assert '\n>>> run' in text


def test_help_of_the_callable_wing_explains_the_call():
    from leukocls import train

    text = pydoc.render_doc(train, renderer=pydoc.plaintext)
    assert 'Recipes and what trains them' in text and 'Fields of the recipe to change' in text
