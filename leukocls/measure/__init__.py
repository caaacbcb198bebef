"""Judging predictions: intervals, scores, calibration, abstention, domain, paired comparison."""

from leukocls._lazy import lazy

_HOME = {
    'metrics': (
        'METRICS SHARES PER_CLASS wilson design_interval clustered_share unpacked from_confusion '
        'weighted_auc calibration_error draw_weights Resamples Measure MeasureNames metric_named '
        'resampled_values spread_interval draw_unit Units score measured metrics_table '
        'show_interval register_metric fill_metrics score_run with_groups read_predictions'
    ),
    'abstention': 'LEAST UNSURE SEVERAL NONE OTHER TOO_FEW tempered in_sets decide',
    'calibration': (
        'T_RANGE apply_temperature fit_temperature reliability calibration_scores fit_conformal '
        'conformal_sets coverage risk_coverage refer_below referral benign_classes '
        'operating_points calibrate calibration_page plot_reliability calibration_plots '
        'calibrate_run'
    ),
    'appearance': 'NUMBER_NAMES PLACES gate_numbers',
    'domain': (
        'UNREADABLE BLANK NOT_MEASURED MOST_CENTRES MOST_HELD Gate fit_gate conformal_p '
        'gate_promise gate_run gate_page'
    ),
    'paired': 'mcnemar sign_flip Comparison compare holm compare_all plot_compare',
    'explanation': 'log_odds covered occlusion_map grad_cam heat_of nearest_known',
    'external': 'read_labelled match_classes judge',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
