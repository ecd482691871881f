"""What policy_node sends, hears beside its inputs, and is set to."""
