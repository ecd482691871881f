"""What speech_node is made of: its parameters, its queue, and the figures of what it has spoken."""
