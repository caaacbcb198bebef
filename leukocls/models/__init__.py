"""Networks, their weights, frozen features, engines, and what predicts with them."""

from leukocls._lazy import lazy

_HOME = {
    'weights': 'MOST_MEMBERS split_weights weights_folder',
    'architectures': 'NETWORKS FlattenTo modified_cnn traditional_cnn alexnet cml1 small_cnn',
    'onnxfile': (
        'MESSAGES MOST_FIELDS MOST_NODES FLOAT UINT8 INT8 INT32 INT64 BOOL HALF DOUBLE BF16 '
        'KNOWN ALL_KNOWN RULES MOST_WORK refuse read_onnx room_for_values OnnxFacts check_onnx '
        'plain_parts read_plain CheckedOnnx checked_onnx'
    ),
    'engines': (
        'SAME ENGINES SURE NEAR Engine stream silent_openvino openvino_core refuse_foreign '
        'OpenVinoEngine sum_of open_kept OnnxEngine softmax disagreement speed versions_of '
        'Runnable EngineKind register_engine engine_named wished engine_packages processor '
        'machine_key Cascade pick_engine open_engine builders_for engine_for'
    ),
    'networks': (
        'VIEWS network_of view_of normalised Ready with_views views_of mean_of with_members '
        'members_of NearestHead probe_head stage_body ReadyNetwork evaluating on_device '
        'TorchEngine weights_key openvino_engine onnx_bytes check_network'
    ),
    'backbones': (
        'cell_learner count_parameters network_size weights_source no_weights Beside normalise '
        'top_layers'
    ),
    'description': (
        'ConcatPool describe_layers check_layers build_layers describe_network TimmAndHead '
        'check_description build_network split_last WithFeatures'
    ),
    'frozen': (
        'MOST_WEIGHTS KEEP_EVERY weights_name build_body tell_rate known_rate Ahead FrozenBody '
        'surely_cpu begin_all end_all copies_of'
    ),
    'predictor': (
        'eight_views weights_stamp Safeguards safeguards_of Predictor by_fastai predict_images '
        'predict_to portable_pickle open_pickle evaluate'
    ),
    'bags': (
        'CELL_RESAMPLES POOLS REFERENCES TOP_SHARE BAG_ARRAYS pool_bag Bags own_share check_bags '
        'bags_to_bytes bags_from_bytes weighted_moments for_cohort check_width answer_of_bundle '
        'classifier_for_cohort'
    ),
    'division': 'Division divide_network',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
