"""ROS 2: wiring, parameters, conversion. The only place that imports rclpy or a message package."""

from perf_inference.environment import tune_this_process

tune_this_process()  # a node started bare gets what the starters give; it must come before rclpy
