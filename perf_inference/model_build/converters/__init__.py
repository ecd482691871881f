"""From one format or precision to another, each for the runtime that its name says; and the weights taken out."""
