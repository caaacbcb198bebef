"""Judging predictions: intervals, scores, calibration, abstention, domain, paired comparison."""

from leukocls._lazy import lazy

_HOME = {
    'metrics': (
        'NORMAL_95 METRICS SHARES PER_CLASS RESAMPLES wilson design_interval clustered_share '
        'unpacked from_confusion weighted_auc CALIBRATION_BINS calibration_error draw_weights '
        'Resamples Measure MeasureNames metric_named resampled_values spread_interval draw_unit '
        'Units score measured metrics_table show_interval register_metric fill_metrics score_run '
        'with_groups read_predictions'
    ),
    'abstention': (
        'LEAST UNSURE SEVERAL NONE OTHER TOO_FEW tempered in_sets images_needed never_alone '
        'decide percent_of_threshold'
    ),
    'calibration': (
        'T_RANGE CONFORMAL_ALPHA MAX_ERROR apply_temperature fit_temperature reliability '
        'calibration_scores fit_conformal conformal_sets coverage risk_coverage refer_below '
        'referral benign_classes operating_points calibrate calibration_page '
        'calibration_sentences plot_reliability calibration_plots calibrate_run'
    ),
    'appearance': 'NUMBER_NAMES PLACES gate_numbers',
    'changes': 'KINDS CHANGED LEARNED_WITH Changes draw_change no_smear looks_at fit_changes',
    'domain': (
        'UNREADABLE BLANK NOT_MEASURED NO_CELL MOST_CENTRES MOST_HELD Gate fit_gate conformal_p '
        'gate_promise gate_run write_gate gate_sentences'
    ),
    'paired': 'mcnemar sign_flip Comparison compare holm compare_all plot_compare',
    'explanation': 'log_odds covered occlusion_map grad_cam heat_of nearest_known',
    'external': 'read_labelled match_classes given_names cells_note cells_learned fell_note judge',
    'patients': (
        'PATIENT_RULES USUAL_RULE TOP_SHARE LEAST_CELLS STABLE SHOWN_AS CURVE_CELLS CURVE_DRAWS '
        'EVERYBODY draw_patients PatientRule register_patient_rule patient_rule_named pool_cells '
        'patient_answers is_benign answer_patient why_cannot_say calibrate_patients choose_rule '
        'auroc_interval patient_scores finding_classes share_of_patients show_scores suspicion '
        'cells_curve differential_count count_classes has_patient_labels judge_patients '
        'patients_run answers_of read_patients'
    ),
    'planning': 'StudyPlan plan_study chance_limit chance_sentence plan_share_width cells_to_find',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
