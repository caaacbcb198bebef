"""Plots, the report page, model card and checklists."""

from leukocls._lazy import lazy

_HOME = {
    'plots': (
        'plot_lines plot_loss plot_accuracy plot_lr_find plot_confusion roc_points '
        'precision_recall_points plot_roc plot_precision_recall plot_classes plot_images '
        'plot_augmented plot_seen plot_predictions plot_patients'
    ),
    'checklists': 'GUIDELINES CHECKLIST checklist',
    'sentences': (
        'SHORT_SPLIT leaks_of stamp_of headline split_note hardest_class beside verdict '
        'confidence_sentence referral_sentence threshold_sentence gate_sentence changed_text '
        'weights_text repeat'
    ),
    'page': 'SECTIONS RunFiles Table Picture Part Section section by_patient Drawn map_svg report_run',
    'modelcard': (
        'HOW_TO_RUN markdown_safe markdown_table latex_safe yaml_text card_facts latex_table '
        'card_metadata limitations model_card card_run'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
