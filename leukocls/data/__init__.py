"""From pictures to a table whose sides are honest: images, survey, duplicates, groups, splits."""

from leukocls._lazy import lazy

_HOME = {
    'films': (
        'MORPHOLOGY CLASSES DRAWN FILM_PATIENT Morphology Patient draw_patient draw_film is_drawn '
        'draw_films'
    ),
    'images': (
        'IMAGE_SUFFIXES IMAGE_FORMATS ORIENTATION MOST_IMAGE MOST_STREAM to_rgb whole_file '
        'open_cell text_path scan_folder image_files Pixels read_batches free_memory room_for '
        'ReadyImages expect'
    ),
    'datasets': 'DatasetCard card cards patients_of names_of_card',
    'registration': (
        'SIDE HALF Prepared same_picture something black_ground grey_of standard bilinear warp '
        'maps polar_grid spectrum turn_of find_position correlation refine_position'
    ),
    'survey': (
        'FACTS Looks Survey survey_images looks_of look MOST_HELD readable_images look_at '
        'six_colours thumbnail jpeg_quality shortcuts_of lighter_part'
    ),
    'table': 'SPLIT_NAMES COLUMN_NAMES read_table read_text_table has_groups check_images fingerprint',
    'duplicates': (
        'SAME_PICTURE COPIES near_duplicates describe alter learn_metric nearest candidates '
        'joined groups_in'
    ),
    'splits': (
        'SPLIT_RULES split_table split_note with_note fold_tables source_tables SplitRule '
        'register_split identical_files groups_of near_groups same_people merge_patients '
        'grouped_folds shared_patients shared_files shared_groups sides_of'
    ),
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
