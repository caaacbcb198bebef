"""The web page: uploads and their limits, guard, application, server."""

from leukocls._lazy import lazy

_HOME = {
    'pages': 'error_answer plain_page wants_html',
    'upload': 'USUAL Limits Refused kind_of open_upload clean_name Form',
    'guard': 'security_headers Token known_host same_site Guard patient_protocol',
    'queue': 'Job Worker',
    'application': (
        'FIELDS MODES show page_files fill_page describe name_models describe_interface docs_page '
        'bits_of predict_work patient_work field_work heat_rows Room read_form Desk make_app'
    ),
    'server': 'Server load_bundles is_here serve where_are_we results_html upload_box show',
}
__getattr__, __dir__, __all__ = lazy(__name__, _HOME)
