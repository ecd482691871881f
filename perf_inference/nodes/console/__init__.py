"""A graph heard and asked by somebody outside of it: the console, and the commands that it stands on."""
