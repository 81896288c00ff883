"""One page about a study, and its figures: what was found, against what, and how to do it again.

Reads the files of a study folder only, through ``spectrum.search.view``. Not here: Aim
(``spectrum.tracking``) and any arithmetic on predictions (``spectrum.scores``).
"""

from spectrum.report.page import write_report

__all__ = ["write_report"]
