"""What stops a policy or slows it down, said by anybody on the network: each voice counts."""
