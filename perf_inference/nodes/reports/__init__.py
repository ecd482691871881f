"""What a node says of itself and hears of others: heartbeats, timings, faults, the messages that carry them."""
