"""Stamps, the frame ledger and statistics: what every latency and every count in this package rests on."""
