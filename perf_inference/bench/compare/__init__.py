"""`perf-inference compare`: did this change make it slower?"""
