"""What camera_node is made of: its parameters, and its topics."""
