"""What samples say: pure functions of numbers, without a clock."""
