"""Recipes and what trains them. `leukocls.train(recipe, table)` trains one."""

import sys
import types

from leukocls._lazy import lazy

_HOME = {
    'kinds': 'KINDS KINDS_OF_LIBRARY Kind register_kind kind_named',
    'augment': (
        'P2_OPERATIONS P2_CACHED P2_BANK P2_FILLED STAIN TRAVEL AUGMENTATIONS P2_TAPS '
        'augmentation augmentation_again register_augmentation own_augmentation draw_p2 blurred '
        'moved augment_p2 vary_stain draw_travel vary_laboratory Variations'
    ),
    'papers': (
        'PAPERS PAPER_SYSTEMS ALIASES PARAMETERS P2_EPOCHS P2_TESTED P2_RIGHT PaperSystem '
        'read_papers'
    ),
    'recipes': (
        'TOPS LIBRARY_RECIPES Recipe as_dict from_dict deciding changes_of system_name change '
        'batch_size get_recipe register_recipe recipes_named uses_field protocol'
    ),
    'folder': (
        'write_csv write_info write_fitted weights_contents run_name callback_names start_run '
        'check_space learner_file take_learner keep_learner Fitted'
    ),
    'leaving': 'Leaves',
    'callbacks': (
        'History KeepWeights history_table SaveEpochs ends_like_ctrl_c StopOnNaN GiveBack '
        'Progress AverageWeights KeepStatistics DepthwiseConv QuickSqueezeExcite QuickSEModule '
        'QuickLayers QUICK_LAYERS Bf16OnCpu'
    ),
    'speed': (
        'ListAdam list_adam PlainTensors LossesStay ScaledHalf acts_in_steps record_graph Replay '
        'CompileIfItPays'
    ),
    'loaders': 'ByName LoadCell home_for disk_for on_disk RememberDL LabelOf CellDataLoaders',
    'probe': (
        'GRIDS Head fit_head probe_folds variations_of known_head write_probe '
        'write_probe_learner probe_again fit_probe features_to_learn'
    ),
    'classical': (
        'SYSTEMS Spectrum spectra system Arrays from_spec Scaled Mean Bayes Dense Nearest Trees '
        'Machine layer_of classical_learner fit_classical'
    ),
    'checkpoints': (
        'CHECKPOINTS_KEPT CHECKPOINT_MINUTES LEADER_FILE pack_state unpack_state Ending RunFacts '
        'Checkpoints LostProcess FolderLock'
    ),
    'fit_state': (
        'random_states set_random_states callback_states load_callback_states SaveCheckpoints'
    ),
    'group': (
        'launched share_of rows_of_process Group join_group alone_for_fastai sync_norms '
        'unsync_norms ShareSteps Left share_loader unshare_loader ProgressOfAll LeadSteps '
        'FollowSteps'
    ),
    'learners': 'model_facts probe_learner ensemble rebuild write_pickle write_learner',
    'network': (
        'ADAM_SETTINGS precision_of loss_of find_lr prepare_fit speed_callbacks FitWork Outcome '
        'fit_and_keep member_seed follow_fit fit_network write_before_fit save_fit '
        'restore_run_facts'
    ),
    'mil': 'STRENGTHS label_of_patients BagSettings FittedBags fit_bags fit_mil answer_run',
    'processes': (
        'processes_asked start_processes drive follow on_processes need_processes run_call'
    ),
    'tune': 'MOST_MEASURED RATES SHORT measure_statistics Looks maps_of MapsLoader fit_tune',
    'leukocls.runs.experiment': 'train',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)


class _Callable(types.ModuleType):
    "A module that can be called: `from leukocls import train; train('effb3', table)`."

    def __call__(self, *args, **kwargs):
        return self.train(*args, **kwargs)

    @property
    def __doc__(self):
        "`help(train)` explains the call too; where PyTorch is not installed, the wing alone."
        try:
            return f"{vars(self)['__doc__']}\n\n{self.train.__doc__}"
        except ImportError:
            return vars(self)['__doc__']


sys.modules[__name__].__class__ = _Callable
