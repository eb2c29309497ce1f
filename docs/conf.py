"""The documents as a site, by Sphinx.

From the repository's root, with the extras `docs` and `plots`:

    python -m sphinx -W -c docs . build/site

Pages are the repository's Markdown files where they lie, as a code host shows them, so `docs/weights.md` is
`docs/weights.html`. `docs/_toc.yml` has their order. Nothing in a page asks another server for anything.
"""

from comface_bench.version import __version__

project = "comface-bench"
author = "the comface-bench authors"
version = release = __version__

root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/notebooks/*",
    "comface/weights/*.md",
    "leaderboards/results/leaderboard/**",
    "leaderboards/studies/**",
]
exclude_patterns = [".*", "build", "data", "results", "tasks", "tests", "**.ipynb_checkpoints"]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_external_toc"]
external_toc_path = "docs/_toc.yml"
# The board's pages are reached from its front page, as a code host has it.
suppress_warnings = ["toc.not_included"]

myst_heading_anchors = 4
nb_execution_mode = "auto"  # Notebooks are kept without outputs, so a build runs them.
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_output_stderr = "remove"  # Warnings name paths of the machine that builds.
highlight_language = "none"
default_role = "literal"  # Docstrings put names between single backticks.

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "auto"}
html_theme_options = {
    "navbar_persistent": [],  # One search field is enough: the sidebar's.
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "show_navbar_depth": 1,
}
