"""Messages: from CDR to fields and back, without loss."""
