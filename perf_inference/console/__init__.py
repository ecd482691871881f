"""What an operator sees and asks of a running graph: pure values and words, without ROS and without a terminal."""
