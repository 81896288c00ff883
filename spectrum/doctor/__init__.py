"""What this machine has, what is missing, what to do: ``spectrum doctor``.

Observing (``machine``, ``libraries``, ``services``) fills frozen records (``seen``); checks are
pure and turn records into findings (``machine_checks``, ``library_checks``, ``service_checks``).
Nothing is started or changed, Ray least of all. Not here: problems of images and events, which
``spectrum inspect --images`` names.
"""

from spectrum.doctor.examination import Questions, examine, findings_of
from spectrum.doctor.findings import Finding

__all__ = ["Finding", "Questions", "examine", "findings_of"]
