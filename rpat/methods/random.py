"""Training on random noise in the ball (the reference of Fig. 2)."""

from rpat.methods.pgd_at import PgdAt


class Random(PgdAt):
    """CE(z(x + noise), y): PGD-AT whose attack stops at its start.

    The recipe sets `attack.steps` to 0, which leaves clip(x + noise), fresh each time.
    """
