"""Plots, the report page, model card and checklists."""

from leukocls._lazy import lazy

_HOME = {
    'plots': (
        'plot_lines plot_loss plot_accuracy plot_lr_find plot_confusion roc_points '
        'precision_recall_points plot_roc plot_precision_recall plot_classes plot_images '
        'plot_augmented plot_seen WORST_SHOWN worst_first plot_predictions plot_patients '
        'plot_cells_curve'
    ),
    'checklists': 'GUIDELINES CHECKLIST checklist',
    'sentences': (
        'one_line short_split is_elsewhere leaks_of leak_sentence stamp_of headline split_note '
        'hardest_class beside verdict patient_sentence confidence_sentence referral_sentence '
        'threshold_sentence gate_sentence changed_text weights_text used_fields only_here '
        'each_source how_across repeat'
    ),
    'page': (
        'SECTIONS Section section report_run RunFiles Table Picture Part by_patient Drawn map_svg'
    ),
    'latex': 'latex_safe latex_table',
    'modelcard': (
        'HOW_TO_RUN markdown_safe markdown_table CardFacts card_facts card_metadata yaml_text '
        'limitations weights_seen model_card card_run'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
