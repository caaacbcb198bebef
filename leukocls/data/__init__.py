"""From pictures to a table whose sides are honest: images, survey, duplicates, groups, splits."""

from leukocls._lazy import lazy

_HOME = {
    'films': (
        'MORPHOLOGY CLASSES DRAWN FILM_PATIENT Morphology Patient draw_patient draw_film '
        'is_drawn draw_films draw_cohort'
    ),
    'images': (
        'IMAGE_SUFFIXES IMAGE_FORMATS ORIENTATION MAX_SAMPLE MOST_IMAGE MOST_STREAM '
        'VIEWS_OF_PICTURES to_rgb has_16_bits picture_warnings whole_file depth_info most_pixels '
        'open_cell unusual_pictures scaled_to_8_bit ignored_in_words text_path scan_folder '
        'image_files image_files_of_all Pixels read_batches free_memory room_for ReadyImages '
        'expect'
    ),
    'datasets': 'DatasetCard read_cards card cards patients_of names_of_card',
    'registration': (
        'SIDE HALF Prepared same_picture something black_ground grey_of standard bilinear warp '
        'maps polar_grid spectrum turn_of find_position correlation refine_position'
    ),
    'survey': (
        'FACTS MOST_HELD room_for_thumbs Looks Survey survey_images looks_of look_at six_colours '
        'thumbnail jpeg_quality look readable_images look_on_cluster shortcuts_of lighter_part'
    ),
    'readers': (
        'PATH_NAMES kind_of_file plain_name read_text_table read_rows unpack_npz find_files '
        'why_missing'
    ),
    'table': (
        'SPLIT_NAMES COLUMN_NAMES read_table add_note hint_at_tables check_patients has_groups '
        'note_unusual_pictures check_images fingerprint images_are_gone'
    ),
    'duplicates': (
        'SAME_PICTURE COPIES near_duplicates describe alter learn_metric nearest candidates '
        'pairs_of_nearest joined groups_in'
    ),
    'splits': (
        'VALID_PCT TEST_PCT SPLIT_RULES split_table SplitRule register_split fold_tables '
        'source_tables identical_files groups_of near_groups same_people merge_patients '
        'grouped_folds shared_patients shared_files shared_groups split_note with_note sides_of '
        'rule_of recorded_split'
    ),
    'seen': 'SAME_LOOK SEEN_FILE look_names Seen seen_run seen_by',
    'density': (
        'CUT_OUT resized optical_density total_density Stains stains_of two_classes '
        'outside_of_cells nuclear_threshold red_cell_diameter'
    ),
    'outlines': 'fill_holes find_nuclei outline_points trace_cells find_outlines',
    'cells': (
        'RED_CELL CELL_KINDS CELL_COLUMNS SMALL_CELL SMALL_AMONG_SEVERAL Cells outline_cells '
        'find_cells show_cells is_field describe_cells'
    ),
    'crops': (
        'CELLS_FILE FIELDS_FILE CROP_SIDE BOX_COLUMNS crop_cells crop_cell read_boxes match_boxes'
    ),
    'views': (
        'MARGIN VIEW_VERSION Place cut_cell central_cell cell_view pictures_without_cell '
        'remember_missing view_notes'
    ),
    'degradations': (
        'SHIFTS DEGRADATIONS NO_SMEAR CHANGES Degradation refusal_in_words degrade change_picture'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
