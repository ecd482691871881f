"""What a policy sees: values picked from messages, kept by their time stamps, and put together at a tick."""
