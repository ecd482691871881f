"""What is no test: processes, models, recordings, and programs that tests start."""
