"""Training and evaluation core for adversarial training with Robust Perception (RPAT)."""

__version__ = "0.1.0"
