"""Run folders, training of many recipes, leaderboard, reproduction, leakage gap."""

from leukocls._lazy import lazy

_HOME = {
    'run': 'Run link_to run_in_words run_in_html Runs follow_images finished_run',
    'pipeline': 'usual_steps finish_run',
    'resume': (
        'training_identity training_differences unfinished_run trained_elsewhere say_going_on '
        'say_finished mark_interrupted'
    ),
    'experiment': 'STOPS_ONE_RUN train failure_of_run usual_recipe train_all',
    'leaderboard': (
        'RANKED_BY images_told by_system systems pooled metrics_of standings Board pooled_answers '
        'plot_standings'
    ),
    'reproduction': 'Reproduction reproduce',
    'leakage': 'cross_validate Gap leakage_gap',
    'across': 'CONFIDENT Across plot_across read_sources answers_at',
    'adapt': (
        'LEAST_PICTURES MIX_DIFFERS SURE_ENOUGH adapted_head standardised_by mix_distance '
        'choose_cells'
    ),
    'cluster': 'resources_of_run train_planned',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
