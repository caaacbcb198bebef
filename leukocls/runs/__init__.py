"""Run folders, training of many recipes, leaderboard, reproduction, leakage gap."""

from leukocls._lazy import lazy

_HOME = {
    'pipeline': 'usual_steps finish_run',
    'run': 'Run Runs finished_run',
    'experiment': 'KINDS train train_all',
    'leaderboard': (
        'RANKED_BY images_told by_system systems pooled metrics_of standings leaderboard '
        'plot_standings'
    ),
    'reproduction': 'Reproduction reproduce',
    'leakage': 'cross_validate Gap leakage_gap',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
