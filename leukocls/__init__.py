"""A folder of blood-smear images in, a classifier you can trust and deploy out. Research use only, not a medical device."""

__version__ = "0.1.0"

# name → module; each is imported when it is first used, so that `import leukocls` costs nothing.
_HOME = dict(
    # No name here may be a module's (`train`, `recipes`, `cards`): importing the module would
    # replace it.
    train_all='train',
    reproduce='reproduction',
    Run='runs',
    Runs='runs',
    predict_images='predict',
    evaluate='predict',
    open_pickle='predict',
    CellDataLoaders='loaders',
    read_table='data',
    check_images='data',
    split_table='splits',
    fold_tables='splits',
    cell_learner='models',
    Classifier='classify',
    Bundle='bundle',
    export_bundle='bundle',
    Recipe='recipes',
    get_recipe='recipes',
    score='metrics',
    metrics_table='metrics',
    card='cards',
    draw_films='smears',
    FILM_PATIENT='smears',
    LeukoError='core',
    set_seed='core',
)
__all__ = [*_HOME, '__version__']


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f'module `leukocls` has no attribute `{name}`')
    from leukocls.core import late

    return late(f'leukocls.{_HOME[name]}:{name}')


def __dir__():
    return sorted(__all__)
