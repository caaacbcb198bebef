"What makes a model travel: variations that a probe learns from, and statistics that stay."

import numpy as np
import pytest
from safetensors.numpy import load_file

from leukocls.core.errors import RunError
from leukocls.data.splits import split_table
from leukocls.models.frozen import FrozenBody
from leukocls.train.augment import Variations
from leukocls.train.recipes import get_recipe, recipes_named


@pytest.fixture(scope='module')
def split(table):
    return split_table(table, test_pct=0.2)


def test_features_of_variations_are_remembered(split, local_weights):
    paths, vary = list(split.path[:6]), Variations('travel', 2)
    frozen = FrozenBody('test_efficientnet', local_weights, 32)
    first = frozen(paths, vary=vary)
    assert first.shape[:2] == (3, 6)
    again = FrozenBody('test_efficientnet', local_weights, 32)
    # in another order, and more of them: what is known is not computed, nor are engines chosen
    assert np.array_equal(again(paths[::-1], vary=vary)[:, ::-1], first)
    assert again.engine is None
    assert np.array_equal(again(paths)[0], first[0])
    # a variation is drawn for a content: the third of three is new, the others stay
    more = again(paths, vary=Variations('travel', 3))
    assert np.array_equal(more[:3], first)


def test_probe_learns_from_variations_of_training_images(split, local_weights):
    from leukocls.train.probe import features_to_learn

    recipe = get_recipe(
        'travel',
        arch='test_efficientnet',
        weights=local_weights,
        size=32,
        view='whole',
        variations=2,
    )
    frozen = FrozenBody(recipe.arch, recipe.weights, recipe.size)
    is_train = (split.split == 'train').to_numpy()
    as_is, learned = features_to_learn(frozen, recipe, split.path, is_train, 'cpu', False)
    assert learned.shape[:2] == (3, is_train.sum())
    plain = FrozenBody(recipe.arch, recipe.weights, recipe.size)(split.path)[0]
    assert np.allclose(as_is, plain, atol=1e-4) and np.array_equal(learned[0], as_is[is_train])
    assert (np.abs(learned[1] - learned[0]).max(1) > 1e-3).all()


def test_variations_need_an_augmentation():
    with pytest.raises(RunError, match='needs an `augment`'):
        get_recipe('probe', variations=4)
    # of several recipes, only those get it that have a use for it
    probe, network = recipes_named(['probe', 'small-cnn'], augment='stain')
    assert (probe.augment, network.augment) == ('none', 'stain')


def test_statistics_stay(split, local_weights, tmp_path, no_plots):
    from leukocls.runs.experiment import train

    recipe = get_recipe(
        'mobilenetv2', arch='test_efficientnet', weights=local_weights, size=32, epochs=1, lr=1e-3
    )
    pretrained = load_file(local_weights / 'model.safetensors')
    before = [v for name, v in pretrained.items() if name.endswith('running_mean')]
    for norm in ('frozen', 'trained'):
        run = train(
            get_recipe(recipe, norm=norm), split, out=tmp_path / norm, progress=False, device='cpu'
        )
        after = run.learner.model.state_dict()
        means = [
            v.numpy()
            for name, v in after.items()
            # the body is part 0; the head's own statistics are learned
            if name.startswith('0.') and name.endswith('running_mean')
        ]
        kept = [any(np.array_equal(mean, old) for old in before) for mean in means]
        assert kept and (all(kept) if norm == 'frozen' else not any(kept)), norm
