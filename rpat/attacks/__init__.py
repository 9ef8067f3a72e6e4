"""Attacks: one PGD with the norm as its only open place, and AutoAttack."""
