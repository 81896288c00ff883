"""A local page that says what an exported model makes of one image: ``spectrum serve``.

Loopback alone, nothing loaded from elsewhere, nothing kept. Not here: how a run is drawn and where
Ray is started, which the command line hands in.
"""

from spectrum.serve.answers import Answerer
from spectrum.serve.app import build_app, run_page

__all__ = ["Answerer", "build_app", "run_page"]
