"""Settings of the documentation. `nox -s docs` builds it into build/docs; it needs no network."""

from __future__ import annotations

import sys
from pathlib import Path

import lvm_fast

sys.path.insert(0, str(Path(__file__).parent / "tools"))

project = "lvm_fast"
author = "The lvm_fast developers"
copyright = author
version = release = lvm_fast.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
    "command_directive",  # docs/tools
    "root_pages",
]
exclude_patterns = ["tools"]
html_theme = "furo"
html_title = "lvm_fast"

# The pages: Markdown, whose links to headings work as they do on GitHub.
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.strikethrough"]

# The tutorial runs while the site is built.
nb_execution_mode = "force"
nb_execution_in_temp = True  # it writes a run and a package
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True

# The reference of Python: types stand in the signatures, text in the docstrings.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
