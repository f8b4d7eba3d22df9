"""Owns what tests of HTTP sources need: a scripted server on real sockets, certificates, and a clock to turn by hand.

Needs the extra `testing` for certificates: `pip install 'headwater[testing]'`.
"""

from headwater.testing.certificates import Certificates
from headwater.testing.clock import VirtualClock
from headwater.testing.server import Answer, Handler, Received, ScriptedServer, background

__all__ = ["Answer", "Certificates", "Handler", "Received", "ScriptedServer", "VirtualClock", "background"]
