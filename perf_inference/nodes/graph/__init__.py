"""A running graph looked at from outside, for the doctor."""
