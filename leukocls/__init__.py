"""A folder of blood-smear images in, a classifier you can trust and deploy out. Research use only, not a medical device."""

import sys

from leukocls._lazy import OldNames, lazy

__version__ = "0.1.0"

# The calls that most people need; each is imported when it is first used, so that `import leukocls`
# costs nothing. `leukocls.audit(data)` and `leukocls.train(recipe, table)` are wings that can be
# called.
_HOME = {
    'runs.experiment': 'train_all',
    'runs.run': 'Run Runs',
    'runs.reproduction': 'reproduce',
    'runs.leakage': 'leakage_gap',
    'data.table': 'read_table check_images',
    'data.splits': 'split_table fold_tables',
    'data.datasets': 'card',
    'data.films': 'draw_films FILM_PATIENT',
    'audit.labels': 'label_errors',
    'models.backbones': 'cell_learner',
    'models.predictor': 'predict_images evaluate open_pickle',
    'train.loaders': 'CellDataLoaders',
    'train.recipes': 'Recipe get_recipe',
    'measure.metrics': 'score metrics_table',
    'measure.paired': 'compare',
    'deploy.bundle': 'Bundle export_bundle',
    'deploy.classifier': 'Classifier',
    'core.errors': 'LeukoError',
    'core.machine': 'set_seed',
}
__getattr__, __dir__, _names = lazy(__name__, _HOME)
__all__ = [*_names, '__version__']

# Modules that stood elsewhere once: pickles and notebooks name them.
sys.meta_path.append(
    OldNames(
        {
            'leukocls.app': 'leukocls.web.application',
            'leukocls.architectures': 'leukocls.models.architectures',
            'leukocls.augment': 'leukocls.train.augment',
            'leukocls.baselines': 'leukocls.train.classical',
            'leukocls.images': 'leukocls.data.images',
            'leukocls.loaders': 'leukocls.train.loaders',
            'leukocls.networks': 'leukocls.models.networks',
            'leukocls.portable': 'leukocls.models.description',
            'leukocls.recipes': 'leukocls.train.recipes',
        }
    )
)
