"""LeRobot's policies: what a folder of one holds, and the process that runs it with LeRobot itself."""
