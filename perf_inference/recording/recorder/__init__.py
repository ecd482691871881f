"""What fills a run's directory while the robot runs."""
