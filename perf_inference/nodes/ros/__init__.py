"""ROS itself: running nodes, parameters, subscriptions, timers, message types, and bounds on what is asked."""
