"""What can be had of a damaged recording."""
