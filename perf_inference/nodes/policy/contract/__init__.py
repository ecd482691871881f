"""policy_node with a contract: its inputs, the clock of its steps, and what it publishes."""
