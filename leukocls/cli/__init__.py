"""The command line."""

from leukocls._lazy import lazy

_HOME = {
    'options': (
        'Out Seed Seeds Device Trust PatientOption Images LabelOption OnError Weights Epochs Size '
        'in_shell_words say print_whatever_comes numbers_of check_target check_folder say_metrics '
        'say_run say_runs say_board say_strangers is_bundle open_model images_of'
    ),
    'bench': (
        'LINES in_turns row matrix_rate operations bound Sides random_weights nn_features '
        'bench_chart bench_markdown'
    ),
    'commands': 'app main',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
