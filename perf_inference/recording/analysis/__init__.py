"""What a run's files come to, as figures and as a report."""
