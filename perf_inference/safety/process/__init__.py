"""The gate in a process of its own: what goes over the pipe, and who is at its two ends. Knows no ROS.

front.py     the policy's end: takes what policy_node asks of a gate, and hands it on
keeper.py    the gate's end: does what it is asked, watches that the policy lives, and outlives it
messages.py  what they say to each other;  pipe.py  how it gets there
"""
