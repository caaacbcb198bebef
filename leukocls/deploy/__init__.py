"""A trained model as plain files for others: bundle, classifier, conversion of pickles."""

from leukocls._lazy import lazy

_HOME = {
    'bundle': (
        'FORMAT FORMAT_WITH_VIEW DEEPEST sums_of left_by_programs verify inside_bundle read_json '
        'read_config check_gate check_examples bundle_notes refer_note Bundle parity '
        'some_pictures StoredNetwork timm_loads anonymous_onnx write_bundle run_facts '
        'export_bundle bundle_html'
    ),
    'classifier': (
        'NO_NUMBER Prediction Classifier stream_of PatientAnswer answer_person answer_people Heat '
        'write_table classify_folder evaluate_bundle'
    ),
    'fields': (
        'MOST_PIXELS MOST_CELLS NOT_COUNTED pictures_learned FieldCell FieldAnswer answer_field '
        'show_field as_jpeg'
    ),
    'torchfile': 'Name StandIn read_records Storage view_storage read_pickle',
    'conversion': 'read_learner write_converted convert_pickle StandIn read_pickle',
    'places': 'blocks_of shard_kind ordered_files read_block Block',
    'shards': 'Shard shard_asked part_path sorted_names write_part merge_parts model_identity',
    'cluster': 'classify_places classify_block',
    'features': 'write_features features_of_block',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
