"""What `perf-inference doctor` judges without ROS; one module per subject."""
