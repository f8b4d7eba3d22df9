"""Owns what tests of Kubernetes need beside an API server: a node that runs Pods as processes of this machine.

Needs the extras `kubernetes` and `testing`: `pip install 'headwater[kubernetes,testing]'`.
"""

from headwater.testing.kubernetes.image import Image
from headwater.testing.kubernetes.kubelet import Kubelet
from headwater.testing.kubernetes.process import lacks

__all__ = ["Image", "Kubelet", "lacks"]
