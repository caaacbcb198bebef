"""The command line."""

from leukocls._lazy import lazy

_HOME = {
    'options': (
        'With Out Seed Seeds Device Trust PatientOption Images LabelOption CellOption LabelOf '
        'Bits OnError Weights Hours CheckpointMinutes ClusterOption Epochs Size say '
        'print_whatever_comes load_own numbers_of say_metrics say_run say_runs say_board '
        'say_strangers is_bundle open_model images_of'
    ),
    'bench': (
        'LINES in_turns row matrix_rate operations bound Sides random_weights nn_features '
        'bench_chart bench_markdown'
    ),
    'cells': 'cells_command',
    'doctor': 'EXTRAS Checkup',
    'features': 'features_command',
    'laboratories': 'across_command adapt_command',
    'pack': 'pack_command',
    'commands': 'app main',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
