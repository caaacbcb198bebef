"""What every other wing uses: errors, files written whole, the cache, the machine, progress."""

from leukocls._lazy import lazy

_HOME = {
    'text': 'listed printable spreadsheet_safe safe_table without_apostrophe',
    'errors': (
        'RESEARCH_ONLY RESEARCH_STAMP SHELL_NAMES ANOTHER_FOLDER Option Given LeukoError '
        'DataError ModelError RunError called_as check_name trusted'
    ),
    'packages': 'need PackageError missing late Later',
    'files': (
        'MOST_BYTES MOST_JSON MOST_REQUEST_MB given_path OddFileError odd_file size_in_words '
        'too_large odd_kind open_regular read_up_to read_regular write_whole new_folder '
        'check_target check_folder from_here packaged_text read_toml loose_place cache_folder'
    ),
    'machine': (
        'untried pages_kept set_seed pick_device usable_cores decoding_threads one_thread narrow '
        'without_cudnn_trials keep_freed_memory resident give_back cpu_has_bf16 version_of '
        'versions'
    ),
    'progress': 'bar',
    'cache': (
        'MOST_KEPT MOST_HASHED content_hashes know_hashes only_ours read_kept used prune keep '
        'Remembered kept'
    ),
    'figures': 'DASHES new_figure style_of',
    'parameters': 'explain',
    'html': 'page_of text_of data_uri thumbnail_uri',
    'resumed': 'part_ends_line csv_line write_resumed',
    'cluster': 'Cluster cluster_of join_cluster Joined check_machines',
    'locks': 'FolderLock',
    'blocks': (
        'Block identity_of file_blocks Parts parquet_bytes join_parquet Work work_in_blocks '
        'BlockWorker use_cache'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
