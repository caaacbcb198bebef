"""Run folders, training of many recipes, leaderboard, reproduction, leakage gap."""

from leukocls._lazy import lazy

_HOME = {
    'run': 'Run Runs finished_run',
    'pipeline': 'usual_steps finish_run',
    'experiment': 'train train_all',
    'leaderboard': 'RANKED_BY images_told by_system systems pooled metrics_of standings plot_standings',
    'reproduction': 'Reproduction reproduce',
    'leakage': 'cross_validate Gap leakage_gap',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
