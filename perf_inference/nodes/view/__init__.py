"""What a view of the running graph shows, read on the ROS thread and made ready for others."""
