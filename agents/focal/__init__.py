"""Positive-congruent training: an update that keeps what the policy before it handled."""
