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
        'one_line used_fields weights_text repeat'
    ),
    'page': (
        'report_run RunFiles section SECTIONS Section Part Table Picture Drawn by_patient map_svg'
    ),
    'latex': 'latex_safe latex_table',
    'modelcard': (
        'HOW_TO_RUN card_run model_card card_facts CardFacts card_metadata limitations yaml_text '
        'markdown_safe markdown_table'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
