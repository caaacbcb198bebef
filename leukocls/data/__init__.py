"""From pictures to a table whose sides are honest: images, survey, duplicates, groups, splits."""

from leukocls._lazy import lazy

_HOME = {
    'films': (
        'MORPHOLOGY CLASSES DRAWN FILM_PATIENT Morphology Patient draw_patient draw_film is_drawn '
        'draw_films'
    ),
    'images': (
        'IMAGE_SUFFIXES IMAGE_FORMATS ORIENTATION MAX_SAMPLE MOST_IMAGE MOST_STREAM to_rgb '
        'picture_warnings whole_file most_pixels open_cell unusual_pictures scaled_to_8_bit '
        'ignored_in_words text_path scan_folder image_files image_files_of_all Pixels '
        'read_batches free_memory room_for expect leave spared expect_nothing'
    ),
    'datasets': 'DatasetCard card cards patients_of names_of_card',
    'registration': (
        'SIDE HALF Prepared same_picture something black_ground grey_of standard bilinear warp '
        'maps polar_grid spectrum turn_of find_position correlation refine_position'
    ),
    'survey': (
        'FACTS jpeg_quality six_colours thumbnail look_at Looks readable_images look lighter_part '
        'shortcuts_of'
    ),
    'readers': (
        'PATH_NAMES kind_of_file plain_name read_text_table read_rows unpack_npz find_files '
        'why_missing'
    ),
    'table': (
        'SPLIT_NAMES COLUMN_NAMES read_table check_patients note_unusual_pictures has_groups '
        'check_images fingerprint'
    ),
    'duplicates': (
        'SAME_PICTURE COPIES near_duplicates describe alter learn_metric nearest candidates '
        'joined groups_in'
    ),
    'splits': (
        'SPLIT_RULES split_table identical_files groups_of SplitRule register_split '
        'merge_patients near_groups grouped_folds shared_patients shared_files shared_groups '
        'sides_of fold_tables source_tables'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
